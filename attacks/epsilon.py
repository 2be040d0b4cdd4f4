"""Lower bounds on epsilon from guesses: what an attack proves about a mechanism.

Numbers in, numbers out. Each bound holds with its confidence for *any* mechanism that
is (epsilon, delta)-DP, apart from `gaussian_bound`, which assumes one. A small value
says little without its `ceiling`, what the same bound gives if every guess is right.
For k bounds that hold jointly at 95 %, ask each for confidence 1 - 0.05 / k. A claim is
refuted if ``bound.value > claimed``.
"""

import math
from dataclasses import dataclass

from scipy import special

from attacks.boundary import largest
from attacks.bounds import DEFAULT_CONFIDENCE, clopper_pearson
from attacks.errors import ParameterError


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
    check_delta(delta)

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
    check_delta(delta)
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

    return largest(too_low)


def _log_ratio(above: float, below: float) -> float:
    return math.log(above / below) if above > 0 and below > 0 else 0.0


def check_delta(delta: float) -> None:
    """Raise ParameterError unless 0 <= delta < 1."""
    if not 0 <= delta < 1:
        raise ParameterError(f"delta={delta} must be at least 0 and below 1.")
