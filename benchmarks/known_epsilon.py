"""Mechanisms of known epsilon, as an auditor with one canary a coordinate sees them.

What a canary leaves in its own coordinate, scored by the likelihood of "in".
"""

from __future__ import annotations

from functools import cache
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, special

from attacks import PrivacyProfile, SampledFamily, coins, gaussian_epsilon
from dp import sampled_gaussian
from dp.profile import profile

DELTA = 1e-5

Floats = NDArray[np.float64]


class Mechanism(Protocol):
    """Something with a known epsilon that can be audited again and again."""

    epsilon: float

    def scores(self, included: NDArray[np.bool_], seed: int) -> Floats:
        """Run once and score every canary, higher for "in", (canaries,)."""

    def right(self, half: int, canaries: int) -> float:
        """Expect so many right guesses of the `half` highest and lowest scores."""


class OneRelease:
    """The Gaussian mechanism, sensitivity over standard deviation `mu`."""

    def __init__(self, epsilon: float) -> None:
        def excess(mu: float) -> float:
            return gaussian_epsilon(mu, DELTA) - epsilon

        self.epsilon = epsilon
        self.mu = float(optimize.brentq(excess, 0.1, 5))

    def scores(self, included: NDArray[np.bool_], seed: int) -> Floats:
        """Return coin plus noise, in units of the noise."""
        noise = np.random.default_rng([seed, 1]).normal(size=len(included))
        return np.asarray(self.mu * included + noise)

    def right(self, half: int, canaries: int) -> float:
        """Return what the two normal distributions say."""

        def above(threshold: float) -> float:
            out, inside = special.ndtr([-threshold, self.mu - threshold])
            return float(out + inside) / 2

        threshold = optimize.brentq(lambda t: above(t) - half / canaries, -40, 40)
        inside = float(special.ndtr(self.mu - threshold)) / 2
        return 2 * half * inside / above(threshold)


class ManySamples:
    """Gaussian noise on Poisson samples, composed; every step is seen."""

    def __init__(self, noise: float, rate: float, steps: int, epsilon: float) -> None:
        self.noise, self.rate, self.steps = noise, rate, steps
        self.epsilon = epsilon

    def scores(self, included: NDArray[np.bool_], seed: int) -> Floats:
        """Return the log-likelihood ratio of "in" over all steps."""
        rng = np.random.default_rng([seed, 2])
        total = np.zeros(len(included))
        for _ in range(self.steps):
            seen = self.noise * rng.normal(size=len(included))
            seen += included & (rng.random(len(included)) < self.rate)
            ratio = np.exp((2 * seen - 1) / (2 * self.noise**2))
            total += np.log1p(self.rate * (ratio - 1))
        return total

    def right(self, half: int, canaries: int) -> float:
        """Count them in three pilot runs, whose seeds audit nothing."""
        return float(self._pilot(canaries)[half])

    @cache  # noqa: B019  # lives as long as the benchmark
    def _pilot(self, canaries: int) -> Floats:
        counts = []
        for seed in (-1, -2, -3):
            included = coins(canaries, seed=1000 - seed)
            ranked = included[np.argsort(-self.scores(included, 1000 - seed))]
            right = ranked.cumsum() + (~ranked[::-1]).cumsum()
            counts.append(np.concatenate([[0], right]))
        return np.asarray(np.mean(counts, axis=0))

    def family(self) -> SampledFamily:
        """Return the claims of less and more noise than there is."""
        epsilons = np.linspace(0, 12, 97)
        members = []
        for factor in np.geomspace(1.9, 0.92, 16):
            step = sampled_gaussian(self.noise * float(factor), self.rate)
            deltas = profile([(step, self.steps)], epsilons)
            members.append(PrivacyProfile(epsilons=epsilons, deltas=deltas))
        kind = f"{self.steps} Gaussian releases on Poisson samples at {self.rate}"
        return SampledFamily(profiles=tuple(members), kind=kind)
