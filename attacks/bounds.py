"""Numbers with intervals: proportions, means, paired differences, detectable effects.

Clopper and Pearson (Biometrika 1934) for counts, Student's t for means. Independence
of the n items is assumed here; scores that share models are in `attacks.ranking`.
For a family of m statements at level 95 %, ask each for confidence 1 - 0.05 / m.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import special

from attacks.errors import ParameterError

DEFAULT_CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A value with its two-sided confidence interval.

    Args:
        value: the point estimate.
        low: lower end, at most `value`.
        high: upper end, at least `value`.
        n: how many independent items the value rests on.
        confidence: probability that such an interval covers the truth.
        method: how the interval was made, in words.
    """

    value: float
    low: float
    high: float
    n: int
    confidence: float
    method: str

    def __post_init__(self) -> None:
        if not (self.low <= self.value <= self.high):
            raise ParameterError(
                f"An estimate needs low <= value <= high, not {self.low}, "
                f"{self.value}, {self.high}."
            )


def check_confidence(confidence: float) -> None:
    """Raise ParameterError unless 0 < confidence < 1."""
    if not 0 < confidence < 1:
        raise ParameterError(f"confidence={confidence} must lie between 0 and 1.")


def clopper_pearson(k: int, n: int, confidence: float = DEFAULT_CONFIDENCE) -> Estimate:
    """Estimate a proportion from `k` successes in `n` independent trials.

    Guarantee: covers the true proportion with at least `confidence`, for every n.

    Raises:
        ParameterError: not 0 <= k <= n with n >= 1, or a bad confidence.
    """
    check_confidence(confidence)
    if not (0 <= k <= n and n >= 1):
        raise ParameterError(f"k={k} successes in n={n} trials is impossible.")
    tail = (1 - confidence) / 2
    low = 0.0 if k == 0 else float(special.betaincinv(k, n - k + 1, tail))
    # The upper end by its mirror image: 1 - tail would lose digits.
    high = 1.0 if k == n else 1 - float(special.betaincinv(n - k, k + 1, tail))
    return Estimate(
        value=k / n,
        low=low,
        high=high,
        n=n,
        confidence=confidence,
        method="Clopper-Pearson",
    )


def mean_interval(
    values: Sequence[float],
    confidence: float = DEFAULT_CONFIDENCE,
    *,
    support: tuple[float, float] | None = None,
) -> Estimate:
    """Estimate a mean from independent values by Student's t.

    Guarantee: exact coverage for normal values, approximate for others. Equal values
    have no spread to learn from; with a `support` the interval is then
    distribution-free: a value other than the one seen n times has probability at most
    `1 - tail^(1/n)`, and can move the mean at most to the ends of the support.

    Args:
        values: at least two, finite.
        confidence: of the interval.
        support: smallest and largest possible value, if there are such.

    Raises:
        ParameterError: too few or non-finite values, or all equal without a support.
    """
    check_confidence(confidence)
    sample = np.asarray(values, dtype=np.float64)
    if sample.ndim != 1 or len(sample) < 2 or not np.isfinite(sample).all():
        raise ParameterError(
            f"An interval needs at least 2 finite values, got {len(sample)} values."
        )
    n = len(sample)
    mean = float(sample.mean())
    tail = (1 - confidence) / 2
    if np.ptp(sample) == 0:
        value = float(sample[0])
        if support is None:
            raise ParameterError(
                f"All {n} values are equal, so their spread says nothing; give the "
                "support of the values."
            )
        if not support[0] <= value <= support[1]:
            raise ParameterError(f"The value {value} lies outside support={support}.")
        other = 1 - tail ** (1 / n)
        return Estimate(
            value=value,
            low=value - other * (value - support[0]),
            high=value + other * (support[1] - value),
            n=n,
            confidence=confidence,
            method="distribution-free, all values equal",
        )
    half = -float(special.stdtrit(n - 1, tail)) * float(sample.std(ddof=1)) / n**0.5
    return Estimate(
        value=mean,
        low=mean - half,
        high=mean + half,
        n=n,
        confidence=confidence,
        method="Student t",
    )


def paired_excess(
    values: Sequence[float],
    nulls: Sequence[float],
    confidence: float = DEFAULT_CONFIDENCE,
    *,
    support: tuple[float, float] | None = None,
) -> Estimate:
    """Estimate the mean of `value - null` over victims.

    Args:
        values: one score per victim.
        nulls: the null of the same victim, in the same order.
        confidence: of the interval.
        support: smallest and largest possible *difference* (see `mean_interval`).

    Raises:
        ParameterError: lengths differ, or `mean_interval` cannot be computed.
    """
    if len(values) != len(nulls):
        raise ParameterError(
            f"{len(values)} values and {len(nulls)} nulls cannot be paired; give one "
            "null per victim."
        )
    differences = [value - null for value, null in zip(values, nulls, strict=True)]
    return mean_interval(differences, confidence, support=support)


def min_detectable(estimate: Estimate, *, power: float = 0.8) -> float:
    """Return the smallest effect found with probability `power` at this n and level.

    Formula: `h (1 + z_power / z_confidence)`, h the half width of the interval, that
    is `(z_confidence + z_power)` standard errors for a normal interval. For Student's
    t it is slightly too large, which is the honest side. An asymmetric interval
    counts with its wider side.

    Raises:
        ParameterError: the interval has no width, or the power is not in [0.5, 1).
    """
    if not 0.5 <= power < 1:
        raise ParameterError(f"power={power} must be at least 0.5 and below 1.")
    half = max(estimate.high - estimate.value, estimate.value - estimate.low)
    if not (half > 0 and math.isfinite(half)):
        raise ParameterError("An interval without width has no smallest effect.")
    z_power = float(special.ndtri(power))
    z_confidence = -float(special.ndtri((1 - estimate.confidence) / 2))
    return half * (1 + z_power / z_confidence)
