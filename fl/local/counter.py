"""Counter-based randomness: the same words for the same key and place, in any order.

Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011,
section 3.3). A client's draws are keyed by its own seed and numbered by epoch or step
and by record, so that nothing depends on who else is drawn for, or on the machine. For
simulation only: it makes no key, mask or noise.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Words = NDArray[np.uint64]

ROUNDS = 10
_MULTIPLY = (np.uint64(0xD2511F53), np.uint64(0xCD9E8D57))
_WEYL = (np.uint64(0x9E3779B9), np.uint64(0xBB67AE85))
_LOW = np.uint64(0xFFFFFFFF)
_HALF = np.uint64(32)


def words(keys: Words, purpose: int, rows: int, columns: int) -> Words:
    """Return independent 64-bit words, one table per key.

    Guarantee: a word depends on its key, the purpose, its row and its column alone.

    Args:
        keys: (keys,) uint64.
        purpose: what the words are for, in [0, 2^32); different ones share no word.
        rows: of each table, at most 2^32; e.g. epochs or steps.
        columns: of each table, at most 2^33; e.g. records.

    Returns:
        (keys, rows, columns) uint64.
    """
    blocks = -(-columns // 2)
    shape = (len(keys), rows, blocks)
    key = keys[:, None, None]
    counter = (
        np.broadcast_to(np.arange(blocks, dtype=np.uint64), shape),
        np.broadcast_to(np.arange(rows, dtype=np.uint64)[:, None], shape),
        np.broadcast_to(np.uint64(purpose), shape),
        np.broadcast_to(np.uint64(0), shape),
    )
    low, high = philox(counter, (key & _LOW, key >> _HALF))
    return np.stack((low, high), axis=-1).reshape(len(keys), rows, -1)[..., :columns]


def uniform(drawn: Words) -> NDArray[np.float64]:
    """Return the words as numbers in [0, 1), of 53 bits: P(u < q) is q to 53 bits."""
    return (drawn >> np.uint64(11)).astype(np.float64) * 2.0**-53


def philox(
    counter: tuple[Words, Words, Words, Words], key: tuple[Words, Words]
) -> tuple[Words, Words]:
    """Return the four 32-bit words of each block, as two of 64 bits (second high).

    Args:
        counter: four arrays of words below 2^32, of one shape.
        key: two arrays of words below 2^32 that fit it.
    """
    a, b, c, d = counter
    left, right = key
    for _ in range(ROUNDS):
        one, two = a * _MULTIPLY[0], c * _MULTIPLY[1]
        a, b, c, d = (
            (two >> _HALF) ^ b ^ left,
            two & _LOW,
            (one >> _HALF) ^ d ^ right,
            one & _LOW,
        )
        left, right = (left + _WEYL[0]) & _LOW, (right + _WEYL[1]) & _LOW
    return a | b << _HALF, c | d << _HALF
