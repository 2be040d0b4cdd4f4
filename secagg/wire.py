"""Bytes of messages: header, bounded reader, counts.

The layout is described in ``messages``; this module knows integers and sizes only, and
raises ``DecodeError`` before it reads or allocates beyond the bytes it was given.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Final

from secagg import usage
from secagg.errors import DecodeError

HEADER_BYTES: Final = 2 + usage.DIGEST_BYTES


def header(tag: int, round_id: bytes) -> bytes:
    """Return version, tag and round id."""
    return bytes((usage.VERSION, tag)) + round_id


def split_header(data: bytes) -> tuple[int, bytes]:
    """Return tag and round id.

    Raises:
        DecodeError: The bytes are too few or of another version (peer).
    """
    if len(data) < HEADER_BYTES:
        raise DecodeError(
            f"message has {len(data)} bytes, fewer than a header's {HEADER_BYTES}."
        )
    if data[0] != usage.VERSION:
        raise DecodeError(
            f"message has version {data[0]}, expected {usage.VERSION}; use one release "
            "everywhere."
        )
    return data[1], data[2:HEADER_BYTES]


def count_prefix(count: int) -> bytes:
    """Return a count as two bytes."""
    return count.to_bytes(2, "little")


def encode_list(entries: Iterable[bytes]) -> bytes:
    """Return entries behind their count."""
    encoded = list(entries)
    return count_prefix(len(encoded)) + b"".join(encoded)


def check_sorted(indices: Sequence[int]) -> None:
    """Refuse a list that is not strictly increasing."""
    if any(a >= b for a, b in pairwise(indices)):
        raise DecodeError("a list must be sorted by client and name each once.")


def check_size(what: str, value: bytes, size: int) -> None:
    """Refuse a field that does not have its one size."""
    if len(value) != size:
        raise DecodeError(f"{what} has {len(value)} bytes, expected {size}.")


class Reader:
    """Takes fields off received bytes, front to back."""

    __slots__ = ("_at", "_data")

    def __init__(self, data: bytes, start: int) -> None:
        self._data = data
        self._at = start

    def take(self, size: int) -> bytes:
        """Return the next ``size`` bytes."""
        return bytes(self.view(size))

    def view(self, size: int) -> memoryview:
        """Return the next ``size`` bytes without copying them."""
        end = self._at + size
        if end > len(self._data):
            raise DecodeError(
                f"message ends after {len(self._data)} bytes, a field reaches to {end}."
            )
        seen = memoryview(self._data)[self._at : end]
        self._at = end
        return seen

    def u8(self) -> int:
        """Return the next byte as an integer."""
        return self.take(1)[0]

    def u16(self) -> int:
        """Return the next two bytes as an integer."""
        return int.from_bytes(self.take(2), "little")

    def u32(self) -> int:
        """Return the next four bytes as an integer."""
        return int.from_bytes(self.take(4), "little")

    def flag(self) -> bool:
        """Return the next byte as 0 or 1."""
        value = self.u8()
        if value > 1:
            raise DecodeError(f"flag has value {value}, expected 0 or 1.")
        return value == 1

    def text(self, size: int) -> str:
        """Return the next ``size`` bytes as UTF-8."""
        try:
            return self.take(size).decode()
        except UnicodeDecodeError as error:
            raise DecodeError("a name is not UTF-8.") from error

    def count(self, most: int, entry_bytes: int) -> int:
        """Return a list's length if it is allowed and its entries can be present."""
        count = self.u16()
        if count > most or count * entry_bytes > len(self._data) - self._at:
            raise DecodeError(f"list claims {count} entries, more than it may have.")
        return count

    def end(self) -> None:
        """Refuse bytes after the last field."""
        if self._at != len(self._data):
            raise DecodeError(
                f"message has {len(self._data) - self._at} trailing bytes."
            )
