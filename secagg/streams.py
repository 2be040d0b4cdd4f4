"""The masking kernel: many keys' streams, added to a vector where they are made.

The vector is taken in segments (``ciphers``), and all keys for each segment, so that
the sums stay in the second-level cache: one pass over memory, whatever the number of
keys.  Several threads take disjoint ranges of segments (``threads``); cipher and
addition release the interpreter's lock.  Addition modulo 2^w does not care for order,
so the result is the same for any number of threads.  docs/performance.md says what
limits it.

This module derives no keys and does not know whose they are.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, TypeAlias

import numpy as np

from secagg.ciphers import (
    KEY_BYTES,
    MAX_BYTES,
    SEGMENT_BYTES,
    SLACK_BYTES,
    Write,
    arguments,
    open_stream,
)
from secagg.errors import ParameterError
from secagg.ring import RingVector
from secagg.threads import run
from secagg.usage import AES_256_CTR, check_cipher

_STREAM_BYTES_PER_THREAD: Final = 1 << 25  # 4 ms of work; a thread costs 0.1 ms
_ZEROS: Final = memoryview(bytes(SEGMENT_BYTES))

SignedKey: TypeAlias = tuple[bytes, int]
"""32 bytes used for no other stream, and +1 or -1."""


def add_streams(
    total: RingVector,
    keys: Sequence[SignedKey],
    *,
    cipher: str = AES_256_CTR,
    threads: int | None = None,
) -> None:
    """Add each key's stream, times its sign, to a vector in place, modulo 2^w.

    Element i receives word i of each stream, read little-endian in ``total.dtype``.
    The result is the same for any number of threads and any order of the keys.  Beside
    the vector, each thread takes one segment and the keys' cipher contexts.

    Args:
        total: shape (count,), contiguous, little-endian unsigned of 16, 32 or 64 bits.
        keys: 32 bytes each, and +1 or -1.
        cipher: ``"aes-256-ctr"`` or ``"chacha20"``.
        threads: At least 1; by default ``BLINDSUM_THREADS``, or two if there are two
            cores, but no more than the work is worth (one below 64 MiB of streams).

    Raises:
        ParameterError: A key is not 32 bytes, a sign is neither, the cipher is unknown,
            the vector is not as above or longer than a stream, or the number of threads
            is not a positive integer (caller).
    """
    _check(total, keys, cipher)
    run(
        lambda ranges: _add_ranges(total, keys, cipher, ranges),
        -(-total.nbytes // SEGMENT_BYTES),
        worth=total.nbytes * len(keys) // _STREAM_BYTES_PER_THREAD,
        threads=threads,
    )


def stream_words(
    key: bytes, count: int, word_bits: int, *, cipher: str = AES_256_CTR
) -> RingVector:
    """Return the first ``count`` words of 16, 32 or 64 bits of a key's stream.

    Raises:
        ParameterError: As ``add_streams`` (caller).
    """
    words: RingVector = np.zeros(count, dtype=f"<u{word_bits // 8}")
    add_streams(words, [(key, 1)], cipher=cipher)
    return words


def _add_ranges(
    total: RingVector, keys: Sequence[SignedKey], cipher: str, ranges: Iterator[range]
) -> None:
    """Add all streams to the words of some segments."""
    words = SEGMENT_BYTES // total.itemsize
    longest = min(SEGMENT_BYTES, total.nbytes)
    held = memoryview(bytearray(longest + SLACK_BYTES))
    stream: RingVector = np.frombuffer(held, total.dtype, longest // total.itemsize)
    steps: list[tuple[Write, np.ufunc]] = []
    following = -1  # the segment that the streams stand before
    for segments in ranges:
        if segments.start != following:
            start = segments.start
            steps = [
                (open_stream(cipher, key, start), np.add if up == 1 else np.subtract)
                for key, up in keys
            ]
        following = segments.stop
        for segment in segments:
            part = total[segment * words : (segment + 1) * words]
            size = part.nbytes
            call = arguments(cipher, segment, _ZEROS[:size], held[: size + SLACK_BYTES])
            addend = stream[: len(part)]
            for write, combine in steps:
                write(*call)
                combine(part, addend, part)


def _check(total: RingVector, keys: Sequence[SignedKey], cipher: str) -> None:
    if total.dtype.str not in ("<u2", "<u4", "<u8") or total.ndim != 1:
        raise ParameterError(
            f"total has dtype {total.dtype} and shape {total.shape}; pass a flat "
            "little-endian vector of 16, 32 or 64 unsigned bits.",
            argument="total",
        )
    if not (total.flags.c_contiguous and total.flags.writeable):
        raise ParameterError(
            "total must be contiguous and writeable; pass a copy.", argument="total"
        )
    if total.nbytes > MAX_BYTES[check_cipher(cipher)]:
        raise ParameterError(
            f"total has {total.nbytes} bytes, one key of {cipher} gives "
            f"{MAX_BYTES[cipher]}; use cipher={AES_256_CTR!r}.",
            argument="total",
        )
    for key, sign in keys:
        if len(key) != KEY_BYTES:
            raise ParameterError(
                f"a stream key has {KEY_BYTES} bytes, got {len(key)}.", argument="keys"
            )
        if sign not in (1, -1):
            raise ParameterError(f"sign={sign} must be 1 or -1.", argument="keys")
