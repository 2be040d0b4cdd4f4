"""What canary clients send, and what a score is read from.

A Dirac canary writes to a coordinate of its own, so canaries do not disturb one
another and each is seen against the noise alone. An isotropic one (Andrew et al.,
arXiv:2302.03098) sends a random direction, as spread out as real updates
are, and is read by its inner product with what is released; the other canaries are
noise to it, of variance m / (2 d) for m canaries in d parameters.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from attacks import dirac, own_coordinates
from fl.seeds import rng_for

KindName: TypeAlias = Literal["dirac", "isotropic"]
Vectors: TypeAlias = Mapping[str, NDArray[np.float32]]
Which: TypeAlias = NDArray[np.int64]

# How far a canary's update goes beyond the bound before it is clipped: a clip that is
# left out shows, and more would only be refused by what checks the sum.
LOUD: Final = 8.0


class Kind(Protocol):
    """Canary clients that can be in one sum together, by their number from 0."""

    @property
    def count(self) -> int:
        """Return how many there are."""

    def updates(self, which: Which, bound: float) -> Vectors:
        """Return the updates of these canaries by name, `LOUD` times the bound long."""

    def read(self, change: NDArray[np.floating]) -> NDArray[np.float64]:
        """Return how much of each canary is in a change of the model, (count,)."""


@dataclass(frozen=True, slots=True, eq=False)
class Dirac:
    """Canaries with a coordinate each.

    Attributes:
        places: (count,) coordinates, all different.
        length: of an update.
    """

    places: NDArray[np.int64]
    length: int

    @property
    def count(self) -> int:
        """Return how many there are."""
        return len(self.places)

    def updates(self, which: Which, bound: float) -> Vectors:
        """Return the updates of these canaries by name."""
        return {
            name_of(one): dirac(int(self.places[one]), self.length, LOUD * bound)
            for one in which.tolist()
        }

    def read(self, change: NDArray[np.floating]) -> NDArray[np.float64]:
        """Return each canary's own coordinate."""
        return change[self.places].astype(np.float64)


@dataclass(frozen=True, slots=True, eq=False)
class Isotropic:
    """Canaries with a random direction each.

    Attributes:
        directions: (count, parameters) float32, rows of norm 1.
    """

    directions: NDArray[np.float32]

    @property
    def count(self) -> int:
        """Return how many there are."""
        return len(self.directions)

    def updates(self, which: Which, bound: float) -> Vectors:
        """Return the updates of these canaries by name."""
        long = np.float32(LOUD * bound)
        return {name_of(one): long * self.directions[one] for one in which.tolist()}

    def read(self, change: NDArray[np.floating]) -> NDArray[np.float64]:
        """Return each canary's inner product with the change."""
        return np.asarray((self.directions @ change).astype(np.float64))


def make(kind: KindName, count: int, length: int, seed: int) -> Kind:
    """Return so many canaries, or as many as there are coordinates.

    Args:
        kind: of canary.
        count: how many are asked for.
        length: of an update.
        seed: of the trial; draws the directions.
    """
    count = min(count, length)
    if kind == "dirac":
        return Dirac(own_coordinates(count, length), length)
    drawn = rng_for(seed, "canary directions").normal(size=(count, length))
    drawn /= np.linalg.norm(drawn, axis=1, keepdims=True)
    return Isotropic(drawn.astype(np.float32))


def name_of(number: int) -> str:
    """Return the name of a canary client."""
    return f"canary-{number:08d}"
