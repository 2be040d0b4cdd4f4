"""Two lemmas on sums of discrete Gaussians, chance by chance, and what they claim."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from dp_accounting import GaussianDpEvent
from numpy.typing import NDArray

from dp.accounting import composed_epsilon, sampled_gaussian
from dp.discrete import DiscreteGaussian, Skellam
from dp.distributed import DistributedSum
from dp.integers import Integers
from dp.renyi import SET_ASIDE
from dp.sizing import noise_for
from dp.smoothing import GAP_MAX, ROUNDING_VARIANCE, gap, ripple, transfer

DELTA = 1e-5
Masses = NDArray[np.float64]


def _gaussian(variance: float, reach: int, centre: float = 0.0) -> Masses:
    z = np.arange(-reach, reach + 1)
    mass = np.exp(-((z - centre) ** 2) / (2 * variance))
    return np.asarray(mass / mass.sum())


def _sum(variance: int, honest: int) -> Masses:
    """Return the chances of a sum of shares, by adding one after the other."""
    share = _gaussian(variance, math.ceil(14 * math.sqrt(variance)) + 5)
    total = share
    for _ in range(honest - 1):
        total = np.convolve(total, share)
    return total


def _exact_epsilon(noise: Masses, shift: int, rate: float, rounds: int = 1) -> float:
    """Return epsilon at DELTA of sums of two neighbours, from all chances at once."""
    # What is left out is below 1e-20 of everything, far below DELTA.
    reach = int(np.abs(np.flatnonzero(noise > 1e-22) - len(noise) // 2).max())
    noise = noise[len(noise) // 2 - reach : len(noise) // 2 + reach + 1]
    without = np.concatenate([noise, np.zeros(shift)])
    moved = np.concatenate([np.zeros(shift), noise])
    mixed = rate * moved + (1 - rate) * without
    found = 0.0
    for one, two in ((mixed, without), (without, mixed)):
        p, q = one, two
        for _ in range(rounds - 1):  # outcomes of all rounds, one by one
            p, q = np.outer(p, one).ravel(), np.outer(q, two).ravel()
        low, high = 0.0, 60.0
        for _ in range(40):
            middle = (low + high) / 2
            spent = np.maximum(p - math.exp(middle) * q, 0).sum()
            low, high = (middle, high) if spent > DELTA else (low, middle)
        found = max(found, low)
    return found


def _total(variance: int, honest: int, shift: int, rate: float) -> DistributedSum:
    return DistributedSum(
        noise=DiscreteGaussian(variance=variance),
        honest=honest,
        integers=Integers(l2_bound=shift, linf_bound=shift, length=1),
        sampling_rate=rate,
    )


def _twin_epsilon(total: DistributedSum, rounds: int = 1) -> float:
    """Return the claim by the twin alone."""
    twin = total.twin
    assert twin is not None
    return transfer(
        lambda part: composed_epsilon([(twin, rounds)], part),
        DELTA,
        gap=rounds * total.gap,
        distance=rounds * total.distance,
    )


@pytest.mark.parametrize("honest", [2, 3, 9])
@pytest.mark.parametrize("variance", [1, 2])
def test_a_sum_of_shares_is_as_near_one_discrete_gaussian_as_said(
    variance: int, honest: int
) -> None:
    total = _sum(variance, honest)
    single = _gaussian(honest * variance, len(total) // 2)
    near = single > 1e-12  # where the floats of neither have ended
    off = float(np.abs(np.log(total[near] / single[near])).max())
    claimed = 2 * (honest - 1) * math.atanh(ripple(variance / 2))
    assert off <= claimed
    if variance == 1:
        assert off > 1e-7  # a gap that floats can see is what is bounded


@pytest.mark.parametrize("width", [0.2, 0.35, 0.5])
@pytest.mark.parametrize("variance", [1.0, 7.3])
def test_a_rounded_real_gaussian_is_as_near_a_discrete_one_as_said(
    width: float, variance: float
) -> None:
    reach, spread = 12, math.sqrt(variance - width)
    y, step = np.linspace(-9 * spread, 9 * spread, 40_001, retstep=True)
    density = np.exp(-(y**2) / (2 * (variance - width))) * step
    density /= math.sqrt(2 * math.pi) * spread
    z = np.arange(-60, 61)
    kernel = np.exp(-((z[:, None] - y) ** 2) / (2 * width))
    rounded = (kernel / kernel.sum(axis=0)) @ density
    wanted = _gaussian(variance, 60)
    near = np.abs(z) <= min(reach, 5 * math.sqrt(variance))
    off = float(np.abs(np.log(rounded[near] / wanted[near])).max())
    assert off <= 2 * math.atanh(ripple(width)) + 1e-9
    if width == 0.2:
        assert off > 1e-3


def test_gaps_add_up_over_shares_and_coordinates() -> None:
    assert gap(10**6, 100, 10**6) < 1e-18
    assert gap(7, 100, 10) == pytest.approx(10 * gap(7, 100, 1))
    assert gap(3, 100, 10) > 5 * gap(3, 10, 10) > 0
    assert gap(1, 1, 1) == gap(10**6, 1, 1) > 0  # no other share to be added
    assert math.isinf(ripple(0.0)) and 2 * math.exp(-59.3) < ripple(ROUNDING_VARIANCE)


@pytest.mark.parametrize(
    ("variance", "honest", "shift", "rate"),
    [(40, 4, 10, 1.0), (400, 4, 30, 1.0), (60, 50, 40, 0.3)],
)
def test_a_claim_is_never_below_the_exact_epsilon_and_within_two_percent(
    variance: int, honest: int, shift: int, rate: float
) -> None:
    total = _total(variance, honest, shift, rate)
    exact = _exact_epsilon(_sum(variance, honest), shift, rate)
    claimed = _twin_epsilon(total)
    assert exact <= claimed <= 1.02 * exact
    assert (
        total.epsilon(DELTA, rounds=1) <= claimed < total.renyi_epsilon(DELTA, rounds=1)
    )


def test_a_claim_of_two_rounds_is_never_below_their_exact_epsilon() -> None:
    rate = 0.3
    exact = _exact_epsilon(_sum(40, 4), 9, rate, rounds=2)
    assert exact <= _twin_epsilon(_total(40, 4, 9, rate), 2) <= 1.02 * exact


def test_wrong_twins_claim_less_than_the_exact_epsilon() -> None:
    total, exact = _total(40, 4, 5, 1.0), _exact_epsilon(_sum(40, 4), 5, 1.0)
    halved = replace(total, integers=replace(total.integers, l2_bound=2.5))
    for wrong in (halved, replace(total, honest=8)):
        assert _twin_epsilon(wrong) < 0.9 * exact
    # Where noise is a few steps, what rounding takes away must not be forgotten.
    tiny, noise = _total(7, 1, 3, 1.0), _sum(7, 1)
    forgotten = GaussianDpEvent(math.sqrt(7) / 3)
    assert composed_epsilon([(forgotten, 1)], DELTA) < _exact_epsilon(noise, 3, 1.0)
    assert _exact_epsilon(noise, 3, 1.0) <= _twin_epsilon(tiny)


def test_gap_and_distance_are_paid_for() -> None:
    asked: list[float] = []

    def twin(part: float) -> float:
        asked.append(part)
        return 1.0

    assert transfer(twin, DELTA, gap=0.25, distance=0.0) == 1.5
    assert asked == [pytest.approx(DELTA * (1 - SET_ASIDE) * math.exp(-0.25))]
    room = DELTA * SET_ASIDE / (1 + math.e)
    assert transfer(twin, DELTA, gap=0.0, distance=0.99 * room) == 1.0
    assert math.isinf(transfer(twin, DELTA, gap=0.0, distance=1.01 * room))


def test_no_twin_stands_in_where_its_gap_is_wide_or_there_is_none() -> None:
    for wide in (_total(1, 10, 3, 1.0), _total(2, 10, 3, 1.0)):
        assert wide.gap > GAP_MAX
        assert wide.epsilon(DELTA, rounds=3) == wide.renyi_epsilon(DELTA, rounds=3)
        assert composed_epsilon([(wide.event, 3)], DELTA) == wide.renyi_epsilon(
            DELTA, rounds=3
        )
    skellam = replace(_total(40, 10, 15, 1.0), noise=Skellam(variance=40))
    assert skellam.twin is None
    assert skellam.epsilon(DELTA, rounds=3) == skellam.renyi_epsilon(DELTA, rounds=3)
    assert _total(1, 3, 3, 1.0).twin is None  # rounding would take it all
    often = _total(3, 4, 3, 1.0)  # gaps of all rounds together
    rounds = math.ceil(GAP_MAX / often.gap)
    assert often.gap < GAP_MAX
    assert often.epsilon(DELTA, rounds=rounds) == often.renyi_epsilon(
        DELTA, rounds=rounds
    )


def test_shares_and_other_noise_are_composed_as_gaussians_at_once() -> None:
    total = _total(10_000, 50, 200, 1.0)
    twin, other = total.twin, sampled_gaussian(8.0, 1.0)
    assert isinstance(twin, GaussianDpEvent)
    found = composed_epsilon([(total.event, 3), (other, 2)], DELTA)
    wanted = composed_epsilon([(twin, 3), (other, 2)], DELTA)
    assert wanted < found <= 1.001 * wanted
    # Noise without a twin beside both is paid for from a part of delta.
    skellam = replace(total, noise=Skellam(variance=10_000))
    more = composed_epsilon([(total.event, 3), (other, 2), (skellam.event, 1)], DELTA)
    assert found < more <= found + 1.5 * skellam.epsilon(DELTA / 10, rounds=1)


def test_shares_take_no_more_noise_than_a_trusted_server() -> None:
    integers = Integers(l2_bound=1000.0, linf_bound=1000, length=100)
    total = noise_for(2.0, DELTA, rounds=5, honest=50, integers=integers)
    assert total.epsilon(DELTA, rounds=5) <= 2.0
    less = DiscreteGaussian(variance=total.noise.variance * 499 // 500)
    assert replace(total, noise=less).epsilon(DELTA, rounds=5) > 2.0
    server = sampled_gaussian(total.noise_multiplier, 1.0)
    assert composed_epsilon([(server, 5)], DELTA) == pytest.approx(2.0, rel=2e-3)
