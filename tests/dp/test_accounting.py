"""Epsilon: published-style reference values, a closed form, and monotonicity."""

from __future__ import annotations

import math
import time

import pytest
from dp_accounting import (
    ComposedDpEvent,
    DpEvent,
    GaussianDpEvent,
    NonPrivateDpEvent,
    NoOpDpEvent,
    SampledWithoutReplacementDpEvent,
    SelfComposedDpEvent,
)

from dp import (
    ACCOUNTANT,
    ParameterError,
    composed_epsilon,
    epsilon,
    noise_multiplier_for,
    sampled_gaussian,
)
from dp.accounting import COARSE, FINE, _epsilon, describe, fits, multiset
from dp.calibrate import _round_up

# sigma, q, T, delta; RDP and PLD as computed with dp-accounting 0.6.0; the PRV
# accountant of Opacus 1.6.0 gives the PLD values + 0.010, its own error bound.
ROWS = {
    "A": (1, 1, 1, 1e-5, 4.72851, 4.37718),
    "B": (4, 1, 1, 1e-5, 1.01255, 0.92634),
    "C": (10, 1, 100, 1e-5, 4.72851, 4.37718),
    "D": (1, 0.01, 1000, 1e-5, 2.10137, 1.82824),
    "E": (1.1, 256 / 60_000, 14_100, 1e-5, 2.60034, 2.38521),
    "F": (1.3, 250 / 60_000, 3600, 1e-5, 0.94220, 0.85303),
    "G": (0.7, 250 / 60_000, 10_800, 1e-5, 6.23425, 5.56218),
    "H": (0.5, 0.01, 200, 1e-5, 9.37425, 7.72541),
    "I": (4, 4096 / 50_000, 1221, 1e-5, 3.33567, 3.07288),
    "J": (2, 0.1, 500, 1e-4, 5.32197, 4.82128),
    "K": (3, 0.5, 100, 1e-5, 9.15297, 8.38748),
    "L": (0.8, 1e-3, 10_000, 1e-6, 1.70363, 0.94732),
    "M": (10, 0.02, 5000, 1e-6, 0.62540, 0.57839),
}


def phi(value: float) -> float:
    # Not NormalDist.cdf, which is 0 far to the left, where exp(eps) makes it count.
    return math.erfc(-value / math.sqrt(2)) / 2


def gaussian_delta(mu: float, eps: float) -> float:
    """The oracle: Balle and Wang, arXiv:1805.06530, Theorem 8."""
    return phi(mu / 2 - eps / mu) - math.exp(eps) * phi(-mu / 2 - eps / mu)


def gaussian_epsilon(mu: float, delta: float) -> float:
    low, high = 0.0, 600.0
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (
            (middle, high) if gaussian_delta(mu, middle) > delta else (low, middle)
        )
    return high


@pytest.mark.parametrize("row", ROWS)
def test_reference_values_to_the_printed_digits(row: str) -> None:
    sigma, rate, count, delta, rdp, pld = ROWS[row]
    event = sampled_gaussian(sigma, rate)
    got_pld = epsilon(event, count, delta)
    got_rdp = epsilon(event, count, delta, accountant="rdp")
    assert got_pld == pytest.approx(pld, abs=6e-6)
    assert got_rdp == pytest.approx(rdp, abs=6e-6)
    assert got_pld <= got_rdp


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Optimal order", "ignore:divide by zero")
@pytest.mark.parametrize("row", ROWS)
def test_an_accountant_of_other_hands_agrees_within_its_own_error(row: str) -> None:
    from opacus.accountants import PRVAccountant

    sigma, rate, count, delta, _, pld = ROWS[row]
    theirs = PRVAccountant()
    theirs.history = [(sigma, rate, count)]
    assert pld - 1e-4 <= theirs.get_epsilon(delta, eps_error=0.01) <= pld + 0.02


@pytest.mark.parametrize(("sigma", "count"), [(0.8, 1), (1, 1), (4, 1), (5, 30)])
@pytest.mark.parametrize("delta", [1e-3, 1e-6])
def test_without_sampling_it_is_the_closed_form_from_above(
    sigma: float, count: int, delta: float
) -> None:
    exact = gaussian_epsilon(math.sqrt(count) / sigma, delta)
    got = epsilon(sampled_gaussian(sigma, 1), count, delta)
    assert exact - 1e-9 <= got <= exact + 1e-4


def test_epsilon_grows_with_count_and_rate_and_falls_with_noise() -> None:
    def at(sigma: float, rate: float, count: int) -> float:
        return epsilon(sampled_gaussian(sigma, rate), count, 1e-5)

    assert at(2, 0.1, 10) < at(2, 0.1, 11) < at(2, 0.1, 40)
    assert at(2, 0.1, 10) < at(2, 0.11, 10) < at(2, 0.9, 10) < at(2, 1, 10)
    assert at(2, 0.1, 10) > at(2.1, 0.1, 10) > at(4, 0.1, 10)


def test_composition_depends_on_the_multiset_only() -> None:
    one, two = sampled_gaussian(2, 0.1), sampled_gaussian(3, 1)
    together = composed_epsilon([(one, 5), (two, 2)], 1e-5)
    hits = _epsilon.cache_info().hits
    nested = ComposedDpEvent([two, SelfComposedDpEvent(one, 5), NoOpDpEvent()])
    assert composed_epsilon([(nested, 1), (two, 1)], 1e-5) == together
    assert _epsilon.cache_info().hits == hits + 1
    assert together > max(epsilon(one, 5, 1e-5), epsilon(two, 2, 1e-5))
    assert composed_epsilon([(GaussianDpEvent(6), 4)], 1e-5) == pytest.approx(
        epsilon(two, 1, 1e-5), abs=1e-6
    )


def test_nothing_released_costs_nothing_and_everything_is_unbounded() -> None:
    assert composed_epsilon([], 1e-5) == 0.0
    assert epsilon(NonPrivateDpEvent(), 1, 1e-5) == math.inf


def test_coarse_cells_are_an_upper_bound() -> None:
    for sigma, rate, count, delta, *_ in ROWS.values():
        releases = multiset([(sampled_gaussian(sigma, rate), count)])
        coarse = _epsilon(releases, delta, "pld", COARSE)
        fine = _epsilon(releases, delta, "pld", FINE)
        assert fine <= coarse + 1e-9
        assert fits(releases, fine, delta)
        assert not fits(releases, fine * (1 - 1e-6), delta)


def test_little_noise_is_bounded_in_reasonable_time() -> None:
    start = time.perf_counter()
    got = epsilon(sampled_gaussian(0.05, 1), 1, 1e-5)
    exact = gaussian_epsilon(20.0, 1e-5)
    assert exact <= got <= exact * 1.001
    assert time.perf_counter() - start < 10


@pytest.mark.parametrize(
    ("target", "rate", "count", "sigma"),
    [(8, 0.01, 1000, 0.5863), (1, 0.01, 1000, 1.4158), (3, 256 / 6e4, 14_100, 0.9704)],
)
def test_calibration_gives_the_reference_noise(
    target: float, rate: float, count: int, sigma: float
) -> None:
    got = noise_multiplier_for(target, 1e-5, rate, count)
    assert got == pytest.approx(sigma, rel=1.2e-3)


@pytest.mark.parametrize(
    ("target", "delta", "rate", "count"),
    [
        (1, 1e-5, 0.2, 30),
        pytest.param(8, 1e-5, 0.5, 200, marks=pytest.mark.slow),
        pytest.param(8, 1e-5, 1, 200, marks=pytest.mark.slow),
        (0.1, 1e-5, 0.1, 200),
        (4, 1e-6, 1, 1),
        (10, 1e-3, 0.05, 7),
    ],
)
def test_calibrated_noise_keeps_the_budget_and_less_does_not(
    target: float, delta: float, rate: float, count: int
) -> None:
    sigma = noise_multiplier_for(target, delta, rate, count)
    assert sigma == _round_up(sigma)
    assert epsilon(sampled_gaussian(sigma, rate), count, delta) <= target
    for less in (0.99, 1 / 1.00101):
        assert epsilon(sampled_gaussian(sigma * less, rate), count, delta) > target


def test_noise_without_sampling_is_that_of_the_closed_form() -> None:
    sigma = noise_multiplier_for(2.0, 1e-5, 1, 9)
    assert gaussian_delta(3 / sigma, 2.0) <= 1e-5
    assert gaussian_delta(3 / (sigma / 1.002), 2.0) > 1e-5


def test_rounding_goes_up() -> None:
    assert _round_up(1.23451) == 1.2346
    assert _round_up(12345.1) == 12346
    assert _round_up(0.5) == 0.5


def test_the_accountant_names_its_version() -> None:
    assert ACCOUNTANT.startswith("PLD (dp-accounting 0.")


def test_events_are_described_in_words() -> None:
    assert describe(sampled_gaussian(1.5, 0.25)) == (
        "Gaussian noise, multiplier 1.5, on a Poisson sample at rate 0.25"
    )


@pytest.mark.parametrize(
    ("sigma", "rate"),
    [(0, 1), (-1, 1), (math.nan, 1), (math.inf, 1), (1, 0), (1, 1.1), (1, math.nan)],
)
def test_bad_mechanisms_are_refused(sigma: float, rate: float) -> None:
    with pytest.raises(ParameterError):
        sampled_gaussian(sigma, rate)


@pytest.mark.parametrize(
    ("event", "count", "delta"),
    [
        (GaussianDpEvent(1), 0, 1e-5),
        (GaussianDpEvent(1), 1, 0.0),
        (GaussianDpEvent(1), 1, 1.0),
        (SampledWithoutReplacementDpEvent(9, 3, GaussianDpEvent(1)), 1, 1e-5),
    ],
)
def test_what_cannot_be_bounded_is_refused(
    event: DpEvent, count: int, delta: float
) -> None:
    with pytest.raises(ParameterError):
        epsilon(event, count, delta)


@pytest.mark.parametrize("target", [66.0, 400.0])
def test_a_large_budget_of_one_release_has_its_little_noise(target: float) -> None:
    sigma = noise_multiplier_for(target, 1e-5, 1, 1)
    spent = epsilon(sampled_gaussian(sigma, 1), 1, 1e-5)
    assert 0.99 * target < spent <= target


def test_budgets_out_of_reach_are_refused() -> None:
    with pytest.raises(ParameterError, match="positive"):
        noise_multiplier_for(0.0, 1e-5, 1, 1)
    with pytest.raises(ParameterError, match="almost no noise"):
        noise_multiplier_for(1e6, 1e-5, 0.1, 1)
    with pytest.raises(ParameterError, match="beyond"):
        noise_multiplier_for(1e-6, 1e-5, 1, 100)
