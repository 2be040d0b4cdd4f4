"""How close audits of one run come to the epsilon that is true.

Canaries do not disturb one another (each has a coordinate of its own), so the score of
a canary is its coin under the noise of its coordinate. Two mechanisms of epsilon 4 at
delta 1e-5: one Gaussian release, as distributed differential privacy at client level
gives, and Gaussian noise on Poisson samples over many steps, as DP-SGD gives, of which
the auditor sees every step. How many canaries are guessed is decided by theory, or by
pilot draws of other seeds, before the draws that count.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from attacks import (
    ANY_MECHANISM,
    GAUSSIAN,
    EpsilonBound,
    Estimate,
    Guesses,
    coins,
    f_dp_bound,
    mean_interval,
    one_run_audit,
    one_run_bound,
)
from attacks.many_runs import bound_from_scores
from attacks.thresholds import Bonferroni
from attacks.tradeoff import Family
from benchmarks.known_epsilon import DELTA, ManySamples, Mechanism, OneRelease
from dp import epsilon, noise_multiplier_for, sampled_gaussian

EPSILON = 4.0
CANARIES = 100_000
SAMPLED_CANARIES = 20_000
SEEDS = 20
RATE, STEPS = 0.1, 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Tightness:
    """What one analysis proved over all seeds.

    Args:
        guesses: as planned, half "in" and half "out"; or all canaries.
        lower: mean of the bounds, with Student's interval over seeds.
        upper: the epsilon that is true.
        wrong: bounds above `upper`; each may be one with probability 5 %.
    """

    guesses: int
    lower: Estimate
    upper: float
    wrong: int


def measure(quick: bool) -> dict[str, float]:
    """Print the two tables and return their figures.

    Args:
        quick: 3 seeds and a tenth of the canaries; not for the record.
    """
    shrink, seeds = (10, range(3)) if quick else (1, range(SEEDS))
    once = OneRelease(EPSILON)
    print(f"bounds at 95 %, delta {DELTA:g}, {len(seeds)} seeds")
    print(f"one Gaussian release, mu {once.mu:.5f}, {CANARIES // shrink} canaries")
    figures: dict[str, float] = {}
    for name, family in (
        ("steinke", None),
        ("any_mechanism", ANY_MECHANISM),
        ("f_dp", GAUSSIAN),
    ):
        figures |= _report(name, audit(once, family, CANARIES // shrink, seeds))
    figures["epsilon_lower_over_upper"] = figures["f_dp_over_upper"]
    figures |= _report("if_independent", as_runs(once, CANARIES // shrink, seeds))
    noise = noise_multiplier_for(EPSILON, DELTA, sampling_rate=RATE, count=STEPS)
    many = ManySamples(
        noise, RATE, STEPS, epsilon(sampled_gaussian(noise, RATE), STEPS, DELTA)
    )
    canaries = SAMPLED_CANARIES // shrink
    print(
        f"{STEPS} releases on samples at {RATE}, noise multiplier {many.noise:.4f}, "
        f"{canaries} canaries"
    )
    for name, shape in (
        ("steinke", None),
        ("any_mechanism", ANY_MECHANISM),
        ("f_dp", many.family()),
    ):
        figures |= _report(f"sampled_{name}", audit(many, shape, canaries, seeds))
    return figures


def audit(
    mechanism: Mechanism, family: Family | None, canaries: int, seeds: Sequence[int]
) -> Tightness:
    """Audit a mechanism once for each seed.

    Args:
        mechanism: and its true epsilon.
        family: of claims, None for the analysis of Steinke et al.
        canaries: m.
        seeds: of coins and noise.
    """
    half = planned(mechanism, family, canaries)
    rule = (Guesses(inside=half, outside=half),)
    lower = []
    for seed in seeds:
        included = coins(canaries, seed=seed)
        scores = mechanism.scores(included, seed)
        lower.append(
            one_run_audit(
                scores, included, delta=DELTA, shares=rule, family=family
            ).value
        )
    return _over(lower, mechanism.epsilon, 2 * half)


def as_runs(mechanism: Mechanism, canaries: int, seeds: Sequence[int]) -> Tightness:
    """Audit as if every canary were a run of its own, for what one run costs.

    True of these mechanisms, but an audit of one run cannot know it: a claim of
    differential privacy does not say that canaries are treated independently.
    """
    lower = []
    for seed in seeds:
        included = coins(canaries, seed=seed)
        scores = mechanism.scores(included, seed)
        lower.append(
            bound_from_scores(
                scores[included],
                scores[~included],
                thresholds=Bonferroni(),
                delta=DELTA,
                family=GAUSSIAN,
            ).value
        )
    return _over(lower, mechanism.epsilon, canaries)


def planned(mechanism: Mechanism, family: Family | None, canaries: int) -> int:
    """Return how many to guess "in" (and "out"): best if the guesses go as expected."""

    def promised(half: int) -> float:
        right = math.floor(mechanism.right(half, canaries))
        return _bound(canaries, 2 * half, right, family).value

    halves = np.unique(np.geomspace(10, canaries / 2, 40).astype(int))
    return max((int(half) for half in halves), key=promised)


def _over(lower: Sequence[float], upper: float, guesses: int) -> Tightness:
    return Tightness(
        guesses=guesses,
        lower=mean_interval(lower, support=(0.0, upper)),
        upper=upper,
        wrong=sum(value > upper for value in lower),
    )


def _bound(m: int, r: int, v: int, family: Family | None) -> EpsilonBound:
    if family is None:
        return one_run_bound(m, r, v, delta=DELTA)
    return f_dp_bound(m, r, v, delta=DELTA, family=family)


def _report(name: str, found: Tightness) -> dict[str, float]:
    ratio = found.lower.value / found.upper
    print(
        f"  {name:22} {found.guesses:6} guesses  epsilon >= {found.lower.value:.3f} "
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
