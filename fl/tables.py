"""From the evidence to the report's rows: federation, utility, baselines, costs.

Arithmetic on records only; verdicts come from `fl.verdict`, words from `fl.answer`.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from attacks import Estimate, clopper_pearson
from fl.config import Config
from fl.data import Dataset, RawTable
from fl.evidence import Evidence, Repeat
from fl.local import engine_for
from fl.models import build, parameter_count
from fl.plans import plan, promise, smallest_cohort
from fl.report import (
    Baselines,
    CostRow,
    Federation,
    LocalBaseline,
    PooledBaseline,
    UtilityRow,
)
from fl.utility import Accuracy, accuracy


def federation(
    raw: Dataset | RawTable, evidence: Evidence, config: Config
) -> Federation:
    """Return who took part, on what, under which plan."""
    first = next(iter(evidence.repeats[0].federations.values()))
    model = build(config.model, first.input_shape, first.classes, 0)
    agreed = plan(config, smallest_cohort(config))
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
        plan_sentence=promise(config),
        cohort=config.federation.cohort,
        trained=how_trained(evidence, config),
    )


def how_trained(evidence: Evidence, config: Config) -> str:
    """Say how the clients' training was batched, and why so."""
    federation = next(iter(evidence.repeats[0].federations.values()))
    model = build(config.model, federation.input_shape, federation.classes, 0)
    largest = max(client.records for client in federation.clients)
    engine = engine_for(
        model,
        federation.input_shape,
        batch_size=min(config.training.batch_size, largest),
    )
    how = {
        "by hand": "all clients at once",
        "vmap": "all clients at once",
        "loop": "one client after the other",
    }
    return f"{how[engine.name]} ({engine.why})"


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
        majority=float(np.mean([_majority(repeat) for repeat in evidence.repeats])),
    )


def _majority(repeat: Repeat) -> float:
    """Return the accuracy of always naming the most frequent training class."""
    federation = next(iter(repeat.federations.values()))
    labels = torch.cat([client.y for client in federation.clients])
    most = torch.bincount(labels, minlength=federation.classes).argmax()
    return float((federation.held_out.y == most).double().mean())


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
        if not rounds:  # the ledger refused every one
            continue
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


def _held_out(evidence: Evidence) -> list[NDArray[np.int64]]:
    # Every protection of one repetition has the same split.
    return [
        next(iter(repeat.federations.values())).held_out.ids
        for repeat in evidence.repeats
    ]
