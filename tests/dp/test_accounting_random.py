"""The accountant at random settings: dp-accounting's own value, and never below truth.

Truth is bounded from below by two oracles that share nothing with the code under test:
for one release the two hockey-stick integrals in closed form, and for many releases
dp-accounting's *optimistic* rounding, which is a lower bound.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass

import pytest
from dp_accounting import GaussianDpEvent, NeighboringRelation, PoissonSampledDpEvent
from dp_accounting.pld import PLDAccountant
from dp_accounting.pld import privacy_loss_distribution as pld

from dp import epsilon, sampled_gaussian

INTERVAL = 1e-4


@dataclass(frozen=True)
class Setting:
    sigma: float
    rate: float
    count: int
    delta: float


def settings(count: int, seed: int, least_noise: float = 0.6) -> list[Setting]:
    """Return settings as people use them; epsilons from 0.01 to 20."""
    draw, found = random.Random(seed), list[Setting]()
    while len(found) < count:
        one = Setting(
            sigma=math.exp(draw.uniform(math.log(least_noise), math.log(12))),
            rate=draw.choice([1.0, math.exp(draw.uniform(math.log(0.002), 0))]),
            count=round(math.exp(draw.uniform(0, math.log(2000)))),
            delta=10 ** draw.uniform(-7, -3),
        )
        mu = one.rate * math.sqrt(one.count * math.expm1(min(1 / one.sigma**2, 50)))
        if 0.01 < mu < 4:
            found.append(one)
    return found


def sf(value: float) -> float:
    return math.erfc(value / math.sqrt(2)) / 2


def one_release_delta(sigma: float, q: float, eps: float) -> float:
    """Return delta(eps) of one release, the larger of both directions.

    With P = (1-q) N(0, s^2) + q N(1, s^2) and Q = N(0, s^2), the ratio P/Q is
    1 - q + q exp((x - 1/2) / s^2) and grows with x, so each integral of a positive
    part is one over a half line.
    """
    worst = 0.0
    lift = (math.exp(eps) - 1 + q) / q
    if lift > 0:  # where P > e^eps Q
        x = sigma * sigma * math.log(lift) + 0.5
        inside = (1 - q) * sf(x / sigma) + q * sf((x - 1) / sigma)
        worst = max(worst, inside - math.exp(eps) * sf(x / sigma))
    drop = (math.exp(-eps) - 1 + q) / q
    if drop > 0:  # where Q > e^eps P
        x = sigma * sigma * math.log(drop) + 0.5
        inside = (1 - q) * sf(-x / sigma) + q * sf(-(x - 1) / sigma)
        worst = max(worst, sf(-x / sigma) - math.exp(eps) * inside)
    return worst


def one_release_epsilon(sigma: float, q: float, delta: float) -> float:
    low, high = 0.0, 100.0
    if one_release_delta(sigma, q, 0.0) <= delta:
        return 0.0
    for _ in range(200):
        middle = (low + high) / 2
        if one_release_delta(sigma, q, middle) > delta:
            low = middle
        else:
            high = middle
    return low


def theirs(one: Setting) -> float:
    accountant = PLDAccountant(NeighboringRelation.ADD_OR_REMOVE_ONE, INTERVAL)
    event = PoissonSampledDpEvent(one.rate, GaussianDpEvent(one.sigma))
    accountant.compose(event, one.count)
    return float(accountant.get_epsilon(one.delta))


def optimistic(one: Setting) -> float:
    """A lower bound on the true epsilon."""
    single = pld.from_gaussian_mechanism(
        one.sigma,
        pessimistic_estimate=False,
        value_discretization_interval=INTERVAL,
        sampling_prob=one.rate,
        use_connect_dots=False,
    )
    return float(single.self_compose(one.count).get_epsilon_for_delta(one.delta))


def check(one: Setting) -> None:
    event = sampled_gaussian(one.sigma, one.rate)
    ours = epsilon(event, one.count, one.delta)
    assert abs(ours - theirs(one)) <= 1e-3, one
    single = epsilon(event, 1, one.delta)
    exact = one_release_epsilon(one.sigma, one.rate, one.delta)
    assert exact - 1e-9 <= single <= exact + 1e-3, one


def test_twenty_random_settings_agree_and_are_never_below_the_truth() -> None:
    for one in settings(20, seed=1, least_noise=5.0):  # narrow, hence quick
        check(one)


@pytest.mark.slow
def test_two_hundred_random_settings_agree_and_are_never_below_the_truth() -> None:
    for one in settings(200, seed=2):
        check(one)
        ours = epsilon(sampled_gaussian(one.sigma, one.rate), one.count, one.delta)
        assert ours >= optimistic(one), one


def test_the_oracle_of_one_release_is_the_gaussian_mechanism_without_sampling() -> None:
    # Balle and Wang (arXiv:1805.06530): delta of mu = 1 at the exact epsilon 4.37718.
    assert one_release_epsilon(1.0, 1.0, 1e-5) == pytest.approx(4.37718, abs=5e-6)


@pytest.mark.slow
def test_the_central_limit_would_have_been_caught() -> None:
    # What a GDP accountant says of sigma 0.5, q 0.01, 200 releases at 1e-5.
    assert optimistic(Setting(sigma=0.5, rate=0.01, count=200, delta=1e-5)) > 4.55707
