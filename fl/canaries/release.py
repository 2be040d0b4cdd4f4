"""One round with canary clients in it: their updates, and what is released."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

import dp
import secagg
from attacks import dirac
from fl.config import Config
from fl.federation import Client
from fl.protection import Protection
from fl.round import Released, aggregate, draw_vanishing, released


def release_of(
    places: NDArray[np.int64],
    length: int,
    protection: Protection,
    config: Config,
    *,
    seed: int,
    index: int,
    absent: Sequence[Client] = (),
) -> Released:
    """Return what is released when just these canary clients take part in a round.

    Args:
        places: the coordinate of each canary client that takes part.
        length: of an update.
        protection: with the noise under audit.
        config: the resolved configuration.
        seed: of the trial.
        index: of the round.
        absent: further clients, who upload zeros.
    """
    members = [stub(place) for place in places.tolist()]
    name = ("canaries", index)
    before = np.zeros(length, dtype=np.float32)
    updates = {
        member.name: loudest(place, length, protection.clip_norm_l2)
        for place, member in zip(places.tolist(), members, strict=True)
    }
    try:
        sent = aggregate(
            updates,
            dict.fromkeys(updates, 1),
            before,
            protection,
            config,
            vanish=draw_vanishing([*members, *absent], config, seed=seed, index=index),
            seed=seed,
            name=name,
            absent=[one.name for one in absent],
        )
    except secagg.AbortError:  # nobody is in the sum, or too few finished
        return released(protection, None, length, seed=seed, name=name)
    return Released(sent.released, sent.clip_norm_l2)


def loudest(place: int, length: int, bound: float) -> NDArray[np.float32]:
    """Return a canary client's update: twice the bound at its place, then clipped."""
    return dp.clip_l2(dirac(place, length, 2 * bound), bound).vector


def stub(place: int) -> Client:
    """Return a canary client of this coordinate; it has no records."""
    nothing = torch.zeros(0)
    return Client(
        name=f"canary-{place:08d}",
        x=nothing,
        y=nothing.long(),
        ids=np.zeros(0, dtype=np.int64),
    )
