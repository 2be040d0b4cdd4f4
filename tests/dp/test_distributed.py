"""Noise in shares: accounting against brute force, the least variance, no wrap."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TypeAlias

import numpy as np
import pytest
from dp_accounting.pld import privacy_loss_distribution as pld
from dp_accounting.rdp import compute_epsilon
from numpy.typing import NDArray
from scipy import special

from dp import ParameterError
from dp.accounting import epsilon as central_epsilon
from dp.accounting import sampled_gaussian
from dp.discrete import DiscreteGaussian, Skellam
from dp.distributed import ORDERS, DistributedSum, tau
from dp.integers import ROUNDING_CHANCE, Integers, rounded
from dp.sizing import noise_for

DELTA = 1e-5
Kind: TypeAlias = type[DiscreteGaussian] | type[Skellam]
KINDS: tuple[Kind, ...] = (DiscreteGaussian, Skellam)
Masses: TypeAlias = NDArray[np.float64]


def _share(kind: Kind, variance: int) -> Masses:
    """Return the chances of one client's noise, far beyond where they matter."""
    reach = 40 + math.ceil(20 * math.sqrt(variance))
    x = np.arange(-reach, reach + 1)
    if kind is DiscreteGaussian:
        mass = np.exp(-(x**2) / (2.0 * variance))
    else:
        mass = special.ive(np.abs(x).astype(float), float(variance))
    return np.asarray(mass / mass.sum())


def _sum(kind: Kind, variance: int, honest: int) -> Masses:
    """Return the chances of the sum of all shares, by adding one after the other."""
    share = _share(kind, variance)
    total = share
    for _ in range(honest - 1):
        total = np.convolve(total, share)
    return total


def _neighbours(noise: Masses, shift: int, rate: float) -> tuple[Masses, Masses]:
    """Return the sum with a client whose update is `shift`, and with it zeroed."""
    without = np.concatenate([noise, np.zeros(shift)])
    moved = np.concatenate([np.zeros(shift), noise])
    return rate * moved + (1 - rate) * without, without


def _oracle(one: Masses, two: Masses, rounds: int) -> float:
    """Return a lower bound on the larger epsilon of both directions, numerically."""

    def logs(mass: Masses) -> dict[int, float]:
        return {i: math.log(p) for i, p in enumerate(mass) if p > 1e-290}

    found = 0.0
    for lower, upper in ((one, two), (two, one)):
        loss = pld.from_two_probability_mass_functions(
            logs(lower),
            logs(upper),
            pessimistic_estimate=False,
            value_discretization_interval=1e-3,
            log_mass_truncation_bound=-60,
        )
        composed = loss.self_compose(rounds) if rounds > 1 else loss
        found = max(found, composed.get_epsilon_for_delta(DELTA))
    return found


def _renyi(one: Masses, two: Masses, order: int) -> float:
    both = (one > 1e-290) & (two > 1e-290)
    logs = order * np.log(one[both]) - (order - 1) * np.log(two[both])
    return float(special.logsumexp(logs)) / (order - 1)


def _scalar(
    kind: Kind, variance: int, honest: int, shift: int, rate: float
) -> DistributedSum:
    return DistributedSum(
        noise=kind(variance=variance),
        honest=honest,
        integers=Integers(l2_bound=shift, linf_bound=shift, length=1),
        sampling_rate=rate,
    )


CASES = [(1, 1, 1), (1, 6, 2), (4, 3, 1), (4, 3, 7), (50, 10, 30), (300, 1, 12)]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("variance", "honest", "shift"), CASES)
@pytest.mark.parametrize(("rate", "rounds"), [(1.0, 1), (1.0, 6), (0.2, 1), (0.2, 12)])
def test_epsilon_is_never_below_brute_force_and_not_far_above(
    kind: Kind, variance: int, honest: int, shift: int, rate: float, rounds: int
) -> None:
    claimed = _scalar(kind, variance, honest, shift, rate)
    true = _oracle(*_neighbours(_sum(kind, variance, honest), shift, rate), rounds)
    ours = claimed.epsilon(DELTA, rounds=rounds)
    assert ours >= true
    small = shift > 2 * math.sqrt(honest * variance)  # hardly any noise
    if kind is DiscreteGaussian and variance > 1 and not small:
        assert ours < 1.35 * true + 0.05


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("variance", "honest", "shift"), CASES)
@pytest.mark.parametrize("rate", [1.0, 0.1, 0.6])
def test_divergence_is_never_below_brute_force_in_either_direction(
    kind: Kind, variance: int, honest: int, shift: int, rate: float
) -> None:
    one, two = _neighbours(_sum(kind, variance, honest), shift, rate)
    bound = _scalar(kind, variance, honest, shift, rate).rdp()
    for order, claimed in zip(ORDERS[:8], bound, strict=False):
        assert _renyi(one, two, order) <= claimed * (1 + 1e-9) + 1e-9
        assert _renyi(two, one, order) <= claimed * (1 + 1e-9) + 1e-9


@pytest.mark.parametrize("kind", KINDS)
def test_half_the_noise_would_be_found_out_by_brute_force(kind: Kind) -> None:
    claimed = _scalar(kind, 50, 10, 30, 1.0).epsilon(DELTA, rounds=1)
    for noise in (_sum(kind, 25, 10), _sum(kind, 50, 5)):  # half in each, half of them
        assert _oracle(*_neighbours(noise, 30, 1.0), 1) > claimed


@pytest.mark.parametrize("variance", [1, 2])
@pytest.mark.parametrize("honest", [2, 3, 9])
def test_tau_bounds_how_far_a_sum_is_from_a_discrete_gaussian(
    variance: int, honest: int
) -> None:
    total = _sum(DiscreteGaussian, variance, honest)
    x = np.arange(len(total)) - len(total) // 2
    single = np.exp(-(x**2) / (2.0 * variance * honest))
    near = np.abs(x) <= 8 * math.sqrt(variance * honest)  # floats end beyond
    gap = np.abs(np.log(total[near]) - np.log(single[near] / single.sum())).max()
    # Half of tau bounds one logarithm, tau a ratio of two.
    assert gap <= tau(honest, variance) / 2 + 1e-12
    if variance == 1:
        assert gap > tau(honest, variance) / 2000  # it is the gap that is bounded


def test_tau_of_many_clients_is_bounded_term_by_term() -> None:
    terms = [math.exp(-2 * math.pi**2 * k / (k + 1)) for k in range(1, 500)]
    assert 10 * sum(terms) <= tau(500, 1) <= 10.5 * sum(terms)
    assert tau(1, 1) == 0


@pytest.mark.parametrize(
    ("scale_bits", "wanted"), [(8, 5.39245), (12, 4.75580), (16, 4.75278)]
)
def test_skellam_matches_known_values(scale_bits: int, wanted: float) -> None:
    # n = 100, d = 2^16, clip 1, total deviation 1, rounded with beta = exp(-1/2).
    scale, length = 2**scale_bits, 2**16
    l2 = math.sqrt(scale**2 + length / 4 + scale + math.sqrt(length) / 2)
    total = DistributedSum(
        noise=Skellam(variance=round(scale**2 / 100)),
        honest=100,
        integers=Integers(l2_bound=l2, linf_bound=scale, length=length),
    )
    assert total.epsilon(DELTA, rounds=1) == pytest.approx(wanted, rel=2e-3)


def test_skellam_divergence_is_the_formula_of_the_paper() -> None:
    # Order 2, l2 = 3, l1 = 9: 18 / (2 m) + min((27 + 54) / (4 m^2), 27 / (2 m)).
    for variance, wanted in ((4, 2.25 + 81 / 64), (1, 9 + 13.5)):
        total = DistributedSum(
            noise=Skellam(variance=variance),
            honest=1,
            integers=Integers(l2_bound=3.0, linf_bound=3, length=100),
        )
        assert total.rdp()[0] == pytest.approx(wanted, rel=1e-12)


@pytest.mark.parametrize("rate", [1.0, 0.05])
def test_a_fine_grid_costs_what_central_noise_costs(rate: float) -> None:
    integers = rounded(norm=2.0**20, linf_bound=2**20, length=10_000)
    total = noise_for(
        2.0, DELTA, rounds=40, honest=50, integers=integers, sampling_rate=rate
    )
    event = sampled_gaussian(total.noise_multiplier, rate)
    renyi = central_epsilon(event, 40, DELTA, accountant="rdp")
    ours = total.renyi_epsilon(DELTA, rounds=40)
    assert ours == pytest.approx(renyi, rel=1e-2)  # it has orders between ours
    central = central_epsilon(event, 40, DELTA)
    assert central <= total.epsilon(DELTA, rounds=40) <= 2.0 < 1.002 * central


def test_conversion_equals_that_of_dp_accounting() -> None:
    total = _scalar(DiscreteGaussian, 300, 4, 12, 1.0)
    expected, _ = compute_epsilon(ORDERS, list(3 * total.rdp()), DELTA * (1 - 2.0**-10))
    assert total.renyi_epsilon(DELTA, rounds=3) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_the_variance_found_is_the_least(kind: Kind) -> None:
    integers = rounded(norm=511.5, linf_bound=511, length=1000)
    total = noise_for(
        3.0, DELTA, rounds=20, honest=30, integers=integers, mechanism=kind
    )
    assert total.epsilon(DELTA, rounds=20) <= 3.0
    # By loss distributions to 0.1 % in deviation, by Renyi divergence to the last one.
    part = 0.998 if kind is DiscreteGaussian else 1 - 1e-15
    less = replace(total, noise=kind(variance=int(part * total.noise.variance)))
    assert less.noise.variance < total.noise.variance
    assert less.epsilon(DELTA, rounds=20) > 3.0
    assert replace(total, honest=29).epsilon(DELTA, rounds=20) > 3.0
    half = noise_for(
        3.0, DELTA, rounds=20, honest=15, integers=integers, mechanism=kind
    )
    assert half.noise.variance == pytest.approx(2 * total.noise.variance, rel=1e-3)


@pytest.mark.parametrize("length", [1, 50, 5000])
@pytest.mark.parametrize("norm", [0.5, 30.0, 4000.0])
def test_rounded_vectors_are_no_longer_than_said(length: int, norm: float) -> None:
    claimed = rounded(norm=norm, linf_bound=4001, length=length)
    assert claimed.l2_bound <= norm + math.sqrt(length)
    assert claimed.chance in (0.0, ROUNDING_CHANCE)
    rng = np.random.default_rng(7)
    for spread in (np.ones(length), rng.normal(size=length)):
        exact = spread * norm / np.linalg.norm(spread)
        for _ in range(50):
            q = np.floor(exact + rng.random(length))
            assert np.linalg.norm(q) <= claimed.l2_bound
            assert np.abs(q).sum() <= claimed.l1_bound * (1 + 1e-12)


def test_the_rounding_bound_is_that_of_the_paper_and_is_paid_for() -> None:
    # Kairouz et al., Theorem 1: c^2 + d / 4 + sqrt(2 ln(1 / b)) (c + sqrt(d) / 2).
    claimed = rounded(norm=1000.0, linf_bound=1000, length=10**6)
    square = 1e6 + 1e6 / 4 + math.sqrt(200 * math.log(2)) * (1000 + 500)
    assert claimed.l2_bound == pytest.approx(math.sqrt(square), rel=1e-5)
    assert claimed.l2_bound < 0.6 * (1000 + 1000)


def test_cut_tails_and_long_roundings_are_paid_from_delta() -> None:
    integers = Integers(l2_bound=1000.0, linf_bound=1000, length=10**6)
    total = DistributedSum(
        noise=DiscreteGaussian(variance=10**6), honest=5, integers=integers
    )
    assert total.epsilon(1e-15, rounds=1) < 10
    assert math.isinf(total.epsilon(1e-22, rounds=1))  # below the cut of 5e6 draws
    often = replace(total, integers=replace(integers, chance=1e-7))
    assert math.isinf(often.epsilon(DELTA, rounds=1))
    seldom = replace(total, integers=replace(integers, chance=1e-10))
    assert seldom.epsilon(DELTA, rounds=1) == total.epsilon(DELTA, rounds=1)
    assert math.isinf(seldom.epsilon(DELTA, rounds=10_000))


@pytest.mark.parametrize("kind", KINDS)
def test_no_sum_of_noisy_integers_wraps(kind: Kind) -> None:
    total = _scalar(kind, 300, 4, 12, 1.0)
    for clients in (1, 2, 3, 100):
        bits = total.ring_bits(clients)
        largest = clients * (12 + total.noise.bound)
        assert largest <= 2 ** (bits - 1) - 1
        assert largest > 2 ** (bits - 2) - 1  # and no bit is spare


def test_misuse_is_refused() -> None:
    good = Integers(l2_bound=10.0, linf_bound=10, length=5)
    for bad in ({"l2_bound": 0.0}, {"l2_bound": math.nan}, {"linf_bound": 0}):
        with pytest.raises(ParameterError, match="positive"):
            replace(good, **bad)
    with pytest.raises(ParameterError, match="chance"):
        replace(good, chance=1.0)
    with pytest.raises(ParameterError, match="honest"):
        DistributedSum(noise=Skellam(variance=1), honest=0, integers=good)
    with pytest.raises(ParameterError, match="sampling_rate"):
        noise_for(1.0, DELTA, rounds=1, honest=1, integers=good, sampling_rate=0.0)
    with pytest.raises(ParameterError, match="epsilon"):
        noise_for(0.0, DELTA, rounds=1, honest=1, integers=good)
    with pytest.raises(ParameterError, match="variance above"):
        big = replace(good, l2_bound=2.0**40)
        noise_for(0.1, DELTA, rounds=1, honest=1, integers=big)
    total = DistributedSum(noise=Skellam(variance=1), honest=1, integers=good)
    for delta, rounds in ((0.0, 1), (1.0, 1), (DELTA, 0)):
        with pytest.raises(ParameterError, match="delta"):
            total.epsilon(delta, rounds=rounds)
