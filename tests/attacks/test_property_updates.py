"""Property inference tells updates apart by what they show, and by nothing else."""

from __future__ import annotations

import numpy as np
import pytest

from attacks import ParameterError
from attacks.property import property_scores
from attacks.ranking import auc


def updates(count: int, seed: int, shown: float) -> tuple[np.ndarray, np.ndarray]:
    """Draw updates of which one entry is larger, either way, under the property."""
    rng = np.random.default_rng(seed)
    having = np.arange(count) % 2 == 0
    rows = rng.normal(size=(count, 30))
    rows[:, 7] *= np.where(having, 1 + shown, 1.0)
    return rows, having


@pytest.mark.parametrize("scale", [1.0, 1e-6])
def test_the_size_of_an_entry_tells_whatever_its_sign(scale: float) -> None:
    made, bits = updates(120, 0, 6.0)
    seen, truth = updates(60, 1, 6.0)
    scores = property_scores(made, bits, seen * scale, seed=0)
    assert auc(scores[truth], scores[~truth]) > 0.85


def test_without_a_trace_there_is_nothing_to_tell() -> None:
    made, bits = updates(120, 2, 0.0)
    seen, truth = updates(200, 3, 0.0)
    scores = property_scores(made, bits, seen, seed=0)
    assert abs(auc(scores[truth], scores[~truth]) - 0.5) < 0.15


def test_bits_the_other_way_round_turn_the_scores_round() -> None:
    made, bits = updates(120, 4, 6.0)
    seen, truth = updates(60, 5, 6.0)
    scores = property_scores(made, ~bits, seen, seed=0)
    assert auc(scores[truth], scores[~truth]) < 0.15


def test_long_updates_are_told_apart_by_their_components() -> None:
    rng = np.random.default_rng(6)
    bits = np.arange(60) % 2 == 0
    made = rng.normal(size=(60, 6000))
    made[bits] += 0.5
    scores = property_scores(made[:40], bits[:40], made[40:], seed=0)
    assert auc(scores[bits[40:]], scores[~bits[40:]]) == 1.0


def test_too_few_simulated_updates_and_odd_shapes_are_refused() -> None:
    made, bits = updates(18, 7, 1.0)
    with pytest.raises(ParameterError, match="9 simulated updates"):
        property_scores(made, bits, made, seed=0)
    made, bits = updates(40, 8, 1.0)
    with pytest.raises(ParameterError, match="equally many parameters"):
        property_scores(made, bits, made[:, :5], seed=0)
    with pytest.raises(ParameterError, match="bool"):
        property_scores(made, bits.astype(int), made, seed=0)
    made[3, 3] = np.nan
    with pytest.raises(ParameterError, match="finite"):
        property_scores(made, bits, made, seed=0)
