"""The checks of what a caller offers, so that an encoder's bounds hold for it.

Type, shape and length are checked before any work, finite values and the L2 norm block
by block on the way.  No error repeats a value, a norm or a weight: they are the
client's own.  This module changes nothing and never clips.
A fingerprint tells a client's store whether two offers are the same.
"""

from __future__ import annotations

import hashlib
import math
from typing import Final, NoReturn, SupportsIndex

import numpy as np
from numpy.typing import ArrayLike, NDArray

from secagg import usage
from secagg.encoder import Encoder, check_integer
from secagg.errors import ParameterError
from secagg.rounding import BLOCK

_DOT: Final = 8192  # OpenBLAS starts its threads, which spin, above ten thousand


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


class NormCheck:
    """The L2 norm of a vector, known once all its blocks were added, in any order.

    The sum of the squares is exact (``math.fsum``), so their order does not matter.

    Args:
        encoder: States the largest norm.
    """

    def __init__(self, encoder: Encoder) -> None:
        self._encoder = encoder
        self._limit = encoder.norm_limit**2
        self._squares: list[float] = []

    def add(self, block: NDArray[np.float64]) -> None:
        """Take one more block, shape (count,).

        Raises:
            ParameterError: A value is not finite, or a piece of the block alone has a
                norm above the largest (caller).
        """
        # Squares overflow only far above the limit, and vanish only far below it; a
        # value that is not finite leaves a sum that is none.  numpy's warning of the
        # overflow is for the caller to silence: here it would cost more than the sum.
        for start in range(0, len(block), _DOT):
            some = block[start : start + _DOT]
            square = float(np.dot(some, some))
            if not square <= self._limit:
                self._refuse(block)
            self._squares.append(square)

    def done(self) -> None:
        """Check the norm of all blocks together.

        Raises:
            ParameterError: It is above the largest (caller).
        """
        if not math.fsum(self._squares) <= self._limit:
            self._refuse(None)

    def _refuse(self, block: NDArray[np.float64] | None) -> NoReturn:
        if block is not None and not np.isfinite(block).all():
            raise ParameterError(
                "vector holds a value that is not finite; repair or skip this update.",
                argument="vector",
            )
        raise ParameterError(  # the norm itself is not for a log
            "vector has an L2 norm above clip_norm_l2="
            f"{self._encoder.clip_norm_l2:.8g}; clip the update or raise clip_norm_l2.",
            argument="vector",
        )


def check_form(vector: ArrayLike, *, length: int | None = None) -> NDArray[np.floating]:
    """Return the vector as an array, uncopied, if it is one that could be offered.

    Args:
        vector: shape (length,), float16, float32 or float64, in any memory layout.
        length: The agreed length, once known.

    Raises:
        ParameterError: Wrong type, shape or length (caller).
    """
    if isinstance(vector, np.ma.MaskedArray):
        raise ParameterError(
            "vector is a masked array, whose masked values would be sent; fill them "
            "and pass a plain array.",
            argument="vector",
        )
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
    return given


def fingerprint(vector: NDArray[np.floating], weight: int) -> bytes:
    """Return 32 bytes that are equal for equal vectors of one type and equal weights.

    It is as secret as they are: who guesses both can check the guess.

    Args:
        vector: shape (length,), as ``check_form`` returns it.
        weight: As ``check_weight`` returns it.
    """
    digest = hashlib.sha256(usage.TAG_FINGERPRINT)
    digest.update(vector.dtype.kind.encode() + bytes([vector.dtype.itemsize]))
    digest.update(weight.to_bytes(8, "little"))
    little = vector.dtype.newbyteorder("<")
    for start in range(0, vector.size, BLOCK):
        block = vector[start : start + BLOCK]
        digest.update(np.ascontiguousarray(block, dtype=little).data)
    return digest.digest()


def check_vector(
    encoder: Encoder, vector: ArrayLike, *, length: int | None = None
) -> NDArray[np.floating]:
    """Return the vector as an array, uncopied, if it may be offered.

    Args:
        encoder: States the largest norm.
        vector: shape (length,), float16, float32 or float64, in any memory layout.
        length: The agreed length, once known.

    Raises:
        ParameterError: Wrong type, shape or length, a value that is not finite, or an
            L2 norm above ``clip_norm_l2`` (caller).
    """
    given = check_form(vector, length=length)
    norm = NormCheck(encoder)
    with np.errstate(over="ignore"):  # of squares: the norm's check notices
        for start in range(0, given.size, BLOCK):
            norm.add(given[start : start + BLOCK].astype(np.float64))
    norm.done()
    return given
