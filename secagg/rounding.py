"""Unbiased stochastic rounding in integers, from bulk keystream bits.

A value y becomes q = floor((Y + u) / 2^f) with Y = y 2^f rounded to an integer and u a
fresh integer, uniform in 0..2^f - 1: q is one of the two integers around Y / 2^f, and
its mean is Y / 2^f.  So |E[q] - y| <= 2^-(f+1), exactly zero where y has at most f
fractional bits, and an integer stays what it is.  Rounding by chance follows Bonawitz
et al., arXiv 1912.00131, section 3.

The sum is one float64 addition: of y, and of u / 2^f plus an offset so large that the
floats around it count in steps of 2^-f.  The addend is exact, the sum is rounded once,
to such a step, and cutting off its fraction gives q and a known integer.  (A tie goes
to an even Y + u, so where y lies half way between two steps, Y is above or below it
with u's parity; the bound holds all the same.)

f is 32 for values of up to 20 bits, and 52 - ``value_bits`` beyond, where a float64
has no more to give.  This module knows no scale, weight or bound.
"""

from __future__ import annotations

from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from secagg.prg import Keystream
from secagg.ring import RingVector

BLOCK: Final = 1 << 15
"""Values that are rounded at a time: 256 KiB of float64, so that they stay in the
second-level cache, and a call of numpy costs little beside its work."""
_DRAW_BITS: Final = 32
_DRAW_BYTES: Final = _DRAW_BITS // 8

Block: TypeAlias = NDArray[np.float64]


def fraction_bits(value_bits: int) -> int:
    """Return f: fractional bits that are kept of a value before the draw."""
    return min(_DRAW_BITS, 52 - value_bits)


class Rounding:
    """The rounding of one vector, block after block.

    Args:
        key: 32 fresh random bytes; the draws are their keystream.
        value_bits: b; values lie strictly between -2^(b-1) and 2^(b-1).
        most: Largest block.
    """

    def __init__(self, key: bytes, value_bits: int, most: int = BLOCK) -> None:
        self._draws = Keystream(key, most * _DRAW_BYTES)
        self._bits = fraction_bits(value_bits)
        # A float64 between 2^(52-f) and 2^(53-f) counts in steps of 2^-f, and is its
        # own fixed-point number but for a pattern on top.
        offset = 1.5 * 2.0 ** (52 - self._bits)
        self._offset = int(offset)
        # The offset ends in 32 zero bits, which each block's draws replace: that is
        # offset + u 2^-f, and copying is quicker than adding.
        self._addend = np.full(most, offset, dtype="<f8")
        self._low = self._addend.view("<u4")[::2]
        self._pattern = int(np.array(offset).view(np.int64)) >> self._bits

    def into(self, block: Block, words: RingVector) -> None:
        """Round a block to integers in two's complement.

        Args:
            block: shape (count,), count <= ``most``; overwritten.
            words: shape (count,), 16, 32 or 64 bits each, little-endian; receives q
                modulo 2^w.
        """
        count, size = len(block), words.dtype.itemsize
        draws = self._draws.take(count, _DRAW_BITS)
        if self._bits < _DRAW_BITS:
            draws >>= _DRAW_BITS - self._bits
        np.copyto(self._low[:count], draws)
        np.add(block, self._addend[:count], out=block)
        fixed, added = block.view("<i8"), self._pattern  # pattern 2^f + Y + u
        if size == 4 and self._bits >= 22:  # offset + q < 2^(53-f) fits 31 bits
            np.copyto(words.view("<i4"), block, casting="unsafe")
            added = self._offset
        elif size == 2:  # then f = 32: the upper half holds pattern + q
            np.copyto(words, fixed.view("<u2")[2::4])
        else:
            np.right_shift(fixed, self._bits, out=fixed)
            np.copyto(words, fixed.view("<u8"), casting="unsafe")
        words -= words.dtype.type(added & ((1 << 8 * size) - 1))
