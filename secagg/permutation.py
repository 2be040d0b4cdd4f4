"""A keyed permutation of 0..n-1 that is computed point by point: swap-or-not.

Hoang, Morris and Rogaway, "An Enciphering Scheme Based on a Card Shuffle", CRYPTO 2012.
In round i every point x has the partner K_i - x modulo n; a bit for the round and the
larger of the two says whether they change places.  A round is its own inverse, for any
n.  K_i and the bits are blocks of AES-256 under a key that follows from the seed: each
is found without the others, so k points cost O(k), whatever n.

With r rounds of random K_i and random bits, the images of any q points given in advance
are within (4 n^1.5 / (r + 2)) ((n + q) / (2 n))^(r/2 + 1) of uniform (their bound for
points that do not depend on answers); ``rounds_for`` turns that around, and the tests
compare it with the exact distance for small n.  SHA-256 of the seed and AES-256 under
it are taken for random functions.

This module knows nothing of graphs, and keeps nothing secret: whoever has the seed has
the permutation.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, CipherContext
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import ECB

from secagg import usage

_BLOCK: Final = 128  # points whose bits come from one block of the cipher
_OFFSET: Final = (1 << 64) - 1  # the block of a round that gives K_i
_TABLED: Final = 1 << 14  # up to so many points, all bits are drawn at once


@dataclass(frozen=True, slots=True)
class Permutation:
    """A permutation of 0..size-1.

    Attributes:
        size: n, 1..2^32.
        rounds: r, from ``rounds_for``.
        seed: 32 bytes.
    """

    size: int
    rounds: int
    seed: bytes = field(repr=False)

    def images(self, points: Iterable[int]) -> list[int]:
        """Map points in 0..size-1 to their images, in the same order."""
        return self.drawn().images(points)

    def points(self, images: Iterable[int]) -> list[int]:
        """Map images back to their points, in the same order."""
        return self.drawn().points(images)

    def drawn(self) -> Shuffle:
        """Return the same with all K_i drawn, for who maps more than once."""
        key = usage.digest(usage.TAG_GRAPH_ORDER, self.seed)
        # ECB is the bare cipher here, at counters of which none occurs twice.
        cipher = Cipher(AES(key), ECB()).encryptor()
        rounds = range(self.rounds)
        blocks = _encrypt(cipher, rounds, [_OFFSET])
        # Off uniform by less than 2^-96 for any n that is allowed.
        offsets = tuple(
            int.from_bytes(blocks[start : start + 16], "little") % self.size
            for start in range(0, len(blocks), 16)
        )
        table: list[bytes] = []
        if self.size <= _TABLED:
            table = _bits(cipher, rounds, range(-(-self.size // _BLOCK)))
        return Shuffle(self.size, offsets, table, cipher)


@dataclass(frozen=True, slots=True)
class Shuffle:
    """A permutation with what its rounds take drawn beforehand.

    Attributes:
        size: n.
        offsets: K_i of each round.
        table: The bits of all points by round; empty where n is too large for that.
        cipher: Draws the bits then.
    """

    size: int
    offsets: tuple[int, ...] = field(repr=False)
    table: Sequence[bytes] = field(repr=False)
    cipher: CipherContext = field(repr=False)

    def images(self, points: Iterable[int]) -> list[int]:
        """Map points to their images, in the same order."""
        return self._through(range(len(self.offsets)), points)

    def points(self, images: Iterable[int]) -> list[int]:
        """Map images back to their points, in the same order."""
        return self._through(range(len(self.offsets))[::-1], images)

    def _through(self, rounds: range, points: Iterable[int]) -> list[int]:
        moved, size = list(points), self.size
        for at in rounds:
            offset = self.offsets[at]
            if self.table:
                bits = self.table[at]
                moved = [
                    y if bits[x if x > (y := (offset - x) % size) else y] else x
                    for x in moved
                ]
                continue
            partners = [(offset - x) % size for x in moved]
            larger = [max(x, y) for x, y in zip(moved, partners, strict=True)]
            blocks = sorted({z // _BLOCK for z in larger})
            (found,) = _bits(self.cipher, [at], blocks)
            start = {block: _BLOCK * i for i, block in enumerate(blocks)}
            moved = [
                y if found[start[z // _BLOCK] + z % _BLOCK] else x
                for x, y, z in zip(moved, partners, larger, strict=True)
            ]
        return moved


def _encrypt(
    cipher: CipherContext, rounds: Sequence[int], blocks: Sequence[int]
) -> bytes:
    """Return one block of the cipher for each round and number of a block."""
    counters = np.empty((len(rounds), len(blocks), 2), dtype="<u8")
    counters[:, :, 0] = np.asarray(rounds, dtype=np.uint64)[:, None]
    counters[:, :, 1] = np.asarray(blocks, dtype=np.uint64)
    return cipher.update(counters.tobytes())


def _bits(
    cipher: CipherContext, rounds: Sequence[int], blocks: Sequence[int]
) -> list[bytes]:
    """Return for each round one byte, 0 or 1, for each point of the blocks."""
    drawn = np.frombuffer(_encrypt(cipher, rounds, blocks), dtype=np.uint8)
    bits = np.unpackbits(drawn.reshape(len(rounds), -1), axis=1, bitorder="little")
    return [row.tobytes() for row in bits]


def rounds_for(size: int, places: int, *, closeness: int) -> int:
    """Return rounds that bring what is mapped to ``places`` places close to uniform.

    Guarantee: the probability of a union of up to size^2 events, each of which depends
    on who is mapped to so many places only, is off by at most 2^-closeness.  Who is
    mapped to all other places says as much.

    The bound in the module's docstring holds if (r/2 + 1) log2(2 n / (n + q)) is at
    least closeness + 4 log2(n), since 2 + 3.5 log2(n) < 4 log2(n) + log2(r + 2); and
    log2(2 n / (n + q)) >= (n - q) / (2 n ln 2) > 9 (n - q) / (12.5 n).  Here q is the
    number of the places or of all others, whichever is smaller.
    """
    fewer = min(places, size - places)
    bits = closeness + 4 * size.bit_length()
    return -(-25 * bits * size // (9 * (size - fewer)))
