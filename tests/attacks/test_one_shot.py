"""The one-shot estimate is the epsilon of two fitted normal distributions."""

from __future__ import annotations

import numpy as np
import pytest

from attacks import EpsilonBound, ParameterError, gaussian_epsilon
from attacks.one_shot import normal_epsilon, one_shot_estimate

GRID = np.linspace(-40, 40, 400_001)


def _delta(mean: float, spread: float, epsilon: float) -> float:
    """Return by a plain sum how far two normal distributions are apart, either way."""
    q = np.exp(-(GRID**2) / 2)
    p = np.exp(-((GRID - mean) ** 2) / (2 * spread**2)) / spread
    factor = (GRID[1] - GRID[0]) / np.sqrt(2 * np.pi)
    ways = (p - np.exp(epsilon) * q, q - np.exp(epsilon) * p)
    return float(max(np.maximum(way, 0).sum() for way in ways) * factor)


@pytest.mark.parametrize("mean", [0.0, 0.5, -1.0])
@pytest.mark.parametrize("spread", [0.7, 1.0, 1.4])
def test_epsilon_is_where_a_plain_sum_finds_delta(mean: float, spread: float) -> None:
    epsilon = normal_epsilon(mean, spread, 1e-3)
    if (mean, spread) == (0.0, 1.0):
        assert epsilon == 0
    else:
        assert _delta(mean, spread, epsilon) == pytest.approx(1e-3, rel=1e-4)


@pytest.mark.parametrize("mu", [0.1, 1.0, 3.0])
def test_equal_spreads_are_the_gaussian_mechanism(mu: float) -> None:
    assert normal_epsilon(mu, 1.0, 1e-5) == pytest.approx(gaussian_epsilon(mu, 1e-5))


def test_an_estimate_is_near_the_truth_and_is_no_bound() -> None:
    rng = np.random.default_rng(0)
    included = rng.random(20_000) < 0.5
    found = one_shot_estimate(rng.normal(size=20_000) + included, included, delta=1e-2)
    assert found.value == pytest.approx(gaussian_epsilon(1.0, 1e-2), rel=0.1)
    assert not isinstance(found, EpsilonBound)


@pytest.mark.parametrize(
    ("scores", "included", "why"),
    [
        (np.arange(30.0), np.zeros(30, bool), "too few"),
        (np.zeros(30), np.arange(30) < 15, "must be finite and differ"),
        (np.arange(30.0), np.arange(29) < 15, "equal length"),
    ],
)
def test_what_cannot_be_fitted_is_refused(
    scores: np.ndarray, included: np.ndarray, why: str
) -> None:
    with pytest.raises(ParameterError, match=why):
        one_shot_estimate(scores, included, delta=1e-5)
