"""The sum of the uploads while they arrive, in the memory that its ring needs.

A ring of 33 to 48 bits is computed in words of 64, but while uploads are added its sum
is kept in 48: each block of values as its low 32 bits, then its next 16.  A block is
put together, added to, and taken apart while it is in cache.  Beside an upload in hand
that is what keeps a server within three models of 4 bytes a value; in the end, when
there is no upload any more, the same memory grows to whole words in place.  It takes
about a nanosecond a value more, so short vectors are added in whole words.

This module takes off no mask and reads no value.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray

from secagg.ring import Ring, RingVector

_BLOCK: Final = 1 << 15  # values; their 64-bit words stay in the second-level cache
_LEAST: Final = 1 << 22  # values from which on memory matters: 32 MiB of words
_NARROW_BITS: Final = 48
_NARROW_BYTES: Final = _NARROW_BITS // 8


class UploadSum:
    """The sum of packed words; it takes no memory before the first are added.

    Args:
        ring: What is added modulo.
        count: Words of an upload.
    """

    def __init__(self, ring: Ring, count: int) -> None:
        self._ring, self._count = ring, count
        self._narrow = 32 < ring.bits <= _NARROW_BITS and count >= _LEAST
        self.clear()

    def __len__(self) -> int:
        """Return how many words are held: all of them, or none."""
        return self._count if len(self._held) else 0

    def clear(self) -> None:
        """Drop what was added."""
        self._held = self._ring.zeros(0)

    def add(self, packed: bytes | memoryview) -> None:
        """Add one upload.

        Raises:
            DecodeError: The length is wrong or a padding bit is set; nothing was added
                (peer).
        """
        self._ring.check_packed(packed, self._count)
        if not len(self._held):
            octets = self._count * _NARROW_BYTES
            room = -(-octets // 8) if self._narrow else self._count
            self._held = self._ring.zeros(room)
        if not self._narrow:
            self._ring.add_from(self._held, packed)
            return
        view, scratch = memoryview(packed), np.empty(_BLOCK, dtype="<u8")
        for start, low, high in self._blocks():
            words = scratch[: len(low)]
            np.copyto(words, low)
            self._ring.add_from(words, view[start * self._ring.bits // 8 :])
            np.copyto(low, words, casting="unsafe")
            np.add(high, words.view("<u2")[2::4], out=high)  # with what low carries

    def take(self) -> RingVector:
        """Return the sum, shape (count,), and forget it."""
        held = self._held
        if self._narrow and len(held):
            held.resize(self._count, refcheck=False)  # no view of it is left
            scratch = np.empty(_BLOCK, dtype="<u8")
            # From the back: a block ends up behind all that were not yet moved.
            for start, low, high in reversed(list(self._blocks())):
                words = scratch[: len(low)]
                np.copyto(words, low)
                words.view("<u2")[2::4] = high
                held[start : start + len(words)] = words
        self.clear()
        return held

    def _blocks(
        self,
    ) -> Iterator[tuple[int, NDArray[np.uint32], NDArray[np.uint16]]]:
        """Yield where each block starts, its low halves, and what is above them."""
        octets = self._held.view(np.uint8)
        for start in range(0, self._count, _BLOCK):
            size = min(_BLOCK, self._count - start)
            middle = _NARROW_BYTES * start + 4 * size
            low = octets[_NARROW_BYTES * start : middle].view("<u4")
            yield start, low, octets[middle : middle + 2 * size].view("<u2")
