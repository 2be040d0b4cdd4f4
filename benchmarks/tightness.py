"""How close audits of one run come to the epsilon that is true.

The Gaussian mechanism with epsilon 4 at delta 1e-5, and canaries that do not disturb
one another (each a coordinate of its own): the score of a canary is its coin plus the
noise of its coordinate, as distributed differential privacy at client level gives. How
many canaries to guess is decided from the theory alone, before any draw.

The second mechanism is Poisson-subsampled Gaussian noise over many steps; its scores
are log-likelihood ratios over all steps, its claim the composed subsampled curve.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, special

from attacks import (
    ANY_MECHANISM,
    GAUSSIAN,
    Estimate,
    Guesses,
    coins,
    f_dp_bound,
    gaussian_epsilon,
    mean_interval,
    one_run_audit,
    one_run_bound,
)
from attacks.tradeoff import Family

EPSILON = 4.0
DELTA = 1e-5
CANARIES = 100_000
SEEDS = 20

Floats = NDArray[np.float64]
Analysis = tuple[
    str, Family | None
]  # a name, and the family or None for Steinke et al.

ANALYSES: tuple[Analysis, ...] = (
    ("steinke", None),
    ("any_mechanism", ANY_MECHANISM),
    ("f_dp", GAUSSIAN),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tightness:
    """What one analysis proved over all seeds.

    Args:
        guesses: planned, of each kind half.
        lower: mean of the bounds, with Student's interval over seeds.
        upper: the epsilon that is true.
        wrong: bounds above `upper`; each may be one with probability 5 %.
    """

    guesses: int
    lower: Estimate
    upper: float
    wrong: int


def measure(quick: bool) -> dict[str, float]:
    """Print the table and return its figures.

    Args:
        quick: 3 seeds and 10 000 canaries; not for the record.
    """
    canaries, seeds = (10_000, 3) if quick else (CANARIES, SEEDS)
    mu = float(
        optimize.brentq(lambda mu: gaussian_epsilon(mu, DELTA) - EPSILON, 0.1, 5)
    )
    print(
        f"Gaussian mechanism, epsilon {EPSILON:g} at delta {DELTA:g} (mu {mu:.5f}), "
        f"{canaries} canaries, {seeds} seeds, bounds at 95 %"
    )
    figures: dict[str, float] = {}
    for name, family in ANALYSES:
        found = gaussian(mu, family, canaries=canaries, seeds=range(seeds))
        figures |= _report(name, found)
    figures["epsilon_lower_over_upper"] = figures["f_dp_over_upper"]
    return figures


def gaussian(
    mu: float, family: Family | None, *, canaries: int, seeds: Sequence[int]
) -> Tightness:
    """Audit the Gaussian mechanism once for each seed.

    Args:
        mu: sensitivity over standard deviation.
        family: of claims, None for the analysis of Steinke et al.
        canaries: m.
        seeds: of coins and noise.
    """
    upper = gaussian_epsilon(mu, DELTA)
    half = planned(mu, family, canaries)
    rule = (Guesses(inside=half, outside=half),)
    lower = []
    for seed in seeds:
        included = coins(canaries, seed=seed)
        noise = np.random.default_rng([seed, 1]).normal(size=canaries)
        found = one_run_audit(
            mu * included + noise, included, delta=DELTA, shares=rule, family=family
        )
        lower.append(found.value)
    return Tightness(
        guesses=2 * half,
        lower=mean_interval(lower),
        upper=upper,
        wrong=sum(value > upper for value in lower),
    )


@lru_cache
def planned(mu: float, family: Family | None, canaries: int) -> int:
    """Return how many to guess "in" (and "out"): best if the guesses go as expected."""

    def promised(half: int) -> float:
        right = math.floor(2 * half * precision(mu, half / canaries))
        if family is None:
            return one_run_bound(canaries, 2 * half, right, delta=DELTA).value
        return f_dp_bound(canaries, 2 * half, right, delta=DELTA, family=family).value

    halves = np.unique(np.geomspace(10, canaries / 2, 40).astype(int))
    return max((int(half) for half in halves), key=promised)


def precision(mu: float, share: float) -> float:
    """Return how often a score among the top `share` is of a canary that is in."""

    def above(threshold: float) -> float:
        return float(special.ndtr(-threshold) + special.ndtr(mu - threshold)) / 2

    threshold = float(optimize.brentq(lambda t: above(t) - share, -40, 40 + mu))
    return float(special.ndtr(mu - threshold)) / (2 * above(threshold))


def _mu_of(epsilon: float) -> float:
    gap = lambda mu: gaussian_epsilon(mu, DELTA) - epsilon  # noqa: E731
    return float(optimize.brentq(gap, 0.1, 5))


def _report(name: str, found: Tightness) -> dict[str, float]:
    ratio = found.lower.value / found.upper
    print(
        f"  {name:14} {found.guesses:6} guesses  epsilon >= {found.lower.value:.3f} "
        f"[{found.lower.low:.3f}, {found.lower.high:.3f}] of {found.upper:.3f}: "
        f"{ratio:.3f}  (above the truth: {found.wrong} of {found.lower.n})"
    )
    return {
        f"{name}_over_upper": ratio,
        f"{name}_over_upper_low": found.lower.low / found.upper,
        f"{name}_over_upper_high": found.lower.high / found.upper,
        f"{name}_guesses": float(found.guesses),
        f"{name}_wrong": float(found.wrong),
    }
