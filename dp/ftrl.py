"""DP-FTRL: noise on sums of clients' updates, correlated over the rounds of a run.

    limits = Participation(rounds=64, separation=8, most=8)
    strategy = Banded(participation=limits, bands=8)
    mechanism = CorrelatedSum(clip_norm_l2=1.0, noise_multiplier=4.0, strategy=strategy,
                              clients=80)
    stream = mechanism.stream(length=650, sum_error=0.0, seed=None)
    mechanism.release(total, stream.at(0), sum_error=0.0)

For cohorts that are *not* sampled: nothing is assumed about who comes when, but that no
client takes part more often or sooner than planned, and `Attendance` refuses such.
Later noise takes back a part of earlier noise, so that the model, which adds the rounds
up, is disturbed less than by independent noise of the same epsilon.

The unit is the client, the relation to zero out one: places are public, and a client
that is not there leaves its own empty, so that nobody else moves. The server is
trusted: it sees each sum before the noise. Kairouz et al., arXiv:2103.00039;
Choquette-Choo et al., arXiv:2306.08153.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from dp_accounting import DpEvent
from numpy.typing import NDArray

from dp.accounting import sampled_gaussian
from dp.central import GaussianSum, add_noise, checked_clip, moved
from dp.errors import ParameterError
from dp.noise import gaussian
from dp.participation import Participation

Vector = NDArray[np.float64]


class Strategy(Protocol):
    """How noise is correlated: `dp.banded.Banded` or `dp.tree.Tree`."""

    @property
    def participation(self) -> Participation:
        """Return the limits."""

    @property
    def sensitivity(self) -> float:
        """Return how far one client moves C G, adding 1 at most to a round."""

    def noises(self, draw: Callable[[int], Vector]) -> Iterator[Vector]:
        """Yield the noise of each round from rows of independent noise."""

    def variances(self) -> Vector:
        """Return the variance of the noise of each prefix sum, for rows of 1."""


def prefix_errors(strategy: Strategy) -> Vector:
    """Return the variance of every prefix sum's noise, for noise multiplier 1.

    At equal epsilon, strategies of the same limits compare by the mean or the largest.

    Returns:
        (rounds,) float64, in units of the clip norm, squared.
    """
    return strategy.sensitivity**2 * strategy.variances()


@dataclass(frozen=True, slots=True, kw_only=True)
class CorrelatedSum:
    """A run of noisy means of clipped updates, with public constants only.

    Attributes:
        clip_norm_l2: S; every update summed is this long at most (`clip_l2`), and its
            weight is 1.
        noise_multiplier: z > 0, standard deviation over the sensitivity of the run.
        strategy: how noise is correlated, and the limits that it counts on.
        clients: n, places on the public roster, >= 1.
    """

    clip_norm_l2: float
    noise_multiplier: float
    strategy: Strategy
    clients: int

    def __post_init__(self) -> None:
        sampled_gaussian(self.noise_multiplier, 1.0)  # its range
        checked_clip(self.clip_norm_l2, self.clients)

    @property
    def event(self) -> DpEvent:
        """Return what the *whole run* spends, all planned rounds together.

        It is one Gaussian mechanism, to be reserved before the first round; the later
        rounds spend nothing more, and there are none beyond the plan.
        """
        return sampled_gaussian(self.noise_multiplier, 1.0)

    @property
    def sampling_rate(self) -> float:
        """Return 1: nothing is gained from who takes part."""
        return 1.0

    @property
    def denominator(self) -> float:
        """Return the fixed n / b by which every released sum is divided."""
        return self.clients / self.strategy.participation.separation

    @property
    def first_round(self) -> GaussianSum:
        """Return a mechanism that releases one round alone as the run its first one.

        Only its noise and denominator say something here; `event` is the run's.
        """
        first = self.strategy.sensitivity * math.sqrt(self.strategy.variances()[0])
        return GaussianSum(
            clip_norm_l2=self.clip_norm_l2,
            noise_multiplier=self.noise_multiplier * first,
            sampling_rate=1 / self.strategy.participation.separation,
            clients=self.clients,
        )

    def sensitivity(self, length: int, sum_error: float) -> float:
        """Return how far one client can move what the run's noise is added to, in L2.

        A round that it takes part in moves by S and by the rounding of two sums, as in
        `GaussianSum.sensitivity`; a round without it is computed alike in both worlds.

        Raises:
            ParameterError: the caller's: a number out of range.
        """
        return self.strategy.sensitivity * moved(self.clip_norm_l2, length, sum_error)

    def stream(
        self, *, length: int, sum_error: float, seed: bytes | None
    ) -> NoiseStream:
        """Return the noise of the run's rounds.

        Args:
            length: of an update.
            sum_error: see `GaussianSum.sensitivity`.
            seed: of this one run and no other; None in deployment. See `gaussian`.
        """
        std = self.noise_multiplier * self.sensitivity(length, sum_error)
        return NoiseStream(self.strategy, length=length, std=std, seed=seed)

    def release(
        self, total: Vector | None, noise: Vector, *, sum_error: float
    ) -> Vector:
        """Return the noisy mean change of one round.

        Guarantee: for real-valued noise, all rounds together are `event` for every
        client, if `Attendance` admitted all who were summed, and each round took its
        own noise of one stream. Spend `event` before the first.

        Args:
            total: (length,) float64, sum of the clipped updates; None if there is no
                sum. See `GaussianSum.release`.
            noise: (length,) float64, of this round, from `stream`.
            sum_error: as the stream was made for.

        Raises:
            ParameterError: the caller's: a sum of another shape, not finite, or longer
                than that of n clipped updates.
        """
        most = self.clients * moved(self.clip_norm_l2, len(noise), sum_error)
        return add_noise(total, noise, most=most, denominator=self.denominator)


class NoiseStream:
    """The noise of every round of one run; the same round has the same noise.

    With a seed, everything follows from it: a past round is computed again from the
    first one on. Without, what was handed out is gone, and only the next round is left.

    Args:
        strategy: how the rows are correlated.
        length: of an update.
        std: of the independent rows, > 0.
        seed: None for the operating system's randomness.
    """

    def __init__(
        self, strategy: Strategy, *, length: int, std: float, seed: bytes | None
    ) -> None:
        if seed is not None and not seed:
            raise ParameterError("The seed of a run's noise is empty; give bytes.")
        self._strategy, self._length, self._std = strategy, length, std
        self._seed = seed
        self._begin()

    def at(self, round: int) -> Vector:
        """Return the noise of a round, (length,) float64.

        Raises:
            ParameterError: the caller's: a round beyond the plan, or without a seed one
                that is not the next.
        """
        rounds = self._strategy.participation.rounds
        if not 0 <= round < rounds:
            raise ParameterError(
                f"round={round} is beyond the {rounds} that were planned and paid for; "
                "plan and pay for another run."
            )
        if self._seed is None and round != self._reached + 1:
            raise ParameterError(
                f"round={round} is not the next, {self._reached + 1}; noise that was "
                "handed out is gone, and none may be left out."
            )
        if round < self._reached:
            self._begin()
        while self._reached < round:
            self._last = next(self._rows)
            self._reached += 1
        return self._last.copy()

    def _begin(self) -> None:
        self._rows = self._strategy.noises(self._draw)
        self._reached = -1
        self._last = np.zeros(0)

    def _draw(self, row: int) -> Vector:
        seed = self._seed
        own = None if seed is None else seed + b"/row/" + row.to_bytes(8, "big")
        return gaussian(self._length, self._std, seed=own)
