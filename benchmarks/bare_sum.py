"""Noise in shares without masks: the bits of the secure sum in a tenth of the time.

Masks cancel exactly, so that a released sum is that of the clients' noised integers.
The first rounds are played by real messages, and must be what the integers say bit for
bit; later ones are added up from the integers alone. Clients draw rounding and noise
from the same bytes either way. For benchmarks: it hides nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from fl.shares import NoisedMasks, Shares
from secagg import encode
from secagg.aggregator import NOBODY, Aggregate
from secagg.noise import add_noise
from secagg.prg import KEY_BYTES, draw, simulation_rng
from secagg.transcript import Transcript


class BareSum:
    """The sum of noised integers, whose first rounds are checked; an `Aggregator`.

    Args:
        shares: what the clients agreed on.
        played: how many rounds are played by real messages, too.
    """

    name: ClassVar[str] = "secagg"

    def __init__(self, shares: Shares, *, played: int = 1) -> None:
        self._shares = shares
        self._left = played

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
        """Return the noised mean; see ``secagg.Aggregator.aggregate``.

        Raises:
            RuntimeError: masks and integers give different bits, or this is no
                simulation in which all clients stay.
        """
        if vanish or seed is None:
            raise RuntimeError("a bare sum is simulated, and nobody vanishes from it.")
        bare = self._bare(vectors, weights, context, session, seed)
        if not self._left:
            return bare
        self._left -= 1
        masked = NoisedMasks(self._shares).aggregate(
            vectors, weights, context=context, session=session, seed=seed
        )
        if not np.array_equal(masked.mean, bare.mean) or masked.weight != bare.weight:
            raise RuntimeError("the secure sum is not that of the noised integers.")
        return masked

    def _bare(
        self,
        vectors: Mapping[str, NDArray[np.float32]],
        weights: Mapping[str, int],
        context: bytes,
        session: bytes,
        seed: bytes,
    ) -> Aggregate:
        length = len(next(iter(vectors.values())))
        encoder = self._shares.encoder(length)
        where = encode.layout(encoder, clients=len(vectors), length=length)
        noise = self._shares.at(length).noise.draw
        total = where.ring.zeros(where.words)
        for name in sorted(vectors):
            rng = simulation_rng(seed, "secagg round", session.hex(), name)
            key = draw(rng, KEY_BYTES)
            words = encode.encode(
                encoder, where, vectors[name], weights[name], context=context, key=key
            )
            add_noise(encoder, where, words, noise, rng)
            encode.seal(where, words, session, context)
            total += words
        decoded = encode.decode_sum(
            encoder,
            where,
            total,
            session,
            context,
            clients=len(vectors),
            into=np.empty(length, dtype=np.float32),
        )
        nothing = dict.fromkeys(vectors, 0)
        return Aggregate(
            mean=decoded.mean.astype(np.float32),
            weight=decoded.weight,
            survivors=frozenset(vectors),
            max_error=decoded.max_error,
            bytes_up=nothing,
            bytes_down=nothing,
            client_cpu_s=0.0,
            server_cpu_s=0.0,
            transcript=Transcript(()),
        )
