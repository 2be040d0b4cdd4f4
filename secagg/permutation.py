"""A keyed permutation of 0..n-1 that is computed point by point: swap-or-not.

Hoang, Morris and Rogaway, "An Enciphering Scheme Based on a Card Shuffle", CRYPTO 2012.
In round i every point x has the partner K_i - x modulo n; a hash of the round and of
the larger of the two says whether they change places.  A round is its own inverse, for
any n, and nothing is tabulated.

With r rounds of random K_i and random bits, the images of any q points given in advance
are within (4 n^1.5 / (r + 2)) ((n + q) / (2 n))^(r/2 + 1) of uniform (their bound for
points that do not depend on answers); ``rounds_for`` turns that around, and the tests
compare it with the exact distance for small n.  The hash is SHA-256, taken for random.

This module knows nothing of graphs, and keeps nothing secret: whoever has the seed has
the permutation.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from secagg import usage

_BLOCK: Final = 256  # points whose bits come from one hash


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
        return self._through(range(self.rounds), points)

    def points(self, images: Iterable[int]) -> list[int]:
        """Map images back to their points, in the same order."""
        return self._through(reversed(range(self.rounds)), images)

    def _through(self, rounds: Iterable[int], points: Iterable[int]) -> list[int]:
        moved, size = list(points), self.size
        for at in rounds:
            name = at.to_bytes(4, "little")
            drawn = usage.digest(usage.TAG_GRAPH_OFFSET, self.seed, name)
            offset = int.from_bytes(drawn, "little") % size  # off uniform by 2^-223
            partners = [(offset - x) % size for x in moved]
            larger = [max(x, y) for x, y in zip(moved, partners, strict=True)]
            bits = {block: self._bits(name, block) for block in _blocks(larger)}
            moved = [
                y if bits[z // _BLOCK] >> (z % _BLOCK) & 1 else x
                for x, y, z in zip(moved, partners, larger, strict=True)
            ]
        return moved

    def _bits(self, name: bytes, block: int) -> int:
        """Return one bit for each point of a block, the first one lowest."""
        number = block.to_bytes(4, "little")
        drawn = usage.digest(usage.TAG_GRAPH_SWAPS, self.seed, name, number)
        return int.from_bytes(drawn, "little")


def _blocks(points: Iterable[int]) -> set[int]:
    return {point // _BLOCK for point in points}


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
