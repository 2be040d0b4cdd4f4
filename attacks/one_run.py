"""Bounds from guessing the coins of many canaries in one single run.

Each of m canaries was included by its own fair coin; r of the coins were guessed, r
fixed in advance, v of them right. Two analyses bound how likely so many right guesses
are: `one_run_bound` for (epsilon, delta)-DP (Steinke et al.), and `f_dp_bound`, which
asks what a whole trade-off curve allows (Mahloujifar et al.). Without a shape
(`ANY_MECHANISM`) the second needs no assumption either and is the higher one where few
of the canaries are guessed; choose by the plan of the audit, not by the result.
"""

import math
from functools import lru_cache

import numpy as np
from scipy import special

from attacks.boundary import largest
from attacks.bounds import DEFAULT_CONFIDENCE, check_confidence
from attacks.epsilon import EpsilonBound, check_delta
from attacks.errors import ParameterError
from attacks.tradeoff import GAUSSIAN, Curve, Family

_ROUNDING = 1e-9  # of all probability: far above float64's error over any run


def one_run_bound(
    canaries: int,
    guesses: int,
    right: int,
    *,
    delta: float,
    confidence: float = DEFAULT_CONFIDENCE,
) -> EpsilonBound:
    """Bound epsilon by `right` of `guesses` bits guessed in a single run.

    Guarantee: if each of the canaries was included by an independent fair coin and the
    rule of guessing never saw the coins, the value exceeds the epsilon of an
    (epsilon, delta)-DP mechanism with probability at most 1 - confidence. Unit and
    neighbouring relation are those of adding or removing one canary.

    Source: Steinke, Nasr and Jagielski, "Privacy auditing with one (1) training run",
    NeurIPS 2023, Theorem 5.2.

    Args:
        canaries: m, all coins tossed, guessed or not.
        guesses: r, fixed in advance.
        right: v.
        delta: of the claim.
        confidence: one-sided.

    Raises:
        ParameterError: not 0 <= right <= guesses <= canaries with a guess, or a delta
            or confidence that is no probability.
    """
    check_confidence(confidence)
    check_delta(delta)
    _check_counts(canaries, guesses, right)
    return EpsilonBound(
        value=_one_run(canaries, guesses, right, delta, confidence),
        ceiling=_one_run(canaries, guesses, guesses, delta, confidence),
        confidence=confidence,
        canaries=canaries,
        guesses=guesses,
        right=right,
        method="one run, any (epsilon, delta)-DP mechanism (Steinke et al. 2023)",
    )


def f_dp_bound(
    canaries: int,
    guesses: int,
    right: int,
    *,
    delta: float,
    confidence: float = DEFAULT_CONFIDENCE,
    family: Family = GAUSSIAN,
) -> EpsilonBound:
    """Bound epsilon by the weakest claim of a family that the guesses refute.

    Guarantee: that of `consistent` for every claim of the family. So the mechanism is
    not covered by the claim with this epsilon, except with probability 1 - confidence.
    That its own epsilon is larger follows only if it is of the family's kind; with
    `ANY_MECHANISM` it always is.

    Source: Mahloujifar, Melis and Chaudhuri, "Auditing f-differential privacy in one
    run", 2024, Algorithm 3.

    Args:
        canaries: m, all coins tossed, guessed or not.
        guesses: r, fixed in advance: no threshold on the scores may decide it.
        right: v.
        delta: at which epsilon is stated.
        confidence: one-sided.
        family: of claims; the default assumes Gaussian noise, and `method` says so.

    Raises:
        ParameterError: as `one_run_bound`, or delta = 0 with a Gaussian family.
    """
    check_confidence(confidence)
    check_delta(delta)
    _check_counts(canaries, guesses, right)
    return EpsilonBound(
        value=_f_dp(family, canaries, guesses, right, delta, confidence),
        ceiling=_f_dp(family, canaries, guesses, guesses, delta, confidence),
        confidence=confidence,
        canaries=canaries,
        guesses=guesses,
        right=right,
        method=f"one run, {family.assumes} (Mahloujifar et al. 2024)",
    )


def consistent(
    curve: Curve,
    canaries: int,
    guesses: int,
    right: int,
    *,
    confidence: float = DEFAULT_CONFIDENCE,
) -> bool:
    """Say whether a claim allows `right` right guesses with probability 1 - confidence.

    Guarantee: false with probability at most 1 - confidence if the mechanism obeys the
    claim, the coins are fair and independent, and the number of guesses was fixed in
    advance. Takes at most `right` steps, usually a few standard deviations.

    Why: let p_i be the probability of i right guesses. Turning the coin of one guessed
    canary round makes a right guess wrong, so with averages over coins and canaries
    (the curve is convex), for every i,

        h_i >= curve(r_(i+1)),  r_i = sum_(j>=i) j p_j / m,  h_i = sum_(j>=i) (r-j) p_j
        / m.

    Putting P[N >= v] = 1 - confidence all on v, and below it no more on each number
    than these force, needs the least probability in all; more than 1 refutes the claim.

    Source: Mahloujifar et al. 2024, Algorithm 3; the argument above is whole.

    Args:
        curve: see `attacks.tradeoff`; may err low.
        canaries: m.
        guesses: r, fixed in advance.
        right: v.
        confidence: one-sided.

    Raises:
        ParameterError: impossible counts or a bad confidence.
    """
    check_confidence(confidence)
    _check_counts(canaries, guesses, right)
    return _feasible(curve, canaries, guesses, right, 1 - confidence)


def p_value(curve: Curve, canaries: int, guesses: int, right: int) -> float:
    """Return the largest probability that a claim allows to so many right guesses.

    Guarantee: under the claim at most x with probability at most x (see `consistent`).
    Rounded up, by at most a ten-millionth of itself.
    """
    _check_counts(canaries, guesses, right)
    low, high = 0.0, 1.0
    while high - low > max(1e-7 * high, 1e-300):
        # By ratios while both ends are small: p-values span many powers of ten.
        middle = math.sqrt(low * high) if low > 0 else min(high / 2, high * high)
        if _feasible(curve, canaries, guesses, right, middle):
            low = middle
        else:
            high = middle
    return high


def _feasible(curve: Curve, m: int, r: int, v: int, tail: float) -> bool:
    hit = tail * v / m  # r_i of `consistent`
    miss = tail * (r - v) / m  # h_i
    for i in range(v - 1, -1, -1):
        need = curve(hit)
        if need <= miss:
            return True  # nothing is forced here, so nothing is anywhere below
        hit += i / (r - i) * (need - miss)
        miss = need
        if hit + miss > r / m * (1 + _ROUNDING):
            return False
    return True


@lru_cache(maxsize=4096)
def _f_dp(
    family: Family, m: int, r: int, v: int, delta: float, confidence: float
) -> float:
    def refuted(curve: Curve) -> bool:
        return not _feasible(curve, m, r, v, 1 - confidence)

    return family.weakest_refuted(refuted, delta)


@lru_cache(maxsize=4096)
def _one_run(m: int, r: int, v: int, delta: float, confidence: float) -> float:
    k = np.arange(v)  # numbers of right guesses below v
    choose = special.gammaln(r + 1) - special.gammaln(k + 1)
    choose -= special.gammaln(r - k + 1)

    def refuted(epsilon: float) -> bool:
        log_right = -math.log1p(math.exp(-epsilon))  # log e^eps / (1 + e^eps)
        beta = float(special.betainc(v, r - v + 1, math.exp(log_right))) if v else 1.0
        p = beta
        if delta > 0 and v > 0:
            pmf = np.exp(choose + k * log_right + (r - k) * (log_right - epsilon))
            # alpha = max over i of P[v - i <= Bin < v] / i
            alpha = (np.cumsum(pmf[::-1]) / np.arange(1, v + 1)).max()
            p += 2 * m * delta * float(alpha)
        return p < 1 - confidence

    return largest(refuted)


def _check_counts(canaries: int, guesses: int, right: int) -> None:
    if not (0 <= right <= guesses <= canaries and guesses >= 1):
        raise ParameterError(
            f"{right} right of {guesses} guesses about {canaries} canaries is "
            "impossible."
        )
