"""Lower bounds on epsilon from guesses: what an attack proves about a mechanism.

Numbers in, numbers out. Each bound holds with its confidence for *any* mechanism that
is (epsilon, delta)-DP, apart from `gaussian_bound`, which assumes one. A small value
says little without its `ceiling`, what the same bound gives if every guess is right.
For k bounds that hold jointly at 95 %, ask each for confidence 1 - 0.05 / k. A claim is
refuted if ``bound.value > claimed``.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy import special

from attacks.bounds import DEFAULT_CONFIDENCE, check_confidence, clopper_pearson
from attacks.errors import ParameterError

_STEPS = 50  # bisection: the bracket shrinks to 1e-15 of its width
_MOST = 700.0  # exp() of more overflows; no number of guesses comes near


@dataclass(frozen=True, slots=True, kw_only=True)
class EpsilonBound:
    """A lower bound on epsilon beside what a perfect attack would have shown.

    Args:
        value: epsilon is at least this, with probability `confidence`; 0 says nothing.
        ceiling: the same bound if all `guesses` were right.
        confidence: one-sided.
        canaries: independent inclusion bits in play.
        guesses: bits guessed; the attack abstained on the rest.
        right: guesses that were right.
        method: how the bound was made, and what it assumes beyond privacy.
    """

    value: float
    ceiling: float
    confidence: float
    canaries: int
    guesses: int
    right: int
    method: str

    def __post_init__(self) -> None:
        if not (0 <= self.value <= self.ceiling < math.inf):
            raise ParameterError(
                f"A bound needs 0 <= value <= ceiling, not {self.value} and "
                f"{self.ceiling}."
            )
        if not 0 <= self.right <= self.guesses <= self.canaries:
            raise ParameterError(
                f"right={self.right}, guesses={self.guesses} and canaries="
                f"{self.canaries} must ascend."
            )


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
    _check_delta(delta)
    if not (0 <= right <= guesses <= canaries and guesses >= 1):
        raise ParameterError(
            f"{right} right of {guesses} guesses about {canaries} canaries is "
            "impossible."
        )
    return EpsilonBound(
        value=_one_run(canaries, guesses, right, delta, confidence),
        ceiling=_one_run(canaries, guesses, guesses, delta, confidence),
        confidence=confidence,
        canaries=canaries,
        guesses=guesses,
        right=right,
        method="one run (Steinke et al. 2023)",
    )


def clopper_pearson_bound(
    *,
    hits: int,
    members: int,
    alarms: int,
    nonmembers: int,
    delta: float,
    confidence: float = DEFAULT_CONFIDENCE,
) -> EpsilonBound:
    """Bound epsilon by the error rates of a fixed test over independent runs.

    Guarantee: holds for every (epsilon, delta)-DP mechanism if the runs are independent
    and the threshold was fixed without them. TPR and FPR are bounded with half of the
    error each (Clopper-Pearson), and both directions of the definition use these two.

    Source: Jagielski, Ullman and Oprea, NeurIPS 2020, section 3; Nasr et al., S&P 2021.

    Args:
        hits: runs with the canary that were called so.
        members: runs with the canary.
        alarms: runs without the canary that were called "with".
        nonmembers: runs without it.
        delta: of the claim.
        confidence: one-sided for epsilon.
    """
    _check_delta(delta)

    def bound(hits: int, alarms: int) -> float:
        tpr = clopper_pearson(hits, members, confidence).low
        fpr = clopper_pearson(alarms, nonmembers, confidence).high
        ratios = (
            _log_ratio(tpr - delta, fpr),
            _log_ratio(1 - fpr - delta, 1 - tpr),
        )
        return max(0.0, *ratios)

    return EpsilonBound(
        value=bound(hits, alarms),
        ceiling=bound(members, 0),
        confidence=confidence,
        canaries=members + nonmembers,
        guesses=members + nonmembers,
        right=hits + nonmembers - alarms,
        method="Clopper-Pearson (Jagielski et al. 2020)",
    )


def gaussian_bound(
    *,
    hits: int,
    members: int,
    alarms: int,
    nonmembers: int,
    delta: float,
    confidence: float = DEFAULT_CONFIDENCE,
) -> EpsilonBound:
    """Estimate epsilon as if the mechanism's trade-off were that of a Gaussian.

    NOT a bound on an arbitrary mechanism: it extrapolates from one pair of error rates
    to the far tail. For information beside `clopper_pearson_bound`, never for a claim.

    Source: Nasr et al., "Tight auditing of differentially private machine learning",
    USENIX Security 2023, section 4: mu >= Phi^-1(1 - FPR) - Phi^-1(FNR), epsilon from
    the exact curve of Balle and Wang (ICML 2018, Theorem 8).

    Raises:
        ParameterError: as `clopper_pearson_bound`, or delta = 0, at which the epsilon
            of a Gaussian is infinite.
    """
    _check_delta(delta)
    if delta == 0:
        raise ParameterError("A Gaussian mechanism has no finite epsilon at delta=0.")

    def bound(hits: int, alarms: int) -> float:
        fnr = 1 - clopper_pearson(hits, members, confidence).low
        fpr = clopper_pearson(alarms, nonmembers, confidence).high
        mu = -float(special.ndtri(fpr)) - float(special.ndtri(fnr))
        return gaussian_epsilon(mu, delta) if mu > 0 else 0.0

    return EpsilonBound(
        value=bound(hits, alarms),
        ceiling=bound(members, 0),
        confidence=confidence,
        canaries=members + nonmembers,
        guesses=members + nonmembers,
        right=hits + nonmembers - alarms,
        method="Gaussian trade-off assumed (Nasr et al. 2023)",
    )


def gaussian_epsilon(mu: float, delta: float) -> float:
    """Return the epsilon of the Gaussian mechanism with sensitivity / sigma = mu.

    Solves `delta = Phi(mu/2 - eps/mu) - e^eps Phi(-mu/2 - eps/mu)` from below.
    """

    def too_low(epsilon: float) -> bool:
        lost = epsilon + float(special.log_ndtr(-mu / 2 - epsilon / mu))
        return float(special.ndtr(mu / 2 - epsilon / mu)) - math.exp(lost) > delta

    return _largest(too_low)


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

    return _largest(refuted)


def _largest(holds: Callable[[float], bool]) -> float:
    """Return an epsilon where `holds` is true, next to where it stops; 0 if nowhere."""
    if not holds(0.0):
        return 0.0
    low, high = 0.0, 0.5
    while holds(high) and high < _MOST:
        low, high = high, 2 * high
    for _ in range(_STEPS):
        middle = (low + high) / 2
        low, high = (middle, high) if holds(middle) else (low, middle)
    return low


def _log_ratio(above: float, below: float) -> float:
    return math.log(above / below) if above > 0 and below > 0 else 0.0


def _check_delta(delta: float) -> None:
    if not 0 <= delta < 1:
        raise ParameterError(f"delta={delta} must be at least 0 and below 1.")
