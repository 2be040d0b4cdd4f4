"""From the evidence to the report's rows: utility, costs, crowds, gates.

Arithmetic on records only; verdicts come from `fl.verdict`, words from `fl.answer`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

import secagg
from attacks import Estimate, clopper_pearson
from fl.config import Config
from fl.data import Dataset, RawTable
from fl.evidence import Evidence
from fl.models import build, parameter_count
from fl.protection import Protection, plan
from fl.report import (
    Baselines,
    CostRow,
    CrowdRow,
    Federation,
    Gate,
    LeakageRow,
    LocalBaseline,
    PooledBaseline,
    PrivacyRow,
    UtilityRow,
    Verdict,
)
from fl.shots import MASKED_UPLOAD
from fl.utility import Accuracy, accuracy


def federation(
    raw: Dataset | RawTable, evidence: Evidence, config: Config
) -> Federation:
    """Return who took part, on what, under which plan."""
    first = next(iter(evidence.repeats[0].federations.values()))
    model = build(config.model, first.input_shape, first.classes, 0)
    agreed = plan(config, len(first.clients))
    return Federation(
        clients=len(first.clients),
        corrupt=agreed.corrupt,
        drop=agreed.drop,
        threshold=agreed.threshold,
        honest_min=agreed.honest_min,
        rounds=config.training.rounds,
        partition=config.federation.partition,
        records=len(first.train_ids),
        test_records=len(first.held_out.ids),
        input_shape=first.input_shape,
        classes=first.classes,
        model=config.model.kind,
        parameters=parameter_count(model),
        data=config.name,
        plan_sentence=str(agreed),
    )


def utility(evidence: Evidence, config: Config) -> tuple[UtilityRow, ...]:
    """Return one accuracy row per protection: final models, held-out records."""
    rows = []
    for name in evidence.repeats[0].runs:
        correct = [repeat.runs[name].correct for repeat in evidence.repeats]
        found = accuracy(correct, _held_out(evidence), seed=config.seed)
        rows.append(_utility_row(name, "accuracy", found))
    return tuple(rows) + _aborted(evidence)


def _aborted(evidence: Evidence) -> tuple[UtilityRow, ...]:
    """Return the share of rounds in which too few clients were left, where any was."""
    rows = []
    for name in evidence.repeats[0].runs:
        rounds = [
            one for repeat in evidence.repeats for one in repeat.runs[name].rounds
        ]
        lost = sum(one.aborted for one in rounds)
        if lost:
            share = clopper_pearson(lost, len(rounds))
            rows.append(_utility_row(name, "aborted rounds (fraction)", share))
    return tuple(rows)


def _utility_row(
    protection: str, metric: str, found: Accuracy | Estimate
) -> UtilityRow:
    return UtilityRow(
        protection=protection,
        metric=metric,
        value=found.value,
        low=found.low,
        high=found.high,
        n=found.n,
    )


def baselines(evidence: Evidence, config: Config) -> Baselines:
    """Return what pooled and local-only training reach."""
    pooled = accuracy(
        [repeat.baseline.pooled for repeat in evidence.repeats],
        _held_out(evidence),
        seed=config.seed,
    )
    alone = [
        float(correct.mean())
        for repeat in evidence.repeats
        for correct in repeat.baseline.local_only
    ]
    return Baselines(
        pooled=PooledBaseline(
            value=pooled.value, low=pooled.low, high=pooled.high, n=pooled.n
        ),
        local_only=LocalBaseline(
            mean=float(np.mean(alone)), low=min(alone), high=max(alone), n=len(alone)
        ),
    )


def cost(evidence: Evidence) -> tuple[CostRow, ...]:
    """Return bytes per client and round, and the protocol's CPU seconds per round."""
    rows = []
    for name in evidence.repeats[0].runs:
        rounds = [
            record
            for repeat in evidence.repeats
            for record in repeat.runs[name].rounds
            if not record.aborted
        ]
        rows.append(
            CostRow(
                protection=name,
                bytes_up=float(np.mean([record.bytes_up for record in rounds])),
                bytes_down=float(np.mean([record.bytes_down for record in rounds])),
                client_cpu_s=float(np.mean([record.client_cpu_s for record in rounds])),
                server_cpu_s=float(np.mean([record.server_cpu_s for record in rounds])),
            )
        )
    return tuple(rows)


def crowd(agreed: secagg.Plan) -> tuple[CrowdRow, ...]:
    """Return, per number of colluders and dropouts, the honest inputs in one sum.

    Beyond the planned dropouts no sum is released; beyond the planned colluders the
    plan promises nothing, and nothing is shown.
    """
    return tuple(
        CrowdRow(
            colluders=colluders,
            dropouts=dropouts,
            honest=agreed.clients - dropouts - colluders
            if dropouts <= agreed.drop
            else None,
        )
        for colluders in range(agreed.corrupt + 1)
        for dropouts in range(agreed.drop + 2)
    )


def privacy(protections: Sequence[Protection]) -> tuple[PrivacyRow, ...]:
    """Return the epsilon rows: unbounded, since none of these adds noise."""
    return tuple(
        PrivacyRow(
            protection=protection.name,
            unit="example",
            relation="add or remove one",
            delta=None,
            epsilon_upper=None,
            accountant=None,
            epsilon_lower=None,
            ceiling=None,
            confidence=None,
            n_canaries=0,
        )
        for protection in protections
    )


def gates(evidence: Evidence, leakage: Sequence[LeakageRow]) -> tuple[Gate, ...]:
    """Return the conditions that a run must meet; a failed one is exit status 3."""
    certified = [o.attempt for o in evidence.outcomes if o.attempt.certified]
    # A held-out record that is as near to it does not make a certificate wrong.
    false = sum(attempt.exact is None or not attempt.exact[0] for attempt in certified)
    broken = [
        row
        for row in leakage
        if row.view.startswith(MASKED_UPLOAD)
        and row.verdict in (Verdict.LEAKS, Verdict.RECOVERED)
    ]
    return (
        Gate(
            name="certificates hold",
            passed=false == 0,
            detail=f"{len(certified)} certified reconstructions, {false} wrong.",
        ),
        Gate(
            name="masked uploads tell nothing",
            passed=not broken,
            detail=(
                f"{len(broken)} measurements on single masked uploads lie above their "
                "null."
            ),
        ),
        _sums_agree(evidence),
    )


def _held_out(evidence: Evidence) -> list[NDArray[np.int64]]:
    # Every protection of one repetition has the same split.
    return [
        next(iter(repeat.federations.values())).held_out.ids
        for repeat in evidence.repeats
    ]


def _sums_agree(evidence: Evidence) -> Gate:
    """Compare every kept round's mean with the plain one of the survivors' updates."""
    worst, gaps, beyond = 0.0, 0, 0
    for repeat in evidence.repeats:
        for run in repeat.runs.values():
            for snapshot in run.snapshots:
                aggregate = snapshot.aggregate
                inside = sorted(aggregate.survivors)
                plain = np.average(
                    [snapshot.updates[name].astype(np.float64) for name in inside],
                    axis=0,
                    weights=[snapshot.weights[name] for name in inside],
                )
                gap = float(np.abs(aggregate.mean - plain).max())
                worst, gaps = max(worst, gap), gaps + 1
                beyond += gap > aggregate.max_error
    return Gate(
        name="protected sums equal the plain sums",
        passed=beyond == 0,
        detail=(
            f"{gaps} sums compared with the mean of what went in, {beyond} beyond "
            f"their error bound; largest difference {worst:.2e}."
        ),
    )
