"""Trade-off curves: below the claim they stand for, and families in order of noise."""

import math

import numpy as np
import pytest
from scipy import special, stats

from attacks import (
    ParameterError,
    PrivacyProfile,
    SampledFamily,
    f_dp_bound,
    gaussian_epsilon,
)
from attacks.tradeoff import (
    approximate_curve,
    gaussian_curve,
    tradeoff_curve,
)

GRID = np.linspace(0, 1, 101)


def gaussian_profile(mu: float, points: int = 120) -> PrivacyProfile:
    """The exact deltas of a Gaussian mechanism (Balle and Wang 2018, Theorem 8)."""
    e = np.linspace(0, 12, points)
    d = special.ndtr(mu / 2 - e / mu) - np.exp(e) * special.ndtr(-mu / 2 - e / mu)
    return PrivacyProfile(epsilons=e, deltas=np.maximum(d, 0))


def test_curves_are_the_least_probability_under_a_neighbour():
    assert gaussian_curve(0)(0.3) == pytest.approx(0.3)
    for threshold in (-1.0, 0.0, 2.0):  # the event "above the threshold"
        y = float(stats.norm.sf(threshold - 1.5))
        assert gaussian_curve(1.5)(y) == pytest.approx(stats.norm.sf(threshold))
    # Randomised response.
    q = special.expit(0.9)
    assert approximate_curve(0.9, 0.0)(q) == pytest.approx(1 - q)
    # What happens surely with probability delta may be impossible elsewhere.
    assert approximate_curve(0.9, 0.1)(0.1) == 0


@pytest.mark.parametrize("mu", [0.2, 1.0, 3.0])
def test_a_profile_lies_below_its_mechanism_and_close_to_it(mu):
    profile, exact = gaussian_profile(mu), gaussian_curve(mu)
    drawn = np.array([profile.curve(y) for y in GRID])
    wanted = np.array([exact(y) for y in GRID])
    assert (drawn <= wanted + 1e-12).all() and np.abs(drawn - wanted).max() < 4e-3
    coarse = gaussian_profile(mu, points=18)  # every seventh
    assert all(coarse.curve(y) <= profile.curve(y) + 1e-12 for y in GRID)


def test_a_profile_gives_the_epsilon_that_its_points_imply():
    assert gaussian_profile(1.0).epsilon(1e-5) == pytest.approx(4.37718, abs=0.01)
    assert gaussian_profile(1.0).epsilon(1e-5) >= gaussian_epsilon(1.0, 1e-5)
    two = PrivacyProfile(epsilons=np.array([1.0, 3.0]), deltas=np.array([0.2, 0.1]))
    middle = two.epsilon(0.15)
    # The implied claim, read off the curve itself: delta = max_y y - e^eps curve(y).
    y = np.linspace(0, 1, 200_001)
    lines = np.maximum(
        np.exp(-two.epsilons)[:, None] * (y - two.deltas[:, None]),
        1 - two.deltas[:, None] - np.exp(two.epsilons)[:, None] * (1 - y),
    )
    curve = np.maximum(0, lines.max(axis=0))
    implied = (y - math.exp(middle) * curve).max()
    assert implied == pytest.approx(0.15, abs=1e-4)
    assert two.epsilon(0.5) == 1.0
    with pytest.raises(ParameterError, match="larger epsilons"):
        two.epsilon(0.05)


def test_sampled_profiles_bound_as_the_gaussian_family_does_and_no_higher():
    mus = np.arange(0.05, 1.6, 0.05)
    family = SampledFamily(
        profiles=tuple(gaussian_profile(mu) for mu in mus), kind="Gaussian noise"
    )
    exact = f_dp_bound(2000, 200, 185, delta=1e-5)
    found = f_dp_bound(2000, 200, 185, delta=1e-5, family=family)
    assert 0.9 * exact.value < found.value <= exact.value + 5e-3
    assert "trade-off of Gaussian noise assumed" in found.method
    assert f_dp_bound(2000, 200, 100, delta=1e-5, family=family).value == 0


def test_joining_points_of_a_curve_would_claim_too_much():
    """Why profiles are lines: the chords of a convex curve lie above it."""
    exact, coarse = gaussian_curve(1.0), np.linspace(0, 1, 9)
    joined = np.interp(GRID, coarse, [exact(y) for y in coarse])
    wanted = np.array([exact(y) for y in GRID])
    assert (joined >= wanted - 1e-12).all() and (joined - wanted).max() > 5e-3


def test_a_callable_trade_off_function_gives_the_same_curve():
    def gaussian(x: float) -> float:
        return float(special.ndtr(-special.ndtri(x) - 1.3))

    curve = tradeoff_curve(gaussian)
    assert [curve(y) for y in GRID] == pytest.approx(
        [gaussian_curve(1.3)(y) for y in GRID]
    )
    tradeoff_curve(lambda x: max(0.0, 0.9 - 2 * x, (0.9 - x) / 2))  # touches 0


@pytest.mark.parametrize(
    "f",
    [
        lambda x: 1.0,  # above 1 - x
        lambda x: 1 - math.sqrt(x) if x < 0.5 else 0.5 - (x - 0.5) ** 2,  # not convex
        lambda x: max(0.0, 1 - 4 * x) + 0 * x if x < 0.1 else 0.6 * (1 - x) / 0.9,
        lambda x: (1 - x) / 3,  # one direction only: its inverse is 1 - 3 x
        lambda x: max(0.0, 1 - 3 * x),
        lambda x: math.nan,
    ],
)
def test_a_function_that_is_no_symmetric_trade_off_is_refused(f):
    with pytest.raises(ParameterError):
        tradeoff_curve(f)


@pytest.mark.parametrize(
    "call",
    [
        lambda: PrivacyProfile(epsilons=np.array([]), deltas=np.array([])),
        lambda: PrivacyProfile(epsilons=np.array([1.0]), deltas=np.array([0.1, 0.2])),
        lambda: PrivacyProfile(epsilons=np.array([2.0, 1]), deltas=np.array([0.1, 0])),
        lambda: PrivacyProfile(epsilons=np.array([-1.0]), deltas=np.array([0.1])),
        lambda: PrivacyProfile(epsilons=np.array([1.0]), deltas=np.array([1.1])),
        lambda: PrivacyProfile(epsilons=np.array([1.0]), deltas=np.array([math.nan])),
        lambda: SampledFamily(profiles=(), kind="nothing"),
        lambda: SampledFamily(
            profiles=(gaussian_profile(2.0), gaussian_profile(1.0)), kind="backwards"
        ),
        lambda: gaussian_curve(-1.0),
        lambda: approximate_curve(-1.0, 0.0),
        lambda: approximate_curve(1.0, 1.0),
    ],
)
def test_claims_that_are_none_are_refused(call):
    with pytest.raises(ParameterError):
        call()
