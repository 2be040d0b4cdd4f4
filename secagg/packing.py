"""Words packed to r bits each, little-endian: value i fills bits [i r, (i + 1) r).

The words of 16 or 32 bits are first joined with their neighbours, while 64 bits hold
both; some of these then share a boundary with 64-bit words of the result, which are put
together by shifts.

This module packs only; what the values mean, and how they are read, is ``ring``'s.
"""

from __future__ import annotations

import math
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

_BLOCK: Final = 1 << 16  # values packed at a time; what that takes stays in cache

Words: TypeAlias = NDArray[np.uint16 | np.uint32 | np.uint64]


def pack(words: Words, bits: int, packed: NDArray[np.uint8]) -> None:
    """Pack words; unused bits of the last byte become zero.

    Args:
        words: shape (count,), little-endian, of 16, 32 or 64 bits; bits above ``bits``
            are dropped.
        bits: r, fewer than a word has.
        packed: shape (octets,), as many as that takes; receives the result.  It may lie
            in the memory of the words if it begins no later than they do: a block's end
            never passes that of its words.
    """
    count, width = len(words), 8 * words.itemsize
    common = math.gcd(bits, 64)
    per_group, group_words = 64 // common, bits // common  # that share a boundary
    groups = count // per_group
    whole = packed[: 8 * groups * group_words].view("<u8").reshape(groups, group_words)
    step = _BLOCK // per_group  # groups of a block
    lanes = _Lanes(bits, width, min(step, max(groups, 1)))
    for left in range(0, groups, step):
        right = min(left + step, groups)
        some = words[left * per_group : right * per_group]
        lanes.pack(some, whole[left:right])
    rest = words[groups * per_group :]
    if len(rest):
        last = np.empty((1, group_words), dtype="<u8")
        lanes.pack(np.pad(rest, (0, per_group - len(rest))), last)
        end = packed[8 * groups * group_words :]
        end[:] = last.view(np.uint8)[0, : len(end)]


class _Lanes:
    """Room to pack some groups of values, used again and again.

    Neighbours are joined until 64 bits hold no more, ``joined`` values in R bits.  Then
    value j of all groups stands in one row: short strides are what makes it quick.
    """

    def __init__(self, bits: int, width: int, groups: int) -> None:
        self._bits, self._width = bits, width
        self._joined = 64 // width * bits  # R
        common = math.gcd(self._joined, 64)
        self._per_group, group_words = 64 // common, self._joined // common
        self._wide = np.empty(groups * self._per_group, dtype="<u8")
        self._rows = np.empty((self._per_group, groups), dtype="<u8")
        self._target = np.empty((group_words, groups), dtype="<u8")

    def pack(self, words: Words, packed: NDArray[np.uint64]) -> None:
        """Pack whole groups.

        Args:
            words: shape (groups * values of a group,).
            packed: shape (groups, words of a group); receives the result.
        """
        size, per_group = len(packed), self._per_group
        rows, target = self._rows[:, :size], self._target[:, :size]
        np.copyto(rows, self._join(words).reshape(size, per_group).T)
        spare = self._wide[:size]
        filled = -1  # the last word of a group that holds anything
        for j, row in enumerate(rows):
            word, offset = divmod(j * self._joined, 64)
            if word > filled:  # offset is 0
                np.copyto(target[word], row)
            else:
                np.left_shift(row, offset, out=spare)
                np.bitwise_or(target[word], spare, out=target[word])
            filled = word
            if offset + self._joined > 64:
                np.right_shift(row, 64 - offset, out=target[word + 1])
                filled = word + 1
        np.copyto(packed, target.T)

    def _join(self, words: Words) -> NDArray[np.uint64]:
        """Return neighbours joined in 64 bits; all bits above them are zero."""
        bits, width, joined = self._bits, self._width, words
        if width == 64:
            whole = self._wide[: len(words)]
            np.bitwise_and(words, (1 << bits) - 1, out=whole)
            return whole
        while width < 64:
            kind = np.dtype(f"<u{width // 4}")
            pairs, mask = joined.view(kind), (1 << bits) - 1
            low = self._wide.view(kind)[: len(pairs)]
            high = self._rows.reshape(-1).view(kind)[: len(pairs)]
            np.right_shift(pairs, width - bits, out=high)
            np.bitwise_and(high, mask << bits, out=high)
            np.bitwise_and(pairs, mask, out=low)
            np.bitwise_or(low, high, out=low)
            joined, bits, width = low, 2 * bits, 2 * width
        return joined.view("<u8")
