"""Clip one vector to an L2 bound, in a way that holds after rounding to float32.

Clipping a client's whole update bounds the client-level sensitivity (McMahan et al.,
arXiv:1710.06963, section 3; for single examples Abadi et al., arXiv:1607.00133,
Algorithm 1). It adds no noise and promises no privacy by itself.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# Rounding to float32 lengthens a vector by up to a factor 1 + 2^-24, and float64
# arithmetic on fewer than 2^24 coordinates misjudges the length by less. Aiming this
# much below the bound makes it hold for the rounded vector in exact arithmetic.
MARGIN = 1.0 - 2.0**-22

# Bounds for which no float32 rounding comes near the ends of the exponent range.
BOUND_MIN = 2.0**-100
BOUND_MAX = 2.0**100


@dataclass(frozen=True, slots=True, kw_only=True)
class Clipped:
    """A vector that is certainly within its bound.

    Attributes:
        vector: float32, of the same shape as the one given.
        l2_bound: the bound; the exact L2 norm of `vector` is at most this.
        factor: what the given vector was multiplied by; 1.0 if it was short enough.
    """

    vector: NDArray[np.float32]
    l2_bound: float
    factor: float

    @property
    def was_clipped(self) -> bool:
        """Whether the vector given was too long."""
        return self.factor < 1.0


def clip_l2(vector: NDArray[np.floating], bound: float) -> Clipped:
    """Scale the vector down to the bound, if it is longer.

    Guarantee: the exact L2 norm of the returned float32 vector is at most `bound`,
    and the vector given is not changed.

    | given             | returned                                 |
    |-------------------|------------------------------------------|
    | all zero, empty   | the same, factor 1                       |
    | norm = bound      | scaled by 1 - 2^-22, so as to be certain |
    | norm up to 1e308  | scaled, no overflow on the way           |
    | NaN or infinite   | ValueError: no factor makes it finite    |

    Args:
        vector: of any shape and float type.
        bound: L2 norm, in [2^-100, 2^100].

    Returns:
        The clipped vector, in float32; the one given itself, not a copy, if it is
        short enough and of that type.

    Raises:
        ValueError: the caller's: a non-finite or non-float vector, a bound out of
            range.

    Source: McMahan et al., arXiv:1710.06963, section 3 ("flat clipping").
    """
    if not BOUND_MIN <= bound <= BOUND_MAX:
        raise ValueError(
            f"bound={bound} must be in [2^-100, 2^100]; give the clip norm in the "
            f"units of the update."
        )
    if vector.dtype.kind != "f":
        raise ValueError(f"vector is {vector.dtype}; give floats.")
    exact = vector.astype(np.float64)
    if not np.isfinite(exact).all():
        raise ValueError("vector is NaN or infinite somewhere; clip finite updates.")
    largest = float(np.abs(exact).max(initial=0.0))
    if largest == 0.0:
        return Clipped(
            vector=vector.astype(np.float32, copy=False), l2_bound=bound, factor=1.0
        )
    # Dividing by the largest coordinate first keeps the squares from overflowing.
    unit = exact / largest
    length = float(np.sqrt(np.square(unit).sum()))
    target = bound * MARGIN
    if largest <= target / length:
        return Clipped(
            vector=vector.astype(np.float32, copy=False), l2_bound=bound, factor=1.0
        )
    scaled = unit * (target / length)
    factor = target / length / largest
    return Clipped(vector=scaled.astype(np.float32), l2_bound=bound, factor=factor)
