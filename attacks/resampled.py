"""Resamples drawn once, and the percentile interval of any level read from them."""

import math
from dataclasses import dataclass

import numpy as np
from scipy import special

from attacks.bounds import (
    DEFAULT_CONFIDENCE,
    Estimate,
    check_confidence,
    clopper_pearson,
)
from attacks.ranking import Floats

RESAMPLES_IN_TAIL = 10  # resamples beyond each end of the interval, at least
_METHOD = "bootstrap over models and records, percentile"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Resampled:
    """One figure under many resamples, from which an interval of any level is read.

    Drawn once, asked often: intervals of a higher level contain those of a lower one.

    Args:
        value: the figure on the scores as they are.
        sorted: the figure under each resample, ascending, (draws,).
        n: how many records it rests on.
        trials: independent trials of the Clopper-Pearson interval that stands in.
        united: always unite with that interval, not only without any spread.
    """

    value: float
    sorted: Floats
    n: int
    trials: int
    united: bool

    def estimate(self, confidence: float = DEFAULT_CONFIDENCE) -> Estimate:
        """Return the percentile interval of this level.

        Guarantee: at least 10 resamples lie beyond each end; where there are not
        enough for that, the last end that has them is moved out by the ratio of the
        normal quantiles, each side for itself, and `method` says so. The resampled
        figures are means bounded by 0 and 1, so their far tails are thinner.

        Raises:
            ParameterError: the confidence is not between 0 and 1.
        """
        check_confidence(confidence)
        draws = len(self.sorted)
        tail, method = (1 - confidence) / 2, _METHOD
        resolved = max(tail, RESAMPLES_IN_TAIL / draws)
        low, high = np.quantile(self.sorted, [resolved, 1 - resolved])
        # Ratios of sums of weights may exceed 1 by rounding.
        low = max(0.0, min(float(low), self.value))
        high = min(1.0, max(float(high), self.value))
        if tail < resolved * (1 - 1e-9):
            further = float(special.ndtri(tail) / special.ndtri(resolved))
            low = max(0.0, self.value - further * (self.value - low))
            high = min(1.0, self.value + further * (high - self.value))
            method = f"{_METHOD}, normal beyond {1 - 2 * resolved:.4g}"
        if self.united or high - low < 1e-12:
            fixed = clopper_pearson(
                round(self.value * self.trials), self.trials, confidence
            )
            method = f"{method}, united with Clopper-Pearson"
            if high - low < 1e-12 and not self.united:
                method = "Clopper-Pearson over disjoint pairs (no spread)"
            low, high = min(low, fixed.low), max(high, fixed.high)
        return Estimate(
            value=self.value,
            low=low,
            high=high,
            n=self.n,
            confidence=confidence,
            method=method,
        )


def resamples_for(confidence: float) -> int:
    """Return how many resamples resolve this level without leaning on normal tails."""
    check_confidence(confidence)
    return max(1000, math.ceil(2 * RESAMPLES_IN_TAIL / (1 - confidence)))
