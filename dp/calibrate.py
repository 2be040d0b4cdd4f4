"""The least noise that keeps a budget, by the PLD accountant.

    noise_multiplier_for(1.0, 1e-5, sampling_rate=0.1, count=200)    # 5.4282

The search is over log-noise: epsilon falls steadily with it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from decimal import ROUND_CEILING, Context
from functools import lru_cache
from typing import Final

from dp.accounting import coarse_epsilon, epsilon, sampled_gaussian
from dp.errors import ParameterError

RELATIVE: Final = 1e-3
"""The noise found is at most this much above the least that keeps the budget."""

# The search stops a little finer than promised; rounding takes the rest.
_WIDTH: Final = 1 + 7e-4
_DIGITS: Final = 5
# Less noise than this is none, and more drowns any signal; both are mistakes.
_LEAST: Final = 0.02
_MOST: Final = 1e5


@lru_cache(maxsize=1024)
def noise_multiplier_for(
    target: float, delta: float, sampling_rate: float, count: int
) -> float:
    """Return the smallest noise multiplier whose releases keep (target, delta).

    Guarantee: `epsilon(sampled_gaussian(result, sampling_rate), count, delta)` was
    computed for the very number returned and is at most `target`. The result is
    rounded up to five digits, so that it can be printed as it is, and lies within
    0.1 % of the least.

    Args:
        target: epsilon of all releases together, > 0.
        delta: in (0, 1).
        sampling_rate: of each release (Poisson), in (0, 1].
        count: of releases, >= 1.

    Raises:
        ParameterError: the caller's: a number out of range, or a budget for which the
            noise would be outside [0.02, 1e5].
    """
    if not 0 < target < math.inf:
        raise ParameterError(f"epsilon={target} must be positive and finite.")

    def coarse(sigma: float) -> float:
        return coarse_epsilon(sampled_gaussian(sigma, sampling_rate), count, delta)

    def fine(sigma: float) -> float:
        return epsilon(sampled_gaussian(sigma, sampling_rate), count, delta)

    # A coarse bound is nearly the fine one, so the search is done there. Of the fine
    # one, two values on both sides of the target are usually enough.
    _, near = _narrow(coarse, target, *_bracket(coarse, target, 1.0, 2.0))
    bracket = _bracket(fine, target, _round_up(near), math.sqrt(_WIDTH))
    _, high = _narrow(fine, target, *bracket)
    rounded = _round_up(high)
    while fine(rounded) > target:  # monotone but for the last digits
        rounded = _round_up(rounded * (1 + 1e-5))
    return rounded


def _bracket(
    curve: Callable[[float], float], target: float, start: float, factor: float
) -> tuple[float, float]:
    """Return noises, `factor` or a power of it apart, too small and large enough."""
    low = high = start
    while curve(high) > target:
        if high == _MOST:
            raise ParameterError(
                f"epsilon={target} needs noise beyond {_MOST:g} times the clip norm; "
                "plan fewer releases or a larger epsilon."
            )
        low, high, factor = high, min(high * factor, _MOST), factor * factor
    while low == high or curve(low) <= target:
        if low == _LEAST:
            raise ParameterError(
                f"epsilon={target} would be kept with almost no noise, which promises "
                "nothing; choose a smaller epsilon."
            )
        high, low, factor = low, max(low / factor, _LEAST), factor * factor
    return low, high


def _narrow(
    curve: Callable[[float], float],
    target: float,
    low: float,
    high: float,
) -> tuple[float, float]:
    """Shrink a bracket until high / low <= _WIDTH, by log-log interpolation.

    Two guesses just above and just below the interpolated root close the bracket from
    both sides; every third one halves it, for curves that interpolation misjudges.
    """
    above, below = curve(low), curve(high)
    nudge, turn = _WIDTH**0.45, 0
    while high / low > _WIDTH:
        turn += 1
        guess = math.sqrt(low * high)
        if turn % 3 and math.isfinite(above) and below > 0:
            share = math.log(above / target) / math.log(above / below)
            guess = low * (high / low) ** share
            guess = guess * nudge if turn % 3 == 1 else guess / nudge
            if not low < guess < high:
                guess = math.sqrt(low * high)
        value = curve(guess)
        if value > target:
            low, above = guess, value
        else:
            high, below = guess, value
    return low, high


def _round_up(value: float) -> float:
    # In decimal, where rounding a rounded number changes nothing.
    context = Context(prec=_DIGITS, rounding=ROUND_CEILING)
    return float(context.create_decimal(repr(value)))
