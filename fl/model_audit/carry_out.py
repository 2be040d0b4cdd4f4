"""Carry out an audit once everything is read: score, judge, write the page."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fl.attack_files import write_arrays
from fl.audit import AuditResult
from fl.config import Config
from fl.folder import choose
from fl.model_audit import measure, references, update, words
from fl.model_audit.claims import Claimed
from fl.model_audit.exposed import exposed
from fl.model_audit.lower import Lower, lower_bound
from fl.model_audit.measure import GIVEN, LOSS, MODEL, Floats
from fl.model_audit.page import Audited, report
from fl.model_audit.roc import roc
from fl.model_audit.sources import Found
from fl.model_audit.validity import validity
from fl.report import AuditedModel, Claim, ExposureRow, write
from fl.seeds import seed_for
from fl.verdict import decide
from fl.writing import writing

# Whose score bounds epsilon and whose rates are reported: fixed before anything is
# scored. RMIA is not among them, since it looks at who is known not to be a member.
ORDER = (GIVEN, *references.BLIND_TITLES, LOSS)

# Scores to resample, all told, before other processes are worth their start.
WORTH_SPREADING = 200_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Began:
    """When an audit began, by the calendar and by a clock that only goes forward."""

    at: datetime
    clock: float

    @staticmethod
    def now() -> Began:
        """Return this moment."""
        return Began(at=datetime.now(UTC), clock=time.perf_counter())


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What is to be measured and said of it.

    Attributes:
        found: the model's answers, and whatever else was given.
        claimed: of epsilon, by somebody else.
        coins: whether fair coins decided who is a member.
        given: what the audit was called with, for the manifest.
        name: of the run.
    """

    found: Found
    claimed: Claimed | None
    coins: bool
    given: Mapping[str, str | float | bool | None]
    name: str


def carry_out(
    task: Task, config: Config, began: Began, *, out: Path | None, force: bool
) -> AuditResult:
    """Score and judge everything that was given, and write the page.

    Raises:
        UserError: bad input, or the folder cannot be written; nothing was written.
    """
    place = choose(out, Path(config.output.out), task.name, began.at, force=force)
    found, seed = task.found, config.seed
    asked, pool = found.asked, found.pool
    since = time.perf_counter()
    scores = _scores(found, seed)
    first = measure.first_of(scores, ORDER)
    seconds = time.perf_counter() - since
    score = scores[first]
    assert not isinstance(score, str)  # `first_of` has looked
    bound = lower_bound(score, asked.members, task.claimed, coins=task.coins, seed=seed)
    persons = None if pool is None else pool.persons
    rows = measure.findings(scores, first, asked.members, seconds, persons)
    if found.update is not None and pool is not None and asked.labels is not None:
        rows += update.findings(
            found.update, pool, asked.labels, protection=MODEL, seed=seed
        )
    rows += measure.not_given(update=found.update is not None)
    leakage = decide(
        rows,
        seed=seed_for(seed, "model audit"),
        alone=len(rows) * len(asked.members) < WORTH_SPREADING,
    )
    alike = () if pool is None else (validity(pool, seed=seed),)
    sets: tuple[ExposureRow, ...] = ()
    listed = ""
    if found.references is not None and pool is not None:
        sets, listed = exposed(found.references, asked, pool, seed=seed)
    curve = roc(first, score, asked.members, task.claimed, seed=seed)
    page = report(
        Audited(
            setting=_setting(task),
            asked=asked,
            leakage=leakage,
            claimed=task.claimed,
            bound=bound,
            bound_by=first,
            validity=alike,
            exposure=sets,
            sha256=None if pool is None else pool.sha256,
            provenance=found.provenance,
            name=task.name,
            given=task.given,
            references=found.references is not None,
            seed=seed,
            started=began.at,
            seconds=time.perf_counter() - began.clock,
        )
    )
    with writing(place, link=out is None) as folder:
        write(
            page,
            folder=folder.draft,
            curves=() if curve is None else (curve,),
            claims=_claims(bound),
            exposed=listed,
            private=True,
        )
        write_arrays(folder.draft, "scores.npz", _kept(task, scores), private=True)
    return AuditResult(folder=place, report=page, interrupted=False)


def _scores(found: Found, seed: int) -> dict[str, Floats | str]:
    """Return every attack's score on the released model, or why there is none."""
    scores: dict[str, Floats | str] = {**measure.scores(found.asked)}
    logits = found.asked.logits
    if found.references is None or logits is None:
        scores[references.TITLES[0]] = "no reference models were given; see --models."
        return scores
    return scores | references.attack(
        found.references, logits, found.asked.members, seed=seed_for(seed, "folds")
    )


def _kept(task: Task, scores: Mapping[str, Floats | str]) -> dict[str, NDArray[Any]]:
    """Return the raw scores by attack, for whoever asked alone."""
    kept: dict[str, NDArray[Any]] = {"member": task.found.asked.members}
    if task.found.pool is not None:
        kept["row"] = task.found.pool.rows
    named = {name.replace(" ", "_"): one for name, one in scores.items()}
    return kept | {k: one for k, one in named.items() if isinstance(one, np.ndarray)}


def _setting(task: Task) -> AuditedModel:
    found = task.found
    asked, pool = found.asked, found.pool
    views = ["scores" if pool is None else "the model's answers"]
    if found.references is not None:
        views.append(f"{len(found.references.answers.members)} reference models")
    if found.update is not None:
        views.append(found.update.view)
    return AuditedModel(
        model=found.name,
        parameters=found.parameters,
        data=found.provenance if pool is None else pool.names,
        members=int(asked.members.sum()),
        nonmembers=int((~asked.members).sum()),
        dropped=0 if pool is None else pool.dropped,
        coins=task.coins,
        input_shape=() if pool is None else pool.features.shape[1:],
        classes=None if asked.logits is None else asked.logits.shape[1],
        views=tuple(views),
        sentence=words.SETTING,
    )


def _claims(bound: Lower | str) -> list[Claim]:
    if isinstance(bound, str):
        return []
    assumes = (
        "The lower bound assumes that each record was included by a fair coin of its "
        "own, as whoever asked for this audit states.",
    )
    return [Claim(protection=MODEL, proven=(), assumes=assumes)]
