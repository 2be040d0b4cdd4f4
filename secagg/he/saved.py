"""What SEAL saves, written and read in memory: its headers, its arrays, its seeds.

``sealapi`` hands out an object's coefficients one by one, or all of them into a file.
Where files can lie in memory (Linux) and what is in them can be decompressed (SEAL
packs all that it saves, by Zstandard where it was built with it), the second way is
five times as fast.  Nothing here reads bytes of a peer: what is parsed, the SEAL of
this process has just written.

Layout (SEAL 4, ``serialization.h``, ``ciphertext.cpp``, ``plaintext.cpp``): a header of
16 bytes, behind it what it says is packed; arrays have a header of their own, a count
of 8 bytes, and little-endian words of 64 bits.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from secagg.ciphertext import SEED_BYTES

_MAGIC: Final = 0xA15E
_VERSION: Final = (4, 3)  # of what is written; any 4.x is read
_HEADER: Final = struct.Struct("<HBBBBHQ")  # magic, own size, version, packing, 0, size
_PLAIN, _ZLIB, _ZSTANDARD = range(3)  # kinds of packing
_CIPHERTEXT: Final = struct.Struct("<4QBQQQdQ")  # before the array
_PLAINTEXT: Final = struct.Struct("<4QQd")
_COUNT: Final = struct.Struct("<Q")
_BLAKE2XB: Final = 1
_PROC: Final = Path("/proc/self/fd")

Words = NDArray[np.uint64]


class UnknownFormatError(ValueError):
    """SEAL saves otherwise than this module knows; it never leaves ``he.seal``."""


class MemoryFile:
    """Two files in memory, of which SEAL gets the paths; opened by ``memory_file``.

    One is for what SEAL reads and one for what it saves, which it begins anew each
    time.
    """

    __slots__ = ("_read", "_read_path", "_unpacker", "_written", "path")

    def __init__(self, written: int, read: int) -> None:
        self._written, self._read = written, read
        self._unpacker = _unpacker()
        self.path, self._read_path = str(_PROC / str(written)), str(_PROC / str(read))

    def put(self, content: bytes) -> None:
        """Write what SEAL finds at ``path``, in place of what there was."""
        if os.fstat(self._written).st_size != len(content):
            os.ftruncate(self._written, len(content))
        os.pwrite(self._written, content, 0)

    def patch(self, content: bytes, at: int) -> None:
        """Write over a part."""
        os.pwrite(self._written, content, at)

    def saved(self, savable: Any, most: int) -> bytes:
        """Return what an object of SEAL saves, unpacked; at most so many bytes.

        Raises:
            UnknownFormatError: It is packed in an unknown way.
        """
        savable.save(self._read_path)
        data = os.pread(self._read, os.fstat(self._read).st_size, 0)
        packing, body = _split(data)
        if packing == _PLAIN:
            return bytes(body)
        if packing == _ZLIB:
            return zlib.decompressobj().decompress(body, most)
        if packing != _ZSTANDARD or self._unpacker is None:
            raise UnknownFormatError
        whole: bytes = self._unpacker.decompress(body, max_output_size=most)
        return whole


@contextmanager
def memory_file() -> Iterator[MemoryFile | None]:
    """Open files in memory; None where the platform has none.

    They are opened for each task, as processes that fork would share them.
    """
    if not hasattr(os, "memfd_create") or not _PROC.is_dir():
        yield None
        return
    with ExitStack() as opened:
        numbers = []
        for _ in range(2):
            numbers.append(os.memfd_create("blindsum"))
            opened.callback(os.close, numbers[-1])
        yield MemoryFile(*numbers)


def ciphertext_bytes(
    parms: list[int], words: Words, seed: bytes = b"", *, scale: float | None = None
) -> bytes:
    """Return a ciphertext as SEAL saves it, not packed.

    Args:
        parms: Identity of the parameters.
        words: shape (2, primes, N); c0 alone, shape (1, primes, N), before a seed.
        seed: 64 bytes, the last ones; or none.
        scale: of CKKS, whose words are points; None for BFV, whose are coefficients.
    """
    _, primes, degree = words.shape
    points, factor = (0, 1.0) if scale is None else (1, scale)
    outer = _CIPHERTEXT.pack(*parms, points, 2, degree, primes, factor, 1)
    array = _framed(_COUNT.pack(words.size) + words.astype("<u8", copy=False).tobytes())
    info = _framed(bytes([_BLAKE2XB]) + seed) if seed else b""
    return _framed(outer + array + info)


def ciphertext_words(body: bytes, primes: int, degree: int) -> Words:
    """Return the coefficients of a ciphertext, shape (2, primes, N), read-only."""
    return _array(body, _CIPHERTEXT.size, 2 * primes * degree).reshape(
        2, primes, degree
    )


def seeded_words(body: bytes, primes: int, degree: int) -> tuple[Words, bytes]:
    """Return c0, shape (primes, N), read-only, and the seed that c1 is drawn from."""
    words = _array(body, _CIPHERTEXT.size, primes * degree).reshape(primes, degree)
    packing, info = _split(body[-_HEADER.size - 1 - SEED_BYTES :])
    if packing != _PLAIN or info[0] != _BLAKE2XB:
        raise UnknownFormatError
    return words, bytes(info[1:])


def plaintext_words(body: bytes, count: int) -> Words:
    """Return the coefficients of a plaintext, shape (count,), read-only."""
    return _array(body, _PLAINTEXT.size, count)


def most_bytes(words: int) -> int:
    """Return a bound on the bytes of an object of so many words."""
    return 8 * words + 512


def _array(body: bytes, at: int, count: int) -> Words:
    start = at + _HEADER.size + _COUNT.size
    if len(body) < start + 8 * count:
        raise UnknownFormatError
    magic, _, _, _, packing, _, _ = _HEADER.unpack_from(body, at)
    (stored,) = _COUNT.unpack_from(body, at + _HEADER.size)
    if (magic, packing, stored) != (_MAGIC, _PLAIN, count):
        raise UnknownFormatError
    return np.frombuffer(body, dtype="<u8", count=count, offset=start)


def _split(data: bytes) -> tuple[int, memoryview]:
    """Return how the rest of the bytes is packed, and the rest."""
    if len(data) < _HEADER.size:
        raise UnknownFormatError
    magic, own, major, _, packing, _, size = _HEADER.unpack_from(data)
    if (magic, own, major, size) != (_MAGIC, _HEADER.size, _VERSION[0], len(data)):
        raise UnknownFormatError
    return packing, memoryview(data)[_HEADER.size :]


def _framed(body: bytes) -> bytes:
    total = _HEADER.size + len(body)
    return _HEADER.pack(_MAGIC, _HEADER.size, *_VERSION, _PLAIN, 0, total) + body


def _unpacker() -> Any:
    """Return what undoes Zstandard; None where the package is missing."""
    try:
        from zstandard import ZstdDecompressor
    except ImportError:
        return None
    return ZstdDecompressor()
