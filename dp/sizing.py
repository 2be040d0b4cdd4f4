"""The least noise in shares that keeps a budget.

    total = noise_for(2.0, 1e-5, rounds=50, honest=60, integers=integers)
    share = total.noise.draw(7850, os.urandom)      # added before masking

What the noise is, and how it is accounted for, stands in `dp.distributed`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from dp.calibrate import noise_multiplier_for
from dp.discrete import (
    GAUSSIAN_VARIANCE_MAX,
    SKELLAM_VARIANCE_MAX,
    DiscreteGaussian,
    Skellam,
)
from dp.distributed import DistributedSum
from dp.errors import ParameterError
from dp.integers import Integers
from dp.renyi import SET_ASIDE
from dp.smoothing import GAP_MAX, ROUNDING_VARIANCE

# Of a variance that does not keep the budget yet; noise_multiplier_for is as coarse.
_STEP: Final = 2.0**-16


def noise_for(
    target: float,
    delta: float,
    *,
    rounds: int,
    honest: int,
    integers: Integers,
    sampling_rate: float = 1.0,
    mechanism: type[DiscreteGaussian] | type[Skellam] = DiscreteGaussian,
) -> DistributedSum:
    """Return the sum whose clients add the least noise that keeps (target, delta).

    Guarantee: `epsilon` of the very result is at most `target`. By Renyi divergence, of
    one less in variance it is above; by privacy loss distributions, of 0.1 % less in
    deviation.

    Args:
        target: epsilon of all rounds together, > 0.
        delta: in (0, 1).
        rounds: released sums, >= 1.
        honest: h, honest clients in every released sum.
        integers: of one client.
        sampling_rate: see `DistributedSum`.
        mechanism: which noise.

    Raises:
        ParameterError: the caller's: a number out of range, or no variance that can
            be drawn suffices.
    """
    if not 0 < target < math.inf:
        raise ParameterError(f"epsilon={target} must be positive and finite.")
    first = DistributedSum(
        noise=mechanism(variance=1),
        honest=honest,
        integers=integers,
        sampling_rate=sampling_rate,
    )

    def at(variance: int) -> DistributedSum:
        return replace(first, noise=mechanism(variance=variance))

    found = _by_twin(at, target, delta, rounds)
    if found is not None:
        less = at(max(1, found.noise.variance - 1))
        if less.renyi_epsilon(delta, rounds=rounds) > target:
            return found
    return _by_renyi(at, target, delta, rounds)


def _by_twin(
    at: Callable[[int], DistributedSum], target: float, delta: float, rounds: int
) -> DistributedSum | None:
    """Return the sum whose twin keeps the budget; None if none has a twin so near."""
    first = at(1)
    if not isinstance(first.noise, DiscreteGaussian):
        return None
    part = delta * (1 - SET_ASIDE) * math.exp(-GAP_MAX)
    try:
        multiplier = noise_multiplier_for(
            target - 2 * GAP_MAX, part, first.sampling_rate, rounds
        )
    except ParameterError:
        return None
    total = (multiplier * first.integers.l2_bound) ** 2 + ROUNDING_VARIANCE
    variance = math.ceil(total / first.honest * (1 + 2.0**-38))
    while variance <= GAUSSIAN_VARIANCE_MAX:
        found = at(variance)
        reached = found.epsilon(delta, rounds=rounds)
        if reached <= target:
            return found
        if rounds * found.gap > GAP_MAX or reached > 2 * target:
            return None
        variance += max(1, int(variance * _STEP))
    return None


def _by_renyi(
    at: Callable[[int], DistributedSum], target: float, delta: float, rounds: int
) -> DistributedSum:
    def keeps(variance: int) -> bool:
        return at(variance).renyi_epsilon(delta, rounds=rounds) <= target

    gaussian = isinstance(at(1).noise, DiscreteGaussian)
    low, high = 0, GAUSSIAN_VARIANCE_MAX if gaussian else SKELLAM_VARIANCE_MAX
    if not keeps(high):
        raise ParameterError(
            f"epsilon={target} at delta={delta} needs noise of a variance above {high} "
            "from each client; encode in fewer bits, plan fewer rounds or larger sums, "
            "or allow a larger epsilon or delta."
        )
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if keeps(middle) else (middle, high)
    return at(high)
