"""Seven faults of differential privacy in federated learning, to be planted.

Each replaces one function of the product while it is planted and nothing else: clip,
encoder, messages, noise, ledger and dropouts are the real ones. None of them is a
switch of the product.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from itertools import count
from unittest import mock

import numpy as np
from numpy.typing import NDArray

import dp
import fl.round
from dp.clipping import Clipped
from dp.discrete import DiscreteGaussian
from dp.inversion import Rng
from fl.protection import Protection
from fl.round import Released, released
from secagg import masks
from secagg.aggregator import Aggregate
from secagg.keys import Secret, derive

Planted = AbstractContextManager[object]
Integers = NDArray[np.int64]


def no_noise() -> Planted:
    """Let every client leave out its share of the noise."""

    def draw(self: DiscreteGaussian, length: int, rng: Rng) -> Integers:
        return np.zeros(length, dtype=np.int64)

    return mock.patch.object(DiscreteGaussian, "draw", draw)


def divided_twice(clients: int) -> Planted:
    """Divide the variance of a share, which is one of n already, by n once more."""
    real = DiscreteGaussian.draw

    def draw(self: DiscreteGaussian, length: int, rng: Rng) -> Integers:
        less = DiscreteGaussian(variance=max(1, self.variance // clients))
        return real(less, length, rng)

    return mock.patch.object(DiscreteGaussian, "draw", draw)


def one_share_less(clients: int) -> Planted:
    """Let one client of each round leave out its share."""
    real, calls = DiscreteGaussian.draw, count()

    def draw(self: DiscreteGaussian, length: int, rng: Rng) -> Integers:
        drawn = real(self, length, rng)
        return drawn if next(calls) % clients else np.zeros_like(drawn)

    return mock.patch.object(DiscreteGaussian, "draw", draw)


def no_clip() -> Planted:
    """Let clients send their updates as long as they are."""

    def clip_l2(vector: NDArray[np.floating], bound: float) -> Clipped:
        return Clipped(vector=vector.astype(np.float32), l2_bound=bound, factor=1.0)

    return mock.patch.object(dp, "clip_l2", clip_l2)


@contextmanager
def masks_reused() -> Iterator[None]:
    """Derive the keys of masks from who shares them alone, so from no round."""

    def pair_key(
        agreed: Secret, *, pair: tuple[int, int], binding: masks.Binding, context: bytes
    ) -> Secret:
        return derive(Secret(bytes(32)), b"pair %d %d" % (min(pair), max(pair)))

    def self_key(
        seed: Secret, *, owner: int, binding: masks.Binding, context: bytes
    ) -> Secret:
        return derive(Secret(bytes(32)), b"self %d" % owner)

    with (
        mock.patch.object(masks, "pair_key", pair_key),
        mock.patch.object(masks, "self_key", self_key),
    ):
        yield


def private_normaliser() -> Planted:
    """Divide a noised sum by how many are in it, and not by the public number."""

    def own(
        protection: Protection,
        found: Aggregate | None,
        length: int,
        *,
        seed: int,
        name: tuple[str | int, ...],
    ) -> Released:
        central = protection.central
        if isinstance(central, dp.GaussianSum) and found is not None:
            came = replace(central, clients=found.weight)
            protection = replace(protection, central=came)
        return released(protection, found, length, seed=seed, name=name)

    return mock.patch.object(fl.round, "released", own)


def ledger_reset() -> Planted:
    """Let the ledger forget before every round what was spent."""
    return mock.patch("dp.ledger.held_by", lambda database, book, party: ())
