"""Unbiased stochastic rounding in integers, from bulk keystream bits.

A value y becomes q = floor((Y + u) / 2^f) with Y = y 2^f rounded to an integer and u a
fresh integer, uniform in 0..2^f - 1: q is one of the two integers around Y / 2^f, and
its mean is Y / 2^f.  So |E[q] - y| <= 2^-(f+1), exactly zero where y has at most f
fractional bits, and an integer stays what it is.  Rounding by chance follows Bonawitz
et al., arXiv 1912.00131, section 3.  The sum y + u is never formed in floats, whose own
rounding would favour one side.

f is 32 for values of up to 20 bits, and 52 - ``value_bits`` beyond, where a float64
has no more to give.  This module knows no scale, weight or bound.
"""

from __future__ import annotations

from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from secagg.prg import Keystream
from secagg.ring import RingVector

BLOCK: Final = 1 << 14
"""Values that are rounded at a time: 128 KiB of float64, so that they stay in cache."""
_DRAW_BITS: Final = 32

Block: TypeAlias = NDArray[np.float64]


def fraction_bits(value_bits: int) -> int:
    """Return f: fractional bits that are kept of a value before the draw."""
    return min(_DRAW_BITS, 52 - value_bits)


class Rounding:
    """The rounding of one vector, block after block.

    Args:
        key: 32 fresh random bytes; the draws are their keystream.
        value_bits: b; values lie strictly between -2^(b-1) and 2^(b-1).
    """

    def __init__(self, key: bytes, value_bits: int) -> None:
        self._draws = Keystream(key, BLOCK * _DRAW_BITS // 8)
        self._wide = np.empty(BLOCK, dtype="<i8")
        self._bits = fraction_bits(value_bits)
        # A float64 between 2^(52-f) and 2^(53-f) counts in steps of 2^-f, so adding
        # 1.5 2^(52-f) rounds y to such a step and leaves Y in the low bits.
        self._offset = 1.5 * 2.0 ** (52 - self._bits)
        pattern = int(np.array(self._offset).view(np.int64))
        self._pattern = pattern >> self._bits  # f <= 32: all bits below are zero

    def into(self, block: Block, words: RingVector) -> None:
        """Round a block to integers in two's complement.

        Args:
            block: shape (count,), count <= ``BLOCK``; overwritten.
            words: shape (count,), 16, 32 or 64 bits each, little-endian; receives q
                modulo 2^w.
        """
        draws = self._wide[: len(block)]
        np.copyto(draws, self._draws.take(len(block), _DRAW_BITS))
        if self._bits < _DRAW_BITS:
            draws >>= _DRAW_BITS - self._bits
        np.add(block, self._offset, out=block)
        fixed = block.view("<i8")  # pattern 2^f + Y
        np.add(fixed, draws, out=fixed)
        size = words.dtype.itemsize
        if self._bits == 32 and size <= 4:
            # The upper half holds pattern + q: taking it is the division by 2^32.
            np.copyto(words, fixed.view(words.dtype)[4 // size :: 8 // size])
        else:
            np.right_shift(fixed, self._bits, out=fixed)
            np.copyto(words, fixed.view("<u8"), casting="unsafe")
        words -= words.dtype.type(self._pattern & ((1 << 8 * size) - 1))
