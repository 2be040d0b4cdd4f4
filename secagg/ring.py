"""Integers modulo 2^r for r up to 64, computed in a native word and packed to r bits.

Sums and masks are computed modulo 2^w in the smallest native word w >= r (16, 32 or
64 bits): 2^r divides 2^w, so the low r bits of the result are the result modulo 2^r
and no reduction is needed on the way.  Only those r bits go on the wire, in
little-endian bit order: value i fills bits [i r, (i + 1) r) of the stream, as in the
vectors of google/federated-compute (``secagg_vector_test.cc``).

This module draws no randomness and knows nothing of floats.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from secagg.errors import DecodeError, ParameterError
from secagg.packing import pack

WORD_BITS: Final = (16, 32, 64)
_BLOCK: Final = 1 << 16  # values packed at a time, in up to 64 rows

RingVector: TypeAlias = NDArray[np.uint16 | np.uint32 | np.uint64]
"""One word per element, dtype ``Ring.dtype``; bits above r are meaningless."""


@dataclass(frozen=True, slots=True)
class Ring:
    """The integers modulo ``2**bits``.

    Raises:
        ParameterError: ``bits`` is not in 1..64 (caller).
    """

    bits: int

    def __post_init__(self) -> None:
        if not 1 <= self.bits <= 64:
            raise ParameterError(
                f"ring bits={self.bits} must lie in 1..64.", argument="bits"
            )

    @property
    def word(self) -> int:
        """Bits of the native word that arithmetic runs in."""
        return next(width for width in WORD_BITS if width >= self.bits)

    @property
    def dtype(self) -> np.dtype[np.uint16 | np.uint32 | np.uint64]:
        """Little-endian unsigned type of ``word`` bits."""
        return np.dtype(f"<u{self.word // 8}")

    def zeros(self, count: int) -> RingVector:
        """Return ``count`` zero words."""
        return np.zeros(count, dtype=self.dtype)

    def from_signed(self, values: NDArray[np.int64]) -> RingVector:
        """Map signed integers to words; exact for |value| < 2^(bits - 1)."""
        # Two's complement truncated to w bits is reduction modulo 2^w.
        return values.astype("<i8", copy=False).view("<u8").astype(self.dtype)

    def reduce(self, words: RingVector) -> NDArray[np.uint64]:
        """Return the canonical representatives in 0..2^bits - 1 as uint64."""
        return words.astype("<u8") & np.uint64((1 << self.bits) - 1)

    def center(self, words: RingVector) -> NDArray[np.int64]:
        """Return the representatives in -2^(bits-1)..2^(bits-1) - 1 as int64."""
        shift = np.uint64(64 - self.bits)
        # Move the ring's sign bit to bit 63; the arithmetic shift back extends it.
        return (words.astype("<u8") << shift).view("<i8") >> np.int64(shift)

    def packed_bytes(self, count: int) -> int:
        """Return the bytes that ``count`` packed words take."""
        return -(-count * self.bits // 8)

    def pack(self, words: RingVector) -> bytes:
        """Pack words to r bits each; unused bits of the last byte are zero."""
        return bytes(self.pack_view(words))

    def pack_view(self, words: RingVector) -> memoryview:
        """Return the same, but where r is the word's width without a copy."""
        if self.bits == self.word:
            plain = np.ascontiguousarray(words, dtype=self.dtype)
            return plain.data.cast("B")
        return pack(words, self.bits)

    def unpack(self, data: bytes | memoryview, count: int) -> RingVector:
        """Read ``count`` words; the inverse of ``pack``.

        Raises:
            DecodeError: The length is wrong or a padding bit is set (peer).
        """
        need = self.packed_bytes(count)
        if len(data) != need:
            raise DecodeError(f"packed vector has {len(data)} bytes, expected {need}.")
        spare = need * 8 - count * self.bits
        if spare and data[-1] >> (8 - spare):
            raise DecodeError("packed vector has non-zero padding bits.")
        octets = np.frombuffer(data, dtype=np.uint8)
        if self.bits == self.word:
            return octets.view(self.dtype).copy()
        per_group, group_words = self._group()
        groups, step = -(-count // per_group), _BLOCK // per_group
        words = np.empty((groups, per_group), dtype=self.dtype)
        mask = np.uint64((1 << self.bits) - 1)
        for start in range(0, groups, step):
            size = min(step, groups - start)
            some = octets[8 * start * group_words : 8 * (start + size) * group_words]
            if len(some) < 8 * size * group_words:
                some = np.pad(some, (0, 8 * size * group_words - len(some)))
            columns = some.view("<u8").reshape(size, group_words).T.copy()
            rows = np.empty((per_group, size), dtype="<u8")
            for j, row in enumerate(rows):
                word, offset = divmod(j * self.bits, 64)
                np.right_shift(columns[word], np.uint64(offset), out=row)
                if offset + self.bits > 64:
                    row |= columns[word + 1] << np.uint64(64 - offset)
            rows &= mask
            np.copyto(words[start : start + size], rows.T, casting="unsafe")
        return words.reshape(-1)[:count]

    def _group(self) -> tuple[int, int]:
        """Return the fewest (values, 64-bit words) that share a boundary."""
        common = math.gcd(self.bits, 64)
        return 64 // common, self.bits // common
