"""Noise in shares: every client noises its own integers, so nobody need be trusted to.

Kairouz, Liu, Steinke, arXiv:2102.06387, as `dp.distributed` accounts for it and
`secagg` carries it. Clip, scale, ring, noise and number of clients are sized together,
from the length of the vector on: the encoder says how long a client's integers can be,
the noise of the fewest honest clients that the plan leaves in a sum hides that much,
and the ring holds what all of them can add up to.

All enrolled clients upload in every round, zeros where their own coin says so, and the
denominator is public: neither the cohort nor the sum tells who took part.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar, Final

import numpy as np
from numpy.typing import NDArray

import dp
import secagg
from dp.discrete import DiscreteGaussian, Skellam
from dp.distributed import DistributedSum
from dp.integers import Integers, rounded
from dp.sizing import noise_for
from secagg.aggregator import NOBODY, Aggregate

MECHANISMS: Final[dict[str, type[DiscreteGaussian] | type[Skellam]]] = {
    "discrete-gaussian": DiscreteGaussian,
    "skellam": Skellam,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Shares:
    """What is agreed before the length of an update is known; can be sent to a worker.

    Attributes:
        epsilon: budget of all rounds together, at `delta`.
        delta: in (0, 1).
        rounds: planned, >= 1.
        clients: n, all of whom upload.
        corrupt: A, who may collude with the server.
        drop: D, who may vanish in a round.
        rate: q, of each client's own coin.
        clip_norm_l2: bound on the norm of an update.
        value_bits: of a rounded value, before noise.
        mechanism: a name in `MECHANISMS`.
    """

    epsilon: float
    delta: float
    rounds: int
    clients: int
    corrupt: int
    drop: int
    rate: float
    clip_norm_l2: float
    value_bits: int
    mechanism: str

    @property
    def denominator(self) -> float:
        """Return the public q * n by which every sum is divided."""
        return self.rate * self.clients

    def at(self, length: int) -> DistributedSum:
        """Return the mechanism for updates of one length.

        Raises:
            dp.ParameterError: no noise that can be drawn keeps the budget.
        """
        return _sized(self, length)

    def encoder(self, length: int) -> secagg.Encoder:
        """Return how updates become integers, with room for everybody's noise."""
        return self._encoder(self.at(length).noise.bound.bit_length() + 1)

    def plan(self, length: int) -> secagg.Plan:
        """Return the plan of every round.

        Raises:
            secagg.ParameterError: there is none, or no ring of 64 bits holds a sum.
        """
        return self._plan(self.encoder(length))

    @property
    def honest(self) -> int:
        """Return h: clients whose noise is certainly in a released sum."""
        return self._plan(self._encoder(0)).honest_min

    def integers(self, length: int) -> Integers:
        """Return what one client's integers can be, before noise."""
        numbers = self._encoder(0).at(length)
        return rounded(
            # The encoder's own bound rounds every coordinate away; ours is closer.
            norm=numbers.l2_bound - math.sqrt(length),
            linf_bound=numbers.linf_bound,
            length=length,
        )

    def _plan(self, encoder: secagg.Encoder) -> secagg.Plan:
        return secagg.plan(
            clients=self.clients,
            corrupt=self.corrupt,
            drop=self.drop,
            graph="complete",
            encoder=encoder,
        )

    def _encoder(self, noise_bits: int) -> secagg.Encoder:
        return secagg.Encoder(
            clip_norm_l2=self.clip_norm_l2,
            value_bits=self.value_bits,
            weight_max=1,
            rotate=True,
            noise_bits=noise_bits,
        )


@lru_cache(maxsize=64)
def _sized(shares: Shares, length: int) -> DistributedSum:
    return noise_for(
        shares.epsilon,
        shares.delta,
        rounds=shares.rounds,
        honest=shares.honest,
        integers=shares.integers(length),
        sampling_rate=shares.rate,
        mechanism=MECHANISMS[shares.mechanism],
    )


@dataclass(frozen=True, slots=True)
class NoisedMasks:
    """The secure sum of all clients, each of which adds its share; an `Aggregator`."""

    name: ClassVar[str] = "secagg"
    shares: Shares

    def aggregate(
        self,
        vectors: Mapping[str, NDArray[np.float32]],
        weights: Mapping[str, int],
        *,
        context: bytes,
        session: bytes,
        vanish: Mapping[str, str] = NOBODY,
        seed: bytes | None = None,
    ) -> Aggregate:
        """Return the noised mean of a round; see ``secagg.Aggregator.aggregate``.

        Raises:
            secagg.ParameterError: not just the enrolled clients upload (caller).
        """
        shares = self.shares
        if len(vectors) != shares.clients:
            raise secagg.ParameterError(
                f"{len(vectors)} clients upload where {shares.clients} are enrolled; "
                "let those whose coin says no upload zeros.",
                argument="vectors",
            )
        length = len(next(iter(vectors.values())))
        masks = secagg.PairwiseMask(
            shares.plan(length), noise=shares.at(length).noise.draw
        )
        return masks.aggregate(
            vectors,
            weights,
            context=context,
            session=session,
            vanish=vanish,
            seed=seed,
        )


@dataclass(frozen=True, slots=True)
class NoisedPlainSum:
    """The same noise on a sum in the clear, for attackers' own models; hides nothing.

    Real-valued noise of the same variance, drawn once: on a grid this fine nobody could
    tell, and it takes one draw in place of n.
    """

    name: ClassVar[str] = "none"
    shares: Shares

    def aggregate(
        self,
        vectors: Mapping[str, NDArray[np.float32]],
        weights: Mapping[str, int],
        *,
        context: bytes,
        session: bytes,
        vanish: Mapping[str, str] = NOBODY,
        seed: bytes | None = None,
    ) -> Aggregate:
        """Return the noised mean; see ``secagg.Aggregator.aggregate``."""
        found = secagg.PlainSum().aggregate(
            vectors,
            weights,
            context=context,
            session=session,
            vanish=vanish,
            seed=seed,
        )
        length = len(found.mean)
        deviation = math.sqrt(found.weight * self.shares.at(length).noise.variance)
        steps = dp.gaussian(length, deviation, seed=seed)
        scale = self.shares.encoder(length).at(length).scale * found.weight
        found.mean[:] = found.mean + steps / scale
        return found
