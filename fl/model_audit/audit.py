"""Audit one model that was trained elsewhere: things given in, one page out.

``audit_model()`` is the programmer's door, ``run`` the command's. Bad input is refused
before any folder is made.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from attacks import EpsilonBound
from fl.attack_files import write_arrays
from fl.audit import AuditResult
from fl.config import Config, load_config
from fl.data.settings import suffix_of
from fl.errors import ConfigError, DataError
from fl.folder import choose
from fl.model_audit import measure, words
from fl.model_audit.claims import Claimed, parse
from fl.model_audit.lower import lower_bound
from fl.model_audit.measure import MODEL
from fl.model_audit.page import Audited, report
from fl.model_audit.records import Given, load
from fl.model_audit.sources import Found, Request, of_model, of_named, of_scores
from fl.model_audit.subject import of_object
from fl.model_audit.validity import validity
from fl.report import AuditedModel, Claim, Gate, write
from fl.seeds import seed_for
from fl.verdict import decide
from fl.writing import writing

NAME = "model-audit"
LABEL = "label"


def audit_model(
    predict_or_model: object,
    members: Given | None = None,
    nonmembers: Given | None = None,
    *,
    claimed: str | Claimed | None = None,
    random_split: bool = False,
    label: str | None = None,
    name: str | None = None,
    out: str | Path | None = None,
    seed: int = 0,
) -> AuditResult:
    """Audit a model that was trained elsewhere, and write its page.

    Args:
        predict_or_model: a function from records to probabilities or logits, a torch
            module, a fitted estimator with ``predict_proba``, or the path of a .csv
            file of scores, which takes the place of both sets.
        members: records that it was trained on: a .csv or .npz file, or ``(x, y)``.
        nonmembers: others, from the same source.
        claimed: "epsilon=8 delta=1e-5 unit=example", as whoever trained it states.
        random_split: whether each record was included by a fair coin of its own; only
            then a lower bound on epsilon is measured.
        label: the .csv column to predict; "label" if none is given.
        name: of the run.
        out: the run's folder; None makes ``runs/<UTC time>-<name>``.
        seed: of the intervals.

    Returns:
        The folder and the report; a gate that failed is in ``report.gates``.

    Raises:
        UserError: bad input; nothing was written.
    """
    began = _Began.now()
    config = _config(members, label, (), seed)
    where = None if out is None else Path(out)
    claim = parse(claimed) if isinstance(claimed, str) else claimed
    if isinstance(predict_or_model, str | Path):
        if members is not None or nonmembers is not None:
            raise ConfigError(
                f"{predict_or_model} is a file of scores, which say who is a member; "
                "leave out the two sets, or give a model."
            )
        found = of_scores(Path(predict_or_model))
    elif members is None or nonmembers is None:
        raise DataError("members and nonmembers are missing; give both sets.")
    else:
        subject = of_object(predict_or_model)
        found = of_model(
            subject, load(members, nonmembers, config.data, coins=random_split)
        )
    given: dict[str, str | float | bool | None] = {
        "model": found.name,
        "random_split": random_split,
    }
    task = _Task(
        found=found, claimed=claim, coins=random_split, given=given, name=name or NAME
    )
    return _write(task, config, began, out=where, force=False)


def run(request: Request, *, out: Path | None, force: bool) -> AuditResult:
    """Audit what the command line names.

    Raises:
        UserError: bad input; nothing was written.
    """
    began = _Began.now()
    config = _config(request.members, request.label, request.sets, request.seed)
    claim = None if request.claimed is None else parse(request.claimed)
    if request.scores is not None:
        if request.model or request.arch or request.members or request.nonmembers:
            raise ConfigError(
                "--scores takes the place of --model, --arch, --members and "
                "--nonmembers; leave them out."
            )
        found = of_scores(request.scores)
    else:
        found = of_named(request, config)
    given: dict[str, str | float | bool | None] = {
        "model": _shown(request.model),
        "arch": request.arch,
        "members": _shown(request.members),
        "nonmembers": _shown(request.nonmembers),
        "scores": None if request.scores is None else request.scores.name,
        "claimed": request.claimed,
        "coins": request.coins,
        **{
            key: value for key, _, value in (one.partition("=") for one in request.sets)
        },
    }
    task = _Task(
        found=found,
        claimed=claim,
        coins=request.coins,
        given=given,
        name=request.name or _slug(found.name),
    )
    return _write(task, config, began, out=out, force=force)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Began:
    at: datetime
    clock: float

    @staticmethod
    def now() -> _Began:
        return _Began(at=datetime.now(UTC), clock=time.perf_counter())


@dataclass(frozen=True, slots=True, kw_only=True)
class _Task:
    """What is to be measured and said of it."""

    found: Found
    claimed: Claimed | None
    coins: bool
    given: dict[str, str | float | bool | None]
    name: str


def _config(
    members: object, label: str | None, sets: Sequence[str], seed: int
) -> Config:
    """Return what is declared of the records, the model's sizes and where runs go."""
    for one in sets:
        if not one.startswith(("data.", "model.", "output.")):
            raise ConfigError(
                f"--set {one.partition('=')[0]} is of training, and nothing is trained "
                "here; only keys of data, model and output are listened to."
            )
    # Which keys may be given depends on the kind of file.
    kind = suffix_of(str(members)) if isinstance(members, str | Path) else ""
    implied = [f"data.source=members{kind}"] if kind in (".csv", ".npz") else []
    if kind == ".csv":
        implied.append(f"data.label={json.dumps(label or LABEL)}")
    elif label is not None:
        raise ConfigError("--label names a column of .csv files; leave it out.")
    return load_config(None, [*implied, *sets], seed=seed)


def _write(
    task: _Task, config: Config, began: _Began, *, out: Path | None, force: bool
) -> AuditResult:
    asked = task.found.asked
    scores = measure.scores(asked)
    seconds = time.perf_counter() - began.clock
    first, score = next(iter(scores.items()))
    bound = lower_bound(
        score, asked.members, task.claimed, coins=task.coins, seed=config.seed
    )
    place = choose(out, Path(config.output.out), task.name, began.at, force=force)
    rows = measure.findings(scores, asked.members, seconds) + measure.not_given()
    leakage = decide(rows, seed=seed_for(config.seed, "model audit"))
    pool = task.found.pool
    gates: tuple[Gate, ...] = ()
    if pool is not None:
        gates = validity(pool, seed=config.seed)
    page = report(
        Audited(
            setting=_setting(task),
            asked=asked,
            leakage=leakage,
            claimed=task.claimed,
            bound=bound,
            bound_by=first,
            validity=gates,
            sha256=None if pool is None else pool.sha256,
            provenance=task.found.provenance,
            given=task.given,
            references=False,
            seed=config.seed,
            started=began.at,
            seconds=time.perf_counter() - began.clock,
        )
    )
    with writing(place, link=out is None) as folder:
        write(page, folder=folder.draft, claims=_claims(bound), private=True)
        names: dict[str, NDArray[Any]] = {"member": asked.members} | {
            name.replace(" ", "_"): one for name, one in scores.items()
        }
        if pool is not None:
            names["row"] = pool.rows
        write_arrays(folder.draft, "scores.npz", names, private=True)
    return AuditResult(folder=place, report=page, interrupted=False)


def _setting(task: _Task) -> AuditedModel:
    found = task.found
    asked, pool = found.asked, found.pool
    return AuditedModel(
        model=found.name,
        parameters=found.parameters,
        data=task.name,
        members=int(asked.members.sum()),
        nonmembers=int((~asked.members).sum()),
        dropped=0 if pool is None else pool.dropped,
        coins=task.coins,
        input_shape=() if pool is None else pool.features.shape[1:],
        classes=None if asked.logits is None else asked.logits.shape[1],
        views=("the model's answers",) if pool is not None else ("scores",),
        sentence=words.SETTING,
    )


def _claims(bound: EpsilonBound | str) -> list[Claim]:
    if isinstance(bound, str):
        return []
    assumes = (
        "The lower bound assumes that each record was included by a fair coin of its "
        "own, as whoever asked for this audit states.",
    )
    return [Claim(protection=MODEL, proven=(), assumes=assumes)]


def _shown(given: str | None) -> str | None:
    """Return a file without its folder, which is nobody's affair."""
    return None if given is None else Path(given).name


def _slug(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-._")[:64] or NAME
