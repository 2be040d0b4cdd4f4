"""One-shot estimate of epsilon from canary scores, by Gaussians fitted to them.

An ESTIMATE, never a bound: it has no confidence and refutes no claim. It is what
epsilon would be if the scores were all that is released and exactly normal; another
score, or the far tails, may tell more or less. It takes two spreads that differ at
their word, so that at a small delta a little more of one moves it a lot. For
information beside `one_run_audit`.

Source: Andrew, Kairouz, Oh, Oprea, McMahan and Suriyakumar, "One-shot empirical privacy
estimation for federated learning", ICLR 2024, arXiv:2302.03098: the
scores of canaries that took part against those of unobserved ones, and the epsilon that
tells the two fitted normal distributions apart.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special

from attacks.boundary import largest
from attacks.errors import ParameterError
from attacks.ranking import Floats

_FEWEST = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class OneShotEstimate:
    """What epsilon looks like; deliberately no `EpsilonBound`.

    Args:
        value: the estimate, >= 0.
        delta: at which.
        inside: canaries that took part.
        outside: canaries that did not.
    """

    value: float
    delta: float
    inside: int
    outside: int


def one_shot_estimate(
    scores: Floats, included: NDArray[np.bool_], *, delta: float
) -> OneShotEstimate:
    """Fit a normal distribution to each side's scores and return their epsilon.

    The same for whichever of the two is the true one: the larger is returned.

    Args:
        scores: (m,), of isotropic or other canaries, all made alike.
        included: (m,) bool, who took part.
        delta: in (0, 1).

    Raises:
        ParameterError: (caller) shapes or delta are off, fewer than ten canaries on a
            side, or scores without spread.
    """
    if scores.ndim != 1 or scores.shape != included.shape or included.dtype != np.bool_:
        raise ParameterError("scores and included must be vectors of equal length.")
    if not 0 < delta < 1:
        raise ParameterError(f"delta={delta} must lie between 0 and 1.")
    inside, outside = scores[included], scores[~included]
    if min(len(inside), len(outside)) < _FEWEST:
        raise ParameterError(
            f"{len(inside)} canaries in and {len(outside)} out are too few to fit; "
            f"use {_FEWEST} or more of each."
        )
    spreads = float(inside.std(ddof=1)), float(outside.std(ddof=1))
    if not (np.isfinite(scores).all() and min(spreads) > 0):
        raise ParameterError(
            "The scores must be finite and differ; without any noise there is nothing "
            "to estimate."
        )
    # In units of the outside scores: N(0, 1) against N(mean, spread^2).
    mean = (float(inside.mean()) - float(outside.mean())) / spreads[1]
    return OneShotEstimate(
        value=normal_epsilon(mean, spreads[0] / spreads[1], delta),
        delta=delta,
        inside=len(inside),
        outside=len(outside),
    )


def normal_epsilon(mean: float, spread: float, delta: float) -> float:
    """Return the epsilon that tells N(0, 1) and N(mean, spread^2) apart at `delta`.

    The least with P[S] <= e^epsilon Q[S] + delta for every S and both orders; at spread
    1 it is that of the Gaussian mechanism, `gaussian_epsilon(mean, delta)`.

    Args:
        mean: any.
        spread: > 0.
        delta: in (0, 1).
    """
    # The second pair, in units of its own denominator.
    pairs = ((mean, spread), (-mean / spread, 1 / spread))
    return largest(
        lambda epsilon: max(_apart(*pair, epsilon) for pair in pairs) > delta
    )


def _apart(mean: float, spread: float, epsilon: float) -> float:
    """Return max over S of P[S] - e^epsilon Q[S], P = N(mean, spread^2), Q = N(0, 1).

    S is where log p(x) - log q(x) = a x^2 + b x + c is above epsilon.
    """
    a = (1 - spread**-2) / 2
    b = mean / spread**2
    c = -math.log(spread) - mean**2 / (2 * spread**2) - epsilon
    if abs(a) < 1e-12:
        if b == 0:
            return 0.0
        cut = -c / b
        low, high = (cut, math.inf) if b > 0 else (-math.inf, cut)
        return _mass(low, high, mean, spread, epsilon)
    root = b * b - 4 * a * c
    if root <= 0:  # S is nowhere, or everywhere, where P - e^epsilon Q is not above 0
        return 0.0
    ends = sorted((-b + sign * math.sqrt(root)) / (2 * a) for sign in (-1, 1))
    if a < 0:
        return _mass(ends[0], ends[1], mean, spread, epsilon)
    left = _mass(-math.inf, ends[0], mean, spread, epsilon)
    return left + _mass(ends[1], math.inf, mean, spread, epsilon)


def _mass(low: float, high: float, mean: float, spread: float, epsilon: float) -> float:
    """Return P[S] - e^epsilon Q[S] of an interval S."""
    p = _between((low - mean) / spread, (high - mean) / spread)
    q = _between(low, high)
    return p - (math.exp(epsilon + math.log(q)) if q > 0 else 0.0)


def _between(low: float, high: float) -> float:
    """Return the standard normal's chance of an interval, exact in the far tails."""
    if low > 0:
        low, high = -high, -low
    return float(special.ndtr(high) - special.ndtr(low))
