"""What integers of so many bits can say of a vector: scale, bounds, error, saturation.

Without rotation one coordinate can hold the whole norm C, so integers up to B stand for
values up to C.  With rotation they stand for values up to ``spread`` C only, which is
of the order of C / sqrt(m): far finer steps for the same bits.  The price is that a
rotated value may lie beyond, with a stated probability; it is then cut to the range.

*Error without rotation.*  Each value is off by less than a step, and so is a weighted
mean of them, for any weights that were multiplied exactly.  *With rotation* the errors
e_j of the rotated mean are independent, of mean zero and within an interval of one
step, if nothing was cut.  A coordinate of the mean is off by sum h_j e_j with sum h_j^2
= 1, which exceeds s steps with probability at most 2 exp(-2 s^2) (Hoeffding, JASA 58,
1963, theorem 2).  What is rotated and turned back passes memory as float32: each way is
off by ``rotation.RELATIVE_ERROR`` of the norm of what it turns, and no coordinate by
more than that.  *With weights scaled beforehand* a step of a client that weighs w is
one of w / weight_max, so all errors grow by weight_max over the mean weight.

This module touches no vector.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from secagg import rotation
from secagg.rounding import fraction_bits

CHANCE_BITS: Final = 20
"""Each statement about rotated values may fail with probability 2^-20."""
_ARITHMETIC: Final = 2.0**-18  # float64 and the fraction bits, relative to one step


@dataclass(frozen=True, slots=True, kw_only=True)
class Precision:
    """The numbers of one encoder for vectors of one length.

    Attributes:
        rotated: Whether vectors are rotated.
        scale: Integer steps per unit.
        linf_bound: Largest |q| of one value before weighting; always holds.
        l2_bound: Largest L2 norm of one client's q before weighting; always holds.
        max_error: Bound on |mean - true weighted mean| per coordinate, noise included.
            With rotation it holds but for a probability of ``saturation`` for each
            client in the sum and 2^-20 once.
        saturation: Bound on the probability that any value of one client's vector is
            cut to the range; zero without rotation.
        cut_error: Largest |error| of a coordinate if values are cut.
    """

    rotated: bool
    scale: float
    linf_bound: int
    l2_bound: float
    max_error: float
    saturation: float
    cut_error: float


def precision(
    *,
    norm_limit: float,
    value_bits: int,
    length: int,
    rotate: bool,
    coarseness: float,
    noise_bound: int = 0,
) -> Precision:
    """Return the numbers for vectors of ``length`` values.

    Args:
        norm_limit: Largest L2 norm.
        value_bits: Bits of a value, sign included.
        length: Values of the vector.
        rotate: Whether to rotate, if the vector is long enough for that to pay.
        coarseness: By how much errors grow that come from rounding; 1 or more.
        noise_bound: Largest |noise| of one rounded value, part of the error.
    """
    bound = (1 << (value_bits - 1)) - 1
    rotated = rotate and length >= rotation.LEAST
    share, drift = 1.0, 0.0
    if rotated:
        drift = rotation.RELATIVE_ERROR
        share = min(1.0, rotation.spread(length, CHANCE_BITS) + drift)
    # Half a step is given up so that float64 rounding of v * scale cannot reach a
    # fraction above the bound: |v scale| <= (bound - 1/2)(1 + 2^-51) < bound.
    scale = (bound - 0.5) / (norm_limit * share)
    steps = 1.0
    if rotated:
        tail = math.log(2 * length) + CHANCE_BITS * math.log(2)
        lost = math.sqrt(length) * 2.0 ** -(fraction_bits(value_bits) + 1)
        steps = min(math.sqrt(tail / 2) + lost, math.sqrt(length))
    slack = (1 + length * 2.0**-52) * (1 + drift)  # the norm is checked in float64
    reach = norm_limit * slack
    worst = coarseness * math.sqrt(length) * (1 + _ARITHMETIC) / scale
    # Undoing the rotation can bring the noise of all values to one.
    noise = noise_bound * (math.sqrt(length) if rotated else 1) / scale
    # Added to the rounding: the rotation in floats, and the mean's rounding to float32;
    # then the way back, in proportion to the largest norm of what is turned.
    floats = norm_limit * (drift + 2.0**-24)
    floats += noise + drift * (reach + worst + noise)
    error = coarseness * steps * (1 + _ARITHMETIC) / scale + floats
    worst += floats
    return Precision(
        rotated=rotated,
        scale=scale,
        linf_bound=bound,
        l2_bound=scale * reach + math.sqrt(length),
        max_error=error,
        saturation=2.0**-CHANCE_BITS if rotated else 0.0,
        cut_error=worst + reach if rotated else error,
    )
