"""Exact draws from secure bytes: uniform integers, coins, and inverted sums.

Three draws on arrays, without a float in the path and at no statistical distance from
what they claim, if the bytes are uniform:

    below(count, limit, rng)        uniform in 0..limit - 1, by rejection
    coin_exp(num, den, rng)         1 with probability exp(-num / den), num <= den
    Inversion(weights).draw(...)    k with probability w_k / (w_0 + ... + w_K)

The coin is that of Canonne, Kamath and Steinke, "The Discrete Gaussian for Differential
Privacy" (arXiv:2004.00010), Algorithm 1: the series of exp(-x), term by term, from
coins of rational odds.  Inversion compares a uniform real, of which bits are drawn as
needed, with sums of irrational weights that are known to any precision as intervals of
integers: almost always 64 bits decide, and where they do not, both sides get 64 more.

Nothing here takes constant time: how long a draw takes depends on what is drawn.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from dp.errors import ParameterError

Rng: TypeAlias = Callable[[int], bytes]
"""Returns so many uniform random bytes, such as `os.urandom`."""

Words: TypeAlias = NDArray[np.uint64]
Weights: TypeAlias = Callable[[int], tuple[Sequence[int], Sequence[int]]]
"""From a precision in bits to lower and upper bounds of every weight, on one scale."""

WORD_BITS: Final = 64
LIMIT_MAX: Final = 1 << 63


def below(count: int, limit: int, rng: Rng) -> Words:
    """Draw uniform integers in 0..limit - 1.

    Args:
        count: how many, >= 0.
        limit: in 1..2^63.
        rng: source of uniform bytes.

    Returns:
        (count,) uint64.

    Raises:
        ParameterError: the caller's: a limit out of range, or a source that returns
            something other than the bytes asked for.
    """
    if not 1 <= limit <= LIMIT_MAX:
        raise ParameterError(f"limit={limit} must lie in 1..2^63.")
    drawn = np.zeros(count, dtype=np.uint64)
    bits = (limit - 1).bit_length()
    if bits == 0:
        return drawn
    width = next(size for size in (1, 2, 4, 8) if 8 * size >= bits)
    mask = np.uint64((1 << bits) - 1)
    pending = np.arange(count)
    while pending.size:
        words = _words(pending.size, width, rng) & mask
        fits = words < np.uint64(limit)
        drawn[pending[fits]] = words[fits]
        pending = pending[~fits]
    return drawn


def coin_exp(num: Words, den: int, rng: Rng) -> NDArray[np.bool_]:
    """Toss coins that come up true with probability exp(-num / den).

    Args:
        num: (count,), each in 0..den.
        den: in 1..2^63.
        rng: source of uniform bytes.

    Returns:
        (count,) bool.
    """
    heads = np.zeros(len(num), dtype=np.bool_)
    pending = np.arange(len(num))
    term = 1
    while pending.size:  # P[this many terms or more] = (num / den)^k / k!
        more = below(pending.size, den, rng) < num[pending]
        if term > 1:
            more &= below(pending.size, term, rng) == 0
        heads[pending[~more]] = term % 2 == 1
        pending = pending[more]
        term += 1
    return heads


class Inversion:
    """Draws of an index, each with a probability in proportion to its weight.

    Args:
        weights: bounds of all weights at a precision; the more bits, the closer.
        first_bits: bits that are compared at first, 1..64; fewer give the same draws'
            distribution, more slowly.
    """

    def __init__(self, weights: Weights, *, first_bits: int = WORD_BITS) -> None:
        self._weights = weights
        self._first = first_bits
        low, high = self._sums(first_bits)
        self._low = np.array(low, dtype=np.uint64)
        # One less each, because the largest may be 2^64, which is no word.
        self._under = np.array([top - 1 for top in high], dtype=np.uint64)

    def draw(self, count: int, rng: Rng) -> Words:
        """Draw indices.

        Returns:
            (count,) uint64.

        Raises:
            ParameterError: the caller's: a broken source of bytes.
        """
        words = _words(count, 8, rng) >> np.uint64(WORD_BITS - self._first)
        # A word u stands for a real in [u, u + 1). The sums up to high <= u are below
        # it for certain, and the next is above it for certain if u < low.
        index = np.searchsorted(self._under, words, side="left")
        last = len(self._low)  # what is above all sums is the last index, for certain
        limits = np.append(self._low, np.uint64(0))
        unsure = (index < last) & (words >= limits[index])
        for place in np.flatnonzero(unsure):
            index[place] = self._refine(int(words[place]), rng)
        return index.astype(np.uint64)

    def _refine(self, word: int, rng: Rng) -> int:
        """Decide one draw whose first bits do not."""
        bits = self._first
        while True:
            bits += WORD_BITS
            word = word << WORD_BITS | int(_words(1, 8, rng)[0])
            low, high = self._sums(bits)
            index = bisect_right(high, word)
            if index == len(low) or word < low[index]:
                return index

    def _sums(self, bits: int) -> tuple[list[int], list[int]]:
        """Bound 2^bits (w_0 + ... + w_k) / total, for every k but the last."""
        below_each, above_each = self._weights(bits)
        least, most = list(accumulate(below_each)), list(accumulate(above_each))
        low, high = [], []
        for start_low, start_high in zip(least[:-1], most[:-1], strict=True):
            rest_low, rest_high = least[-1] - start_low, most[-1] - start_high
            low.append((start_low << bits) // (start_low + rest_high))
            high.append(-(-(start_high << bits) // (start_high + rest_low)))
        return low, high


def _words(count: int, width: int, rng: Rng) -> Words:
    """Return `count` integers of so many bytes each, as uint64."""
    data = rng(count * width)
    if not isinstance(data, bytes) or len(data) != count * width:
        raise ParameterError(
            f"rng did not return {count * width} bytes; pass os.urandom or the like."
        )
    return np.frombuffer(data, dtype=f"<u{width}").astype(np.uint64)
