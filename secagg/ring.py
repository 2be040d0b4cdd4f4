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
from functools import lru_cache
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from secagg.errors import DecodeError, ParameterError
from secagg.packing import pack

WORD_BITS: Final = (16, 32, 64)
_BLOCK: Final = 1 << 16  # values packed or unpacked at a time

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
        packed = np.empty(self.packed_bytes(len(words)), dtype=np.uint8)
        self.pack_into(words, packed.data)
        return packed.tobytes()

    def pack_into(self, words: RingVector, view: memoryview) -> None:
        """Pack words to a place of ``packed_bytes(len(words))`` bytes.

        Args:
            words: shape (count,), of 16, 32 or 64 bits and no fewer than r.
            view: Of bytes; it may lie in the memory of the words if it begins no later
                than they do.
        """
        little = np.ascontiguousarray(words, dtype=words.dtype.newbyteorder("<"))
        if self.bits < 8 * little.itemsize:
            pack(little, self.bits, np.frombuffer(view, np.uint8))
        else:  # a memoryview copies what overlaps as it stands
            view[:] = little.data.cast("B")

    def unpack(self, data: bytes | memoryview, count: int) -> RingVector:
        """Read ``count`` words; the inverse of ``pack``.

        Raises:
            DecodeError: The length is wrong or a padding bit is set (peer).
        """
        self.check_packed(data, count)
        words = self.zeros(count)
        self.add_packed(words, data)
        if self.bits < self.word:
            words &= self.dtype.type((1 << self.bits) - 1)
        return words

    def add_packed(self, total: RingVector, data: bytes | memoryview) -> None:
        """Add packed words to as many words, in place; beside them, a block is held.

        A value of r bits lies within one load of 2, 4 or 8 bytes that starts at any
        byte.  What else was loaded ends up above the r bits, where it means nothing.

        Args:
            total: shape (count,), contiguous, dtype ``dtype``.
            data: What ``pack`` made of ``count`` words.

        Raises:
            ParameterError: ``total`` is not as above (caller).
            DecodeError: The length is wrong or a padding bit is set; nothing was added
                (peer).
        """
        if total.dtype != self.dtype or not total.flags.c_contiguous:
            raise ParameterError(
                f"total must be contiguous words of {self.word} bits.", argument="total"
            )
        self.check_packed(data, len(total))
        self.add_from(total, data)

    def add_from(self, total: RingVector, data: bytes | memoryview) -> None:
        """Add the first words of ``data`` that ``check_packed`` saw, as many as given.

        Args:
            total: As in ``add_packed``.
            data: Packed words, from one on that starts at a whole byte.
        """
        if self.bits == self.word:
            total += np.frombuffer(data, dtype=self.dtype, count=len(total))
            return
        loads = _loads(self.bits, self.word)
        # Before the end, where a load would reach beyond the data.
        whole = max(0, len(data) - loads.reach + loads.octets) // loads.octets
        whole = min(whole, len(total) // loads.values)
        self._add_groups(total[: whole * loads.values], data, loads)
        tail = total[whole * loads.values :]
        last = data[whole * loads.octets : self.packed_bytes(len(total))]
        number = int.from_bytes(last, "little")
        mask = (1 << self.bits) - 1
        rest = [number >> i * self.bits & mask for i in range(len(tail))]
        tail += np.array(rest, dtype=self.dtype)

    def _add_groups(
        self, total: RingVector, data: bytes | memoryview, loads: _Loads
    ) -> None:
        """Add whole groups: first values of all, then second ones, and so on."""
        table, span = total.reshape(-1, loads.values), _BLOCK // loads.values
        held = np.empty(min(len(table), span), dtype=loads.word)
        low = held.view(self.dtype)[:: loads.word.itemsize // self.dtype.itemsize]
        for start in range(0, len(table), span):
            some = table[start : start + span]
            shape, stride = (len(some),), (loads.octets,)
            loaded, addend = held[: len(some)], low[: len(some)]
            for j in range(loads.values):
                octet, offset = divmod(j * self.bits, 8)
                octet += start * loads.octets
                np.copyto(loaded, np.ndarray(shape, loads.word, data, octet, stride))
                if offset:
                    loaded >>= loads.word.type(offset)
                if offset + self.bits > 64:  # it ends in a ninth byte
                    last = np.ndarray(shape, np.uint8, data, octet + 8, stride)
                    loaded |= last.astype(loads.word) << np.uint64(64 - offset)
                column = some[:, j]
                column += addend

    def check_packed(self, data: bytes | memoryview, count: int) -> None:
        """Refuse what is not the one encoding of ``count`` words.

        Raises:
            DecodeError: The length is wrong or a padding bit is set (peer).
        """
        need = self.packed_bytes(count)
        if len(data) != need:
            raise DecodeError(f"packed vector has {len(data)} bytes, expected {need}.")
        spare = need * 8 - count * self.bits
        if spare and data[-1] >> (8 - spare):
            raise DecodeError("packed vector has non-zero padding bits.")

    def _group(self) -> tuple[int, int]:
        """Return the fewest (values, 64-bit words) that share a boundary."""
        common = math.gcd(self.bits, 64)
        return 64 // common, self.bits // common


@dataclass(frozen=True, slots=True)
class _Loads:
    """How packed values are read: groups of them start at whole bytes.

    Attributes:
        values: Values of a group.
        octets: Bytes of a group.
        word: What is loaded for each value, from the byte in which it starts.
        reach: Bytes from the start of a group to the end of its last load.
    """

    values: int
    octets: int
    word: np.dtype[np.uint16 | np.uint32 | np.uint64]
    reach: int


@lru_cache(maxsize=64)
def _loads(bits: int, word: int) -> _Loads:
    """Return the narrowest loads, no narrower than the native word."""
    common = math.gcd(bits, 8)
    starts = [divmod(j * bits, 8) for j in range(8 // common)]
    need = max(offset for _, offset in starts) + bits
    width = next((one for one in WORD_BITS if one >= max(need, word)), 64) // 8
    reach = starts[-1][0] + max(width, -(-need // 8))
    return _Loads(len(starts), bits // common, np.dtype(f"<u{width}"), reach)
