"""Client-level noise: its scale, its fixed denominator, and its sensitivity."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from dp import GaussianSum, ParameterError, clip_l2, sampled_gaussian

LENGTH, ERROR = 50, 0.01
SUM = GaussianSum(
    clip_norm_l2=2.0, noise_multiplier=1.5, sampling_rate=0.25, clients=40
)
SENSITIVITY = 2.0 + 2 * math.sqrt(LENGTH) * ERROR


def looks_like_noise_of(std: float, draws: np.ndarray) -> bool:
    """Two-sided chi-square test of the variance at 1 in 1000."""
    statistic = float(np.square(draws / std).sum())
    tail = stats.chi2.cdf(statistic, draws.size)
    return bool(0.0005 < tail < 0.9995)


def released(total: np.ndarray | None, seed: int, of: GaussianSum = SUM) -> np.ndarray:
    return of.release(
        total, length=LENGTH, sum_error=ERROR, seed=b"test" + bytes([seed])
    )


def some_total(clients: int) -> np.ndarray:
    rng = np.random.default_rng(clients)
    parts = [clip_l2(rng.normal(size=LENGTH), 2.0).vector for _ in range(clients)]
    return np.sum(np.asarray(parts, dtype=np.float64), axis=0)


def test_noise_has_the_stated_standard_deviation() -> None:
    total = some_total(10)
    draws = np.stack([released(total, seed) - total / 10 for seed in range(200)])
    std = 1.5 * SENSITIVITY / (0.25 * 40)
    assert looks_like_noise_of(std, draws)
    assert abs(draws.mean()) < 4 * std / math.sqrt(draws.size)


def test_the_same_statistic_catches_missing_and_misscaled_noise() -> None:
    std = 1.5 * SENSITIVITY / 10
    draws = np.stack([released(None, seed) for seed in range(200)])
    assert looks_like_noise_of(std, draws)
    assert not looks_like_noise_of(std, np.zeros_like(draws))
    assert not looks_like_noise_of(std, draws / math.sqrt(40))
    assert not looks_like_noise_of(std, draws * 2.0 / SENSITIVITY)


def test_the_denominator_does_not_depend_on_who_came() -> None:
    for clients in (1, 10, 40):
        total = some_total(clients)
        mean = released(total, 0) - released(None, 0)
        assert np.allclose(mean, total / 10, atol=1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_neighbours_are_within_the_sensitivity(seed: int) -> None:
    rng = np.random.default_rng(seed)
    without = some_total(9)
    extra = np.asarray(clip_l2(rng.normal(size=LENGTH) * 99, 2.0).vector, np.float64)
    wobble = rng.choice([-ERROR, ERROR], size=(2, LENGTH))  # the worst rounding
    one = released(without + wobble[0], 7)
    two = released(without + extra + wobble[1], 7)
    assert np.linalg.norm(one - two) <= SENSITIVITY / 10 + 1e-12
    worst = extra / np.linalg.norm(extra) * math.sqrt(LENGTH) * ERROR
    gap = released(without + extra + worst, 7) - released(without - worst, 7)
    # Reached, not only kept: half the error term would be too little.
    assert np.linalg.norm(gap) > (2.0 + math.sqrt(LENGTH) * ERROR) / 10


def test_the_event_is_what_is_released() -> None:
    assert SUM.event == sampled_gaussian(1.5, 0.25)
    assert SUM.sensitivity(LENGTH, ERROR) == pytest.approx(SENSITIVITY)
    assert SUM.sensitivity(LENGTH, 0.0) == 2.0


def test_fresh_noise_without_a_seed() -> None:
    one, two = (SUM.release(None, length=3, sum_error=0.0, seed=None) for _ in range(2))
    assert not np.array_equal(one, two)


def test_sums_of_unclipped_updates_are_refused() -> None:
    longest = np.full(LENGTH, 40 * 2.0 / math.sqrt(LENGTH))
    released(longest, 0)
    with pytest.raises(ParameterError, match="clip every update"):
        released(longest * 1.1, 0)


@pytest.mark.parametrize("bad", [np.zeros(LENGTH + 1), np.full(LENGTH, np.nan)])
def test_misshapen_or_infinite_sums_are_refused(bad: np.ndarray) -> None:
    with pytest.raises(ParameterError, match="total"):
        released(bad, 0)


@pytest.mark.parametrize(
    "change",
    [
        {"clip_norm_l2": 0.0},
        {"clip_norm_l2": math.inf},
        {"noise_multiplier": 0.0},
        {"sampling_rate": 0.0},
        {"sampling_rate": 1.5},
        {"clients": 0},
    ],
)
def test_bad_constants_are_refused(change: dict[str, float]) -> None:
    good = {
        "clip_norm_l2": 1.0,
        "noise_multiplier": 1.0,
        "sampling_rate": 1.0,
        "clients": 3,
    }
    with pytest.raises(ParameterError):
        GaussianSum(**{**good, **change})  # type: ignore[arg-type]


@pytest.mark.parametrize(("length", "error"), [(0, 0.0), (1, -1.0), (1, math.inf)])
def test_bad_sizes_and_errors_are_refused(length: int, error: float) -> None:
    with pytest.raises(ParameterError):
        SUM.sensitivity(length, error)
