"""Accuracy with an interval that knows which records recur, beside two baselines."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from attacks import clopper_pearson
from fl.utility import CONFIDENCE, accuracy, baselines
from tests.fl import tiny


def _models(
    rates: list[float], records: int, *, seed: int = 0, disjoint: bool = False
) -> tuple[list[NDArray[np.bool_]], list[NDArray[np.int64]]]:
    rng = np.random.default_rng(seed)
    correct = [rng.random(records) < rate for rate in rates]
    ids = [
        np.arange(records, dtype=np.int64) + records * i * disjoint
        for i in range(len(rates))
    ]
    return correct, ids


def test_the_value_is_the_mean_over_models() -> None:
    correct, ids = _models([0.9, 0.7, 0.5], 100)
    found = accuracy(correct, ids, seed=0)
    assert found.value == pytest.approx(np.mean([one.mean() for one in correct]))
    assert found.low < found.value < found.high


def test_a_record_under_three_models_is_one_record() -> None:
    (one,), (ids,) = _models([0.8], 200)
    alone = accuracy([one], [ids], seed=0)
    # The same model three times over tells no more than once.
    thrice = accuracy([one] * 3, [ids] * 3, seed=0)
    assert alone.n == thrice.n == 200
    assert thrice.high - thrice.low == pytest.approx(alone.high - alone.low, rel=0.1)


def test_other_records_narrow_the_interval() -> None:
    same = accuracy(*_models([0.8] * 3, 400), seed=0)
    more = accuracy(*_models([0.8] * 3, 400, disjoint=True), seed=0)
    assert (same.n, more.n) == (400, 1200)
    assert more.high - more.low < same.high - same.low


def test_models_that_differ_widen_the_interval() -> None:
    alike = accuracy(*_models([0.7, 0.7, 0.7], 400), seed=0)
    unlike = accuracy(*_models([0.9, 0.7, 0.5], 400), seed=0)
    assert unlike.high - unlike.low > 2 * (alike.high - alike.low)


def test_a_perfect_score_still_has_an_interval() -> None:
    found = accuracy([np.ones(36, dtype=bool)], [np.arange(36)], seed=0)
    assert (found.value, found.high) == (1.0, 1.0)
    assert found.low == pytest.approx(clopper_pearson(36, 36, CONFIDENCE).low)


def test_the_interval_covers_the_truth_as_often_as_it_says() -> None:
    truth, covered, trials = 0.85, 0, 100
    for seed in range(trials):
        found = accuracy(*_models([truth] * 3, 150, seed=seed), seed=seed)
        covered += found.low <= truth <= found.high
    # Of 100 intervals of 95 %, fewer than 88 come up once in a few hundred times.
    assert covered >= 88


def test_the_same_seed_gives_the_same_interval() -> None:
    models = _models([0.8, 0.7], 100)
    assert accuracy(*models, seed=3) == accuracy(*models, seed=3)


def test_baselines_are_one_pooled_model_and_one_per_client() -> None:
    settings = tiny.config("training.rounds=8")
    fed = tiny.federation(settings)
    found = baselines(fed, settings, seed=0)
    assert len(found.local_only) == len(fed.clients)
    assert found.pooled.shape == (len(fed.held_out.ids),)
    assert {one.shape for one in found.local_only} == {found.pooled.shape}
    # Classes are well apart: all records together beat the worst client alone.
    assert found.pooled.mean() > 0.8
    assert found.pooled.mean() >= min(one.mean() for one in found.local_only)


def test_baselines_do_not_see_held_out_labels() -> None:
    settings = tiny.config()
    fed = tiny.federation(settings)
    first = baselines(fed, settings, seed=0)
    fed.held_out.y[:] = (fed.held_out.y + 1) % fed.classes
    second = baselines(fed, settings, seed=0)
    # The same predictions against other labels: right twice is impossible.
    assert not (first.pooled & second.pooled).any()
