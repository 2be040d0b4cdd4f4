"""Noise correlated over rounds by a banded square root of the prefix sums.

What training releases are prefix sums of the rounds' updates, A G with A the n x n
lower triangle of ones. Factored as A = B C, the mechanism is B (C G + Z), which equals
A (G + C^-1 Z): the noise of a round is C^-1 Z, and everything is a function of C G + Z,
one Gaussian mechanism for the whole run (Denisov et al., arXiv:2202.08312, also where
rounds depend on earlier releases, since C is lower triangular).

C here: the square root of A is Toeplitz, with the coefficients binom(2j, j) / 4^j of
1 / sqrt(1 - x) (Fichtenberger, Henzinger, Upadhyay, arXiv:2202.11205); only its first
``bands`` diagonals are kept (Kalinin and Lampert, arXiv:2405.13763: banded square
root), and each column is divided by its norm. It is not the optimum of Choquette-Choo
et al. (arXiv:2306.08153), which takes a numeric search; the sensitivity is theirs.
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
class Banded:
    """A strategy C with bands; one band is independent noise in every round.

    Attributes:
        participation: the limits.
        bands: diagonals of C, the main one included; at most the separation, so that
            the columns of a client's rounds are orthogonal.
    """

    participation: Participation
    bands: int

    def __post_init__(self) -> None:
        if not 1 <= self.bands <= self.participation.separation:
            raise ParameterError(
                f"bands={self.bands} must be in 1 to the separation of a client's "
                f"rounds, {self.participation.separation}."
            )

    @property
    def sensitivity(self) -> float:
        """Return how far one client moves C G in L2, if it adds 1 at most to a round.

        Its rounds are ``bands`` or more apart, so their columns of C share no row, and
        each has norm 1: sqrt(k). In general it is the largest root of the sum over i, j
        of |(C^T C)_ij| among a client's rounds (arXiv:2306.08153, equation 5).
        """
        return math.sqrt(self.participation.count)

    def noises(self, draw: Callable[[int], Vector]) -> Iterator[Vector]:
        """Yield the noise of each round, row by row of C^-1 Z.

        Args:
            draw: gives row i of Z; called once for each, in order.

        Yields:
            As many as there are rounds, each of the shape that `draw` gives.
        """
        coefficients, norms = self._coefficients(), self._norms()
        earlier: list[Vector] = []  # the last ones, latest first, undivided
        for index, norm in enumerate(norms):
            row = draw(index)
            for weight, known in zip(coefficients[1:], earlier, strict=False):
                row = row - weight * known
            earlier = [row, *earlier[: self.bands - 2]] if self.bands > 1 else []
            yield norm * row

    def variances(self) -> Vector:
        """Return the variance of the noise of each prefix sum, for Z of variance 1."""
        norms = self._norms()
        rounds = len(norms)
        inverse = self._inverse(rounds)
        total = np.zeros(rounds)
        for first in range(rounds):
            total[first:] += (
                np.cumsum(norms[first:] * inverse[: rounds - first]) ** 2
            )  # what row `first` of Z adds to each later prefix
        return total

    def _coefficients(self) -> Vector:
        steps = np.arange(1, self.bands)
        return np.concatenate([[1.0], np.cumprod((2 * steps - 1) / (2 * steps))])

    def _norms(self) -> Vector:
        """Return the norms of the columns before division; the last ones are cut."""
        squares = np.cumsum(self._coefficients() ** 2)
        rounds = self.participation.rounds
        left = np.minimum(self.bands, rounds - np.arange(rounds))
        return np.asarray(np.sqrt(squares[left - 1]))

    def _inverse(self, length: int) -> Vector:
        """Return the coefficients of the inverse of the undivided Toeplitz matrix."""
        coefficients, found = self._coefficients(), np.zeros(length)
        found[0] = 1.0
        for index in range(1, length):
            reach = min(index, self.bands - 1)
            past = found[index - reach : index][::-1]
            found[index] = -(coefficients[1 : reach + 1] @ past)
        return found
