"""What may be summed, and how finely: the encoder's numbers and the bounds they give.

A client's vector v with an L2 norm of at most C becomes integers q with |q| <= 2^(b-1)
- 1 for b = ``value_bits``, multiplied by an integer weight.  From these numbers follow
the error of a mean, and a ring so wide that no sum of n clients wraps (Bonawitz et al.,
arXiv 1912.00131, section 3).  The checks of what a caller offers are here too, so that
the bounds hold for whatever passes them.

This module computes no encoding (that is ``encode``), and it never clips.
"""

from __future__ import annotations

import math
import operator
from dataclasses import dataclass
from typing import Final, SupportsIndex

import numpy as np
from numpy.typing import ArrayLike, NDArray

from secagg.errors import ParameterError

NORM_TOLERANCE: Final = 2.0**-16
"""Relative excess of the norm that is let pass: a clip computed in float32 is off."""
_CLIP_RANGE: Final = (2.0**-64, 2.0**64)


@dataclass(frozen=True, slots=True, kw_only=True)
class Encoder:
    """How vectors become integers; part of what all parties agree on.

    Attributes:
        clip_norm_l2: Largest L2 norm that ``Client.offer`` accepts, but for a relative
            2^-16 that lets a clip computed in float32 pass.
        value_bits: Bits of one rounded value, sign included; 2..32.
        weight_max: Largest integer weight of one client.

    Raises:
        ParameterError: An attribute is outside its range (caller).
    """

    clip_norm_l2: float = 16.0
    value_bits: int = 24
    weight_max: int = 65535

    def __post_init__(self) -> None:
        # A numpy scalar would compute the bounds below in its own few bits.
        clip = _check_norm(self.clip_norm_l2)
        value_bits = check_integer("value_bits", self.value_bits, 2, 32)
        weight_max = check_integer("weight_max", self.weight_max, 1, (1 << 32) - 1)
        object.__setattr__(self, "clip_norm_l2", clip)
        object.__setattr__(self, "value_bits", value_bits)
        object.__setattr__(self, "weight_max", weight_max)

    @property
    def linf_bound(self) -> int:
        """Largest |q| of one coordinate before weighting, as an integer."""
        return int((1 << (self.value_bits - 1)) - 1)

    @property
    def scale(self) -> float:
        """Integer steps per unit of the input."""
        # Half a step is given up so that float64 rounding of v * scale cannot reach a
        # fraction above the bound: |v scale| <= (bound - 1/2)(1 + 2^-51) < bound.
        return (self.linf_bound - 0.5) / self.norm_limit

    @property
    def norm_limit(self) -> float:
        """Largest accepted norm: ``clip_norm_l2`` and a float32 rounding more."""
        return self.clip_norm_l2 * (1 + NORM_TOLERANCE)

    @property
    def max_error(self) -> float:
        """Bound on |mean - true weighted mean| per coordinate, for given survivors.

        One value is rounded by less than 1 / scale, and a weighted mean of such errors
        is below 1 / scale too, whatever the weights.  Added to it are float64 rounding
        (the factor) and the rounding of the mean to float32 (the second term).
        """
        return (1 + 2.0**-18) / self.scale + self.norm_limit * 2.0**-24

    def l2_bound(self, length: int) -> float:
        """Largest L2 norm of the integers q of one client before weighting."""
        slack = 1 + length * 2.0**-52  # the norm is checked in float64
        return self.scale * self.norm_limit * slack + math.sqrt(length)

    def ring_bits(self, clients: int) -> int:
        """Return r = value_bits + ceil(log2(clients * weight_max)).

        The largest |sum| is clients * weight_max * (2^(value_bits-1) - 1) < 2^(r-1).

        Raises:
            ParameterError: r exceeds 64 (caller).
        """
        bits = self.value_bits + (clients * self.weight_max - 1).bit_length()
        if bits > 64:
            raise ParameterError(
                f"value_bits={self.value_bits} and weight_max={self.weight_max} need a "
                f"ring of {bits} bits for {clients} clients, more than 64; lower "
                "value_bits or weight_max.",
                argument="encoder",
            )
        return bits


def check_weight(encoder: Encoder, weight: SupportsIndex) -> int:
    """Return the weight as an int in 1..weight_max.

    Raises:
        ParameterError: It is not an integer or out of range (caller).
    """
    try:
        return check_integer("weight", weight, 1, encoder.weight_max)
    except ParameterError:
        # The number of a client's records is its own: it is not repeated here.
        raise ParameterError(
            f"weight must be an integer in 1..{encoder.weight_max}.", argument="weight"
        ) from None


def check_vector(
    encoder: Encoder, vector: ArrayLike, *, length: int | None = None
) -> NDArray[np.float64]:
    """Return the vector as float64 if it may be offered.

    Args:
        encoder: States the largest norm.
        vector: shape (length,), float16, float32 or float64.
        length: The agreed length, once known.

    Raises:
        ParameterError: Wrong dtype, shape or length, a value that is not finite, or an
            L2 norm above ``clip_norm_l2`` (caller).
    """
    given = np.asarray(vector)
    if given.dtype.kind != "f" or given.dtype.itemsize not in (2, 4, 8):
        raise ParameterError(
            f"vector has dtype {given.dtype}; convert it to float16, float32 or "
            "float64.",
            argument="vector",
        )
    if given.ndim != 1 or given.size == 0:
        raise ParameterError(
            f"vector has shape {given.shape}; pass one non-empty flat vector, for "
            "example from flatten().",
            argument="vector",
        )
    if length is not None and given.size != length:
        raise ParameterError(
            f"vector has {given.size} values, but the round sums {length}; offer the "
            "agreed tensors.",
            argument="vector",
        )
    values = given.astype(np.float64)
    if not np.isfinite(values).all():
        raise ParameterError(
            "vector holds a value that is not finite; repair or skip this update.",
            argument="vector",
        )
    if _l2_norm(values) > encoder.norm_limit:  # the norm itself is not for a log
        raise ParameterError(
            f"vector has an L2 norm above clip_norm_l2={encoder.clip_norm_l2:.8g}; "
            "clip the update or raise clip_norm_l2.",
            argument="vector",
        )
    return values


def check_integer(name: str, value: SupportsIndex, low: int, high: int) -> int:
    """Return a public number as an int in low..high.

    Raises:
        ParameterError: It is not an integer or out of range (caller).
    """
    if isinstance(value, (bool, np.bool_)):
        raise ParameterError(f"{name}={value} must be an integer.", argument=name)
    try:
        number = operator.index(value)
    except TypeError as error:
        raise ParameterError(
            f"{name}={value!r} must be an integer in {low}..{high}.", argument=name
        ) from error
    if not low <= number <= high:
        raise ParameterError(
            f"{name}={number} must lie in {low}..{high}.", argument=name
        )
    return number


def _check_norm(value: float) -> float:
    if isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(
        value, bool
    ):
        norm = float(value)
        if _CLIP_RANGE[0] <= norm <= _CLIP_RANGE[1]:
            return norm
    raise ParameterError(
        f"clip_norm_l2={value!r} must be a number in 2^-64..2^64.",
        argument="clip_norm_l2",
    )


def _l2_norm(values: NDArray[np.float64]) -> float:
    """Return the L2 norm without overflow or underflow of the squares."""
    largest = float(np.abs(values).max())
    if largest == 0.0:
        return 0.0
    unit = values / largest
    return largest * math.sqrt(float(np.dot(unit, unit)))
