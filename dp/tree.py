"""Noise correlated over rounds by a binary tree, with restarts.

Each node of the tree holds the sum of the rounds below it, with noise of its own; a
prefix sum is added up from the largest nodes that are finished. Honaker ("Efficient use
of differentially private binary trees", 2015) replaces a node by the best mean of
itself and its children, all the way down; used on finished nodes only, it needs no look
ahead, as in DP-FTRL (Kairouz et al., arXiv:2103.00039). A restart begins a new tree,
beside the total of the last one.

As matrices: C has one row per node, 1 where a round lies below it. The noisy rounds are
a function of C G + Z, one Gaussian mechanism for the whole run.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dp.errors import ParameterError
from dp.participation import Participation

Vector = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tree:
    """A strategy of binary trees, one after another.

    Attributes:
        participation: the limits.
        restart: rounds of one tree; powers of two waste nothing.
    """

    participation: Participation
    restart: int

    def __post_init__(self) -> None:
        if not 1 <= self.restart <= self.participation.rounds:
            raise ParameterError(
                f"restart={self.restart} must be in 1 to the planned rounds, "
                f"{self.participation.rounds}."
            )

    @property
    def sensitivity(self) -> float:
        """Return how far one client moves C G in L2, if it adds 1 at most to a round.

        A node that covers 2^h rounds holds at most m = ceil(2^h / b) of a client's, and
        the nodes of one height hold k together, so that the squares of what it adds to
        them sum to k m at most; this is summed over the heights. It is exact where b is
        a power of two and the rounds are k b within whole trees, and an upper bound
        else (arXiv:2103.00039, appendix D counts the worst case over patterns).
        """
        limits = self.participation
        heights = range(self.restart.bit_length())
        held = [min(limits.count, -(-(1 << h) // limits.separation)) for h in heights]
        return math.sqrt(limits.count * sum(held))

    def noises(self, draw: Callable[[int], Vector]) -> Iterator[Vector]:
        """Yield the noise of each round: by how much that of the prefix sum grows.

        Args:
            draw: gives the noise of node i, in the order in which nodes are finished,
                children before parents; called once for each.

        Yields:
            As many as there are rounds, each of the shape that `draw` gives.
        """
        node = 0
        finished: list[
            tuple[int, Vector]
        ] = []  # height and estimate, the tallest first
        ended: float | Vector = 0.0  # of the trees before
        before: float | Vector = 0.0
        for index in range(self.participation.rounds):
            if index % self.restart == 0:
                ended, finished = before, []
            height, estimate = 0, draw(node)
            node += 1
            while finished and finished[-1][0] == height:
                _, left = finished.pop()
                height += 1
                own = _own_weight(height)
                estimate = own * draw(node) + (1 - own) * (left + estimate)
                node += 1
            finished.append((height, estimate))
            prefix = ended + sum((one for _, one in finished), np.zeros_like(estimate))
            yield prefix - before
            before = prefix

    def variances(self) -> Vector:
        """Return the variance of the noise of each prefix sum, for Z of variance 1."""
        index = np.arange(self.participation.rounds)
        trees, within = index // self.restart, index % self.restart + 1
        return trees * _variance(np.array([self.restart])) + _variance(within)


def _own_weight(height: int) -> float:
    """Return the weight of a node in the best mean of it and its children.

    A leaf has variance 1; the mean of a node (1) and two children (2 v) of least
    variance gives it the weight 2 v / (1 + 2 v), which is its variance too.
    """
    return float(2.0**height / (2.0 ** (height + 1) - 1))


def _variance(rounds: NDArray[np.int64]) -> Vector:
    """Return the variance of a prefix of one tree: of a node for each binary digit."""
    heights = range(int(rounds.max()).bit_length())
    return np.asarray(sum((rounds >> h & 1) * _own_weight(h) for h in heights))
