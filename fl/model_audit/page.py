"""Put what was measured on one model into a report, the same page as any audit's."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np

from attacks import clopper_pearson
from fl.manifest import commit, machine, versions
from fl.model_audit import words
from fl.model_audit.claims import Claimed
from fl.model_audit.lower import Lower
from fl.model_audit.measure import MODEL, Asked
from fl.report import (
    AuditedModel,
    Baselines,
    DataSource,
    ExposureRow,
    Gate,
    LeakageRow,
    Manifest,
    PrivacyRow,
    Report,
    Statement,
    UtilityRow,
    ValidityRow,
)
from fl.validity import gate as alike

RELATION = "add or remove one"


@dataclass(frozen=True, slots=True, kw_only=True)
class Audited:
    """Everything that the page is made of.

    Attributes:
        setting: what was audited.
        asked: what the model said.
        leakage: the judged rows.
        claimed: of epsilon, by somebody else.
        bound: measured, or why not.
        bound_by: the attack whose score it rests on.
        validity: whether the records are alike without the model; () if nobody looked.
        exposure: which sets of members are exposed.
        sha256: of the records.
        provenance: where they came from.
        name: of the run.
        given: what the audit was called with, for the manifest.
        references: whether reference models were given.
        seed: of the intervals.
        started: when.
        seconds: how long it took.
    """

    setting: AuditedModel
    asked: Asked
    leakage: Sequence[LeakageRow]
    claimed: Claimed | None
    bound: Lower | str
    bound_by: str
    validity: tuple[ValidityRow, ...]
    exposure: tuple[ExposureRow, ...]
    sha256: str | None
    provenance: str
    name: str
    given: Mapping[str, str | float | bool | None]
    references: bool
    seed: int
    started: datetime
    seconds: float


def report(audited: Audited) -> Report:
    """Return the report of one model."""
    utility = _utility(audited.asked)
    claimed, bound = audited.claimed, audited.bound
    gates = _claim_holds(claimed, bound)
    if audited.validity:
        gates = (alike(audited.validity), *gates)
    epsilon = words.epsilon_sentence(claimed, bound, audited.bound_by)
    return Report(
        schema="blindsum.report/1",
        answer=words.answer(utility, audited.leakage, gates, epsilon),
        federation=None,
        audited=audited.setting,
        utility=utility,
        privacy=_privacy(claimed, bound),
        leakage=tuple(audited.leakage),
        crowd=(),
        cost=(),
        baselines=Baselines(
            pooled=None, local_only=None, majority=_majority(audited.asked)
        ),
        statements=(Statement(protection=MODEL, sentences=(epsilon,)),),
        gates=gates,
        validity=audited.validity,
        exposure=audited.exposure,
        not_covered=words.not_covered(
            references=audited.references,
            records=bool(audited.validity),
            dropped=audited.setting.dropped,
        ),
        manifest=_manifest(audited),
    )


def _utility(asked: Asked) -> tuple[UtilityRow, ...]:
    """Return the accuracy on non-members, and what is right among members."""
    right = asked.right
    if right is None:
        nothing = UtilityRow(
            protection=MODEL, metric="accuracy", value=None, low=None, high=None, n=0
        )
        return (nothing,)
    rows = []
    for metric, mask in (
        ("accuracy", ~asked.members),
        ("right among members (fraction)", asked.members),
    ):
        share = clopper_pearson(int(right[mask].sum()), int(mask.sum()))
        rows.append(
            UtilityRow(
                protection=MODEL,
                metric=metric,
                value=share.value,
                low=share.low,
                high=share.high,
                n=share.n,
            )
        )
    return tuple(rows)


def _majority(asked: Asked) -> float | None:
    """Return the accuracy of always naming the members' most frequent class."""
    if asked.labels is None:
        return None
    most = np.bincount(asked.labels[asked.members]).argmax()
    return float((asked.labels[~asked.members] == most).mean())


def _privacy(claimed: Claimed | None, bound: Lower | str) -> tuple[PrivacyRow, ...]:
    measured = None if isinstance(bound, str) else bound.any
    shaped = None if isinstance(bound, str) else bound.gaussian
    if claimed is None and measured is None:
        return ()
    return (
        PrivacyRow(
            protection=MODEL,
            unit="example" if claimed is None else claimed.unit,
            relation=RELATION,
            delta=None if claimed is None else claimed.delta,
            epsilon_upper=None if claimed is None else claimed.epsilon,
            accountant=None if claimed is None else words.NOT_VERIFIED,
            epsilon_lower=None if measured is None else measured.value,
            ceiling=None if measured is None else measured.ceiling,
            confidence=None if measured is None else measured.confidence,
            n_canaries=0 if measured is None else measured.canaries,
            epsilon_lower_gaussian=None if shaped is None else shaped.value,
            claimed=True,
        ),
    )


def _claim_holds(claimed: Claimed | None, bound: Lower | str) -> tuple[Gate, ...]:
    if claimed is None or isinstance(bound, str):
        return ()
    if_gaussian = ", if its noise is Gaussian" if bound.gaussian is not None else ""
    return (
        Gate(
            name="measured epsilon stays below the claimed one",
            passed=bound.deciding.value <= claimed.epsilon,
            detail=(
                f"at least {bound.deciding.value:.3g} measured on "
                f"{bound.any.canaries} records{if_gaussian}, where at most "
                f"{claimed.epsilon:.3g} is claimed; perfect guesses would show "
                f"{bound.deciding.ceiling:.3g}."
            ),
        ),
    )


def _manifest(audited: Audited) -> Manifest:
    return Manifest(
        run=audited.name,
        version=importlib.metadata.version("blindsum"),
        commit=commit(),
        seed=audited.seed,
        seeds={"intervals": audited.seed},
        config=dict(audited.given),
        started_utc=audited.started.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        seconds=round(audited.seconds, 1),
        machine=machine(),
        simulation=None,
        data=DataSource(
            origin="user", provenance=audited.provenance, sha256=audited.sha256
        ),
        packages=versions(),
    )
