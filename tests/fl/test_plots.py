"""Plots beside the tables: what noise buys, and what a proven epsilon leaves open."""

from __future__ import annotations

from typing import cast

import numpy as np
import pytest

from fl import plots
from fl.evidence import Evidence, Repeat
from fl.run import RoundRecord, RunRecord


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
