"""Plots beside the tables: what noise buys, and what a proven epsilon leaves open."""

from __future__ import annotations

import math
from itertools import product
from typing import cast

import numpy as np
import pytest

from fl import plots
from fl.evidence import Evidence, Repeat
from fl.report import PrivacyRow
from fl.run import RoundRecord, RunRecord

FPR = tuple(float(v) for v in np.geomspace(1e-3, 1, 40))


def bound(
    epsilon: float | None, *, delta: float = 1e-5, unit: str = "example"
) -> PrivacyRow:
    return PrivacyRow(
        protection="noised",
        unit=unit,
        relation="add or remove one",
        delta=delta,
        epsilon_upper=epsilon,
        accountant=None if epsilon is None else "PLD",
        epsilon_lower=None,
        ceiling=None,
        confidence=None,
        n_canaries=0,
    )


def best_rate(epsilon: float, delta: float, fpr: float) -> float:
    """Oracle: the largest TPR with both inequalities of the definition, by bisection.

    TPR <= e^eps FPR + delta for the event, and the same for its complement.
    """
    low, high = 0.0, 1.0
    for _ in range(60):
        tpr = (low + high) / 2
        event = tpr <= math.exp(epsilon) * fpr + delta
        complement = 1 - fpr <= math.exp(epsilon) * (1 - tpr) + delta
        low, high = (tpr, high) if event and complement else (low, tpr)
    return low


@pytest.mark.parametrize(("epsilon", "delta"), product((0.1, 1.0, 4.0), (0.0, 1e-3)))
def test_the_limit_is_the_largest_rate_that_the_definition_allows(
    epsilon: float, delta: float
) -> None:
    limit = plots._limit(bound(epsilon, delta=delta), FPR)
    assert limit is not None and limit.role == "reference"
    for fpr, tpr in zip(limit.x, limit.y, strict=True):
        assert tpr == pytest.approx(best_rate(epsilon, delta, fpr), abs=1e-9)
        assert tpr < 1


def test_a_record_of_a_client_is_two_steps_away() -> None:
    limit = plots._limit(bound(0.5, delta=1e-4, unit="client"), FPR)
    assert limit is not None
    wider = (1 + math.exp(0.5)) * 1e-4
    assert limit.y[0] == pytest.approx(best_rate(1.0, wider, limit.x[0]), abs=1e-9)


@pytest.mark.parametrize("epsilon", [None, 31.0, 1e6])
def test_a_bound_that_allows_everything_is_not_drawn(epsilon: float | None) -> None:
    assert plots._limit(bound(epsilon), FPR) is None


def evidence(spent: dict[str, list[float | None]]) -> Evidence:
    """Return two repetitions whose accuracy grows by 0.1 a round."""

    def record(name: str, seed: int) -> RunRecord:
        rounds = tuple(
            RoundRecord(
                index=i,
                aborted=False,
                accuracy=0.1 * (i + 1) + 0.02 * seed,
                loss=1.0,
                epsilon=epsilon,
            )
            for i, epsilon in enumerate(spent[name])
        )
        return RunRecord(
            protection=name,
            seed=seed,
            rounds=rounds,
            snapshots=(),
            final=np.zeros(1, dtype=np.float32),
            correct=np.zeros(1, dtype=bool),
            accounts=(),
            seconds=0.0,
        )

    return Evidence(
        repeats=[
            cast(
                Repeat,
                type("Runs", (), {"runs": {name: record(name, s) for name in spent}}),
            )
            for s in (0, 1)
        ]
    )


def test_accuracy_is_drawn_over_what_was_spent_beside_training_without_noise() -> None:
    curve = plots._spending(evidence({"none": [None] * 3, "dp-sgd": [1.0, 2.0, 2.5]}))
    assert curve is not None
    noised, plain = curve.series
    assert (noised.name, noised.x) == ("dp-sgd", (1.0, 2.0, 2.5))
    assert noised.y == pytest.approx((0.11, 0.21, 0.31))
    assert noised.low == pytest.approx((0.1, 0.2, 0.3))
    assert noised.high == pytest.approx((0.12, 0.22, 0.32))
    assert (plain.name, plain.role, plain.x) == ("none", "reference", (1.0, 2.5))
    assert plain.y == pytest.approx((0.31, 0.31))


def test_nothing_is_drawn_where_nothing_was_spent() -> None:
    assert plots._spending(evidence({"none": [None] * 3})) is None
