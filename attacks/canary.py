"""The canary game: toss coins, include canaries, guess the coins, bound epsilon.

Each canary is included by its own fair coin; whoever runs the game keeps the coins and
hands out the mechanism's output alone. From it every canary gets a score (higher: "was
included"), and `one_run_audit` guesses the extreme ones by a rule fixed in advance.

Canaries of several independent runs may be pooled. Runs on disjoint data are one run
of their parallel composition: a unit takes part in one of them only, so the joint
output is (epsilon, delta)-DP if each run is, and all coins are independent. Then m
counts the coins of all runs. Runs over the *same* units compose instead: pooled guesses
then bound the epsilon of all runs together, not that of one.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from attacks.bounds import DEFAULT_CONFIDENCE, check_confidence
from attacks.epsilon import EpsilonBound
from attacks.errors import ParameterError
from attacks.one_run import f_dp_bound, one_run_bound, p_value
from attacks.ranking import Floats, Ints
from attacks.tradeoff import Curve, Family

SHARES = (1.0, 0.5, 0.2)


def coins(count: int, *, seed: int) -> NDArray[np.bool_]:
    """Toss `count` independent fair coins, (count,) bool; for simulation.

    Not a shuffled half: the bound of `one_run_bound` needs independence.

    Raises:
        ParameterError: no canary.
    """
    if count < 1:
        raise ParameterError(f"count={count} canaries is too few; use at least 1.")
    return np.random.default_rng(seed).integers(0, 2, size=count).astype(np.bool_)


def own_coordinates(count: int, length: int) -> Ints:
    """Give each canary a coordinate of its own, spread over the vector, (count,) int64.

    Canaries that share no coordinate do not disturb one another: each sees the noise
    of the mechanism alone.

    Raises:
        ParameterError: more canaries than coordinates, or no canary.
    """
    if not 1 <= count <= length:
        raise ParameterError(
            f"{count} canaries need a coordinate each but the vector has {length}; use "
            "fewer canaries."
        )
    return np.arange(count, dtype=np.int64) * length // count


def dirac(coordinate: int, length: int, norm: float) -> NDArray[np.float32]:
    """Return the vector that is `norm` at one coordinate and zero elsewhere, (length,).

    Guarantee: its exact L2 norm is at most `norm` (rounded down to float32), the
    loudest update that clipping lets pass.

    Raises:
        ParameterError: the coordinate lies outside, or the norm is not positive.
    """
    if not 0 <= coordinate < length:
        raise ParameterError(f"coordinate={coordinate} lies outside length={length}.")
    if not 0 < norm <= float(np.finfo(np.float32).max):
        raise ParameterError(f"norm={norm} must be positive and fit float32.")
    loud = np.float32(norm)
    if float(loud) > norm:
        loud = np.nextafter(loud, np.float32(0))
    vector = np.zeros(length, dtype=np.float32)
    vector[coordinate] = loud
    return vector


@dataclass(frozen=True, slots=True, kw_only=True)
class Guesses:
    """How many canaries are guessed "in" and how many "out", fixed in advance.

    Raises:
        ParameterError: (caller) a negative number, or no guess at all.
    """

    inside: int
    outside: int = 0

    def __post_init__(self) -> None:
        if min(self.inside, self.outside) < 0 or self.inside + self.outside == 0:
            raise ParameterError(
                f"inside={self.inside} and outside={self.outside} guesses must be at "
                "least 0, and one of them above."
            )


def one_run_audit(
    scores: Floats,
    included: NDArray[np.bool_],
    *,
    delta: float,
    confidence: float = DEFAULT_CONFIDENCE,
    shares: Sequence[float | Guesses] = SHARES,
    family: Family | None = None,
) -> EpsilonBound:
    """Guess the coins by the most extreme scores and return the best bound.

    For each share s, the s m / 2 highest scores are guessed "in", equally many of the
    lowest "out", and the attack abstains on the rest; `Guesses` in place of a share
    says both numbers. Equal scores rank by position. Only then are the guesses compared
    with `included`. Every share is asked for confidence 1 - (1 - confidence) /
    len(shares), so that the best may be kept.

    Guarantee: that of `one_run_bound`, or with a family that of `f_dp_bound`, at
    `confidence`, for the best of all shares. Two calls, one without and one with a
    family, give two bounds, each at this confidence.

    Args:
        scores: (m,), higher = "was included"; made without the coins, and independent
            of the position if there can be ties.
        included: (m,) bool, the coins.
        delta: of the claim.
        confidence: one-sided.
        shares: of the canaries to guess, each in (0, 1], or their numbers; fixed in
            advance.
        family: of claims to refute, such as `GAUSSIAN` or `ANY_MECHANISM`; None for
            the analysis of Steinke et al.

    Returns:
        The best bound; `ceiling` is what perfect scores would give for these coins.

    Raises:
        ParameterError: shapes differ, a score is not finite, or a share guesses none.
    """
    check_confidence(confidence)
    counted = _counted(scores, included, shares)
    m, each = len(scores), 1 - (1 - confidence) / len(counted)

    def bound(guesses: int, right: int) -> EpsilonBound:
        if family is None:
            return one_run_bound(m, guesses, right, delta=delta, confidence=each)
        return f_dp_bound(
            m, guesses, right, delta=delta, confidence=each, family=family
        )

    bounds = [bound(one.guesses, one.right) for one in counted]
    best = max(bounds, key=lambda bound: bound.value)
    return replace(
        best,
        ceiling=max(bound(one.guesses, one.most).value for one in counted),
        confidence=confidence,
        method=f"{best.method}, best of {len(bounds)} shares of guesses",
    )


def claim_p_value(
    scores: Floats,
    included: NDArray[np.bool_],
    curve: Curve,
    *,
    shares: Sequence[float | Guesses] = SHARES,
) -> float:
    """Return how likely so many right guesses are at most, if a claim is true.

    For one claim as it was made, with all that its accountant knows (`PrivacyProfile`),
    where `one_run_audit` looks for the weakest claim that is refuted. The guesses are
    the same; the least p-value of all shares is multiplied by their number.

    Guarantee: that of `attacks.one_run.p_value`: under the claim the value is at most x
    with probability at most x.

    Args:
        scores: as for `one_run_audit`.
        included: (m,) bool, the coins.
        curve: of the claim, such as `PrivacyProfile.curve`; see `attacks.tradeoff`.
        shares: of the canaries to guess, fixed in advance.

    Raises:
        ParameterError: as `one_run_audit`.
    """
    counted = _counted(scores, included, shares)
    values = (p_value(curve, len(scores), one.guesses, one.right) for one in counted)
    return min(1.0, len(counted) * min(values))


@dataclass(frozen=True, slots=True)
class _Counted:
    """Guesses of one rule, how many were right, and how many at most could be."""

    guesses: int
    right: int
    most: int


def _counted(
    scores: Floats, included: NDArray[np.bool_], shares: Sequence[float | Guesses]
) -> list[_Counted]:
    m = len(scores)
    if scores.shape != (m,) or included.shape != (m,) or included.dtype != np.bool_:
        raise ParameterError("scores and included must be vectors of equal length.")
    if not np.isfinite(scores).all():
        raise ParameterError("A canary's score must be finite.")
    rules = [_guesses(share, m) for share in shares]
    if not rules:
        raise ParameterError("An audit needs at least one share of canaries to guess.")
    ranked = included[np.argsort(-scores, kind="stable")]
    inside = int(included.sum())
    counted = []
    for rule in rules:
        right = ranked[: rule.inside].sum() + (~ranked[m - rule.outside :]).sum()
        # Perfect scores err only where the rule guesses more of a kind than there are.
        most = min(rule.inside, inside) + min(rule.outside, m - inside)
        counted.append(_Counted(rule.inside + rule.outside, int(right), most))
    return counted


def _guesses(share: float | Guesses, m: int) -> Guesses:
    if not isinstance(share, Guesses):
        half = round(share * m) // 2 if 0 < share <= 1 else 0
        if half == 0:
            raise ParameterError(
                f"A share of {share} of {m} canaries guesses none or too many; use "
                "more canaries or a share in (0, 1]."
            )
        return Guesses(inside=half, outside=half)
    if share.inside + share.outside > m:
        raise ParameterError(
            f"{share.inside} + {share.outside} guesses about {m} canaries are too "
            "many; guess each at most once."
        )
    return share
