"""Exact tails of the hypergeometric distribution, and how far they reach.

Of ``population`` clients ``marked`` are of one kind; ``draws`` are drawn at random.
Let X count the marked ones drawn.  The probabilities Pr[X = x] follow from one another
by ratios of integers; here they are multiplied in logarithms, outwards from the mode,
and normalised by their own sum, so that no factorial is ever formed and a population of
10^8 costs no more than ``draws`` logarithms.

Rounding errs on the safe side.  With up to 2^16 draws, a probability above 2^-512 is
off by less than 2^-24 of itself: it is a product of fewer than 2^16 ratios whose
partial sums of logarithms stay below 2^9.  Every tail counts as ``SLACK`` = 2^-20 of
itself larger before it is compared, so a quantile can come out one step too cautious,
when a tail lies within 2^-20 of its budget, and never too bold.  Budgets below 2^-512
are refused.

This module knows nothing of graphs.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

from secagg.errors import ParameterError

SLACK: Final = 2.0**-20
MIN_BUDGET_LOG2: Final = -512


def upper_quantile(
    population: int, marked: int, draws: int, *, budget_log2: float
) -> int:
    """Return the smallest t with Pr[X > t] <= 2^budget_log2.

    It does not fall when ``marked`` or ``draws`` grows, and one draw more raises it by
    one at most.

    Raises:
        ParameterError: The budget is out of range (caller).
    """
    lowest, weights = _weights(population, marked, draws)
    at_least = np.cumsum(weights[::-1])[::-1]  # Pr[X >= lowest + i], not normalised
    affordable = _affordable(weights, budget_log2)
    return lowest + int(np.count_nonzero(at_least > affordable)) - 1


def lower_quantile(
    population: int, marked: int, draws: int, *, budget_log2: float
) -> int:
    """Return the largest t with Pr[X < t] <= 2^budget_log2.

    It does not fall when ``marked`` or ``draws`` grows, and one draw more raises it by
    one at most.

    Raises:
        ParameterError: The budget is out of range (caller).
    """
    lowest, weights = _weights(population, marked, draws)
    at_most = np.cumsum(weights)  # Pr[X <= lowest + i], not normalised
    affordable = _affordable(weights, budget_log2)
    return lowest + int(np.count_nonzero(at_most <= affordable))


def all_marked_log2(population: int, marked: int, draws: int) -> float:
    """Return log2 Pr[X = draws], rounded up; minus infinity if there are too few."""
    if draws > marked:
        return -math.inf
    drawn = np.arange(draws, dtype=np.float64)
    product = np.log2((marked - drawn) / (population - drawn)).sum()
    return float(product) * (1 - SLACK) + SLACK


def _affordable(weights: NDArray[np.float64], budget_log2: float) -> float:
    """Return the most that a tail's unnormalised weight may be."""
    if not MIN_BUDGET_LOG2 <= budget_log2 < 0:
        raise ParameterError(
            f"a failure probability of 2^{budget_log2:.0f} is out of range; ask for "
            f"exponents that stay below {-MIN_BUDGET_LOG2} in all.",
            argument="sigma",
        )
    return float(weights.sum()) * math.exp2(budget_log2) / (1 + SLACK)


def _weights(
    population: int, marked: int, draws: int
) -> tuple[int, NDArray[np.float64]]:
    """Return the smallest possible x, and Pr[X = x] up to one common factor.

    The weights have shape (number of possible x,) and are 1 at the mode.
    """
    others = population - marked
    lowest, highest = max(0, draws - others), min(marked, draws)
    x = np.arange(lowest, highest, dtype=np.float64)
    # Pr[X = x + 1] / Pr[X = x]; each factor is an integer below 2^53, hence exact.
    rise = np.log(marked - x) + np.log(draws - x)
    rise -= np.log(x + 1) + np.log(others - draws + x + 1)
    mode = (draws + 1) * (marked + 1) // (population + 2)
    up = rise[mode - lowest :]
    down = -rise[: mode - lowest][::-1]
    logs = np.concatenate((np.cumsum(down)[::-1], [0.0], np.cumsum(up)))
    return lowest, np.exp(logs)
