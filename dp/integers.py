"""What an encoder says of one client's integers, and how long rounding makes a vector.

The numbers cross a border: whoever encodes states them, and `dp.distributed` needs no
more to choose the noise and to account for it. Nothing here encodes or draws.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from dp.errors import ParameterError

ROUNDING_CHANCE: Final = 2.0**-100
"""Chance that a rounded vector is longer than `rounded` says."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Integers:
    """What an encoder says of one client's integers; an update of zeros gives zeros.

    Attributes:
        l2_bound: largest L2 norm, before noise.
        linf_bound: largest |coordinate|, before noise.
        length: how many coordinates.
        chance: probability with which rounding may exceed `l2_bound`.
    """

    l2_bound: float
    linf_bound: int
    length: int
    chance: float = 0.0

    def __post_init__(self) -> None:
        if not 0 < self.l2_bound < math.inf or self.linf_bound < 1 or self.length < 1:
            raise ParameterError(
                f"l2_bound={self.l2_bound}, linf_bound={self.linf_bound} and "
                f"length={self.length} must be positive and finite."
            )
        if not 0 <= self.chance < 1:
            raise ParameterError(f"chance={self.chance} must lie in [0, 1).")

    @property
    def l1_bound(self) -> float:
        """Return the largest L1 norm: |x| <= x^2 for integers."""
        return min(math.sqrt(self.length) * self.l2_bound, self.l2_bound**2)


def rounded(*, norm: float, linf_bound: int, length: int) -> Integers:
    """Bound a vector of L2 norm `norm` after unbiased rounding of each coordinate.

    Always ||q|| <= norm + sqrt(length). But ||q||^2 has a mean of at most norm^2 +
    length / 4, and the two values of each q_i^2 are at most 2 |x_i| + 1 apart, so by
    Hoeffding's inequality it exceeds its mean by sqrt(2 ln(1 / b)) (norm + sqrt(length)
    / 2) with a chance of at most b. Kairouz et al., Proposition 22, round again until
    the norm is below that; here nobody rounds twice, and delta pays for b = 2^-100.

    Args:
        norm: L2 norm in steps of the encoder: its scale times the clip norm.
        linf_bound: largest |q_i|.
        length: of the vector.
    """
    certain = norm + math.sqrt(length)
    excess = math.sqrt(-2 * math.log(ROUNDING_CHANCE)) * (norm + math.sqrt(length) / 2)
    # A relative 2^-20 for fixed-point probabilities and the floats of this very bound.
    likely = math.sqrt(norm * norm + length / 4 + excess) * (1 + 2.0**-20)
    chance = ROUNDING_CHANCE if likely < certain else 0.0
    return Integers(
        l2_bound=min(certain, likely),
        linf_bound=linf_bound,
        length=length,
        chance=chance,
    )
