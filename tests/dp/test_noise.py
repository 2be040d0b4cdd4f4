"""Gaussian noise: its distribution, its seeds, and its exact ends."""

from __future__ import annotations

import hashlib
import math
import time
from statistics import NormalDist

import numpy as np
import pytest
from scipy import stats

from dp import ParameterError, gaussian
from dp.noise import TAG, _normal

MANY = 200_000
GOLDEN = 2.0511970571400537


def test_moments_and_shape_are_those_of_the_normal_distribution() -> None:
    draws = gaussian(MANY, 3.0, seed=b"moments") / 3.0
    assert stats.kstest(draws, "norm").pvalue > 0.01
    assert abs(draws.mean()) < 4 / math.sqrt(MANY)
    assert abs(draws.var() - 1) < 4 * math.sqrt(2 / MANY)
    assert abs(stats.kurtosis(draws)) < 4 * math.sqrt(24 / MANY)


def test_a_wrong_scale_would_be_noticed() -> None:
    draws = gaussian(MANY, 1.01, seed=b"moments")
    assert stats.kstest(draws, "norm").pvalue < 0.01


def test_seeds_repeat_and_differ() -> None:
    one = gaussian(MANY, 1.0, seed=b"one")
    assert np.array_equal(one, gaussian(MANY, 1.0, seed=b"one"))
    assert np.array_equal(one[:7], gaussian(7, 1.0, seed=b"one"))
    two = gaussian(MANY, 1.0, seed=b"two")
    assert abs(np.corrcoef(one, two)[0, 1]) < 4 / math.sqrt(MANY)
    assert abs(np.corrcoef(one[1:], one[:-1])[0, 1]) < 4 / math.sqrt(MANY)


def test_without_a_seed_every_call_is_fresh() -> None:
    assert not np.array_equal(gaussian(8, 1.0, seed=None), gaussian(8, 1.0, seed=None))


def test_first_value_follows_from_the_definition() -> None:
    word = int.from_bytes(hashlib.shake_256(TAG + b"golden").digest(8), "little")
    by_hand = NormalDist().inv_cdf(((word >> 11) + 0.5) / 2**53)
    first = gaussian(1, 2.0, seed=b"golden")[0]
    assert first == pytest.approx(2 * by_hand, rel=1e-12)
    assert first == pytest.approx(GOLDEN, rel=1e-12)


def test_the_ends_are_finite_and_symmetric() -> None:
    low = np.array([0, 1, 2**52 - 1], dtype=np.uint64)
    high = np.uint64(2**53 - 1) - low
    assert np.array_equal(_normal(low), -_normal(high))
    assert np.isfinite(_normal(low)).all()
    assert _normal(low)[0] == pytest.approx(-8.29236, abs=1e-5)


def test_a_million_draws_take_a_moment() -> None:
    start = time.perf_counter()
    gaussian(1_000_000, 1.0, seed=b"speed")
    assert time.perf_counter() - start < 2.0


@pytest.mark.parametrize("std", [0.0, -1.0, math.nan, math.inf, 1e300])
def test_bad_standard_deviations_are_refused(std: float) -> None:
    with pytest.raises(ParameterError, match="std"):
        gaussian(1, std, seed=None)


def test_bad_lengths_and_empty_seeds_are_refused() -> None:
    with pytest.raises(ParameterError, match="length"):
        gaussian(0, 1.0, seed=None)
    with pytest.raises(ParameterError, match="empty"):
        gaussian(1, 1.0, seed=b"")
