"""One federated round: cohort, local training, clip, aggregate, release.

McMahan et al. 2017. Who joins, who vanishes, batches and initial weights depend on the
seed alone, never on the protection, so that two protections train on the same batches.
The weight of a client is its number of records and travels inside the aggregate;
where that number would tell, every client weighs the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

import dp
import secagg
from fl.clipping import clip_of, with_bits
from fl.config import Config
from fl.federation import Client, Federation
from fl.models import load_vector, to_vector
from fl.protection import Protection
from fl.seeds import bytes_for, rng_for
from fl.summing import collect, collect_all
from fl.updates import local_updates
from secagg.aggregator import Aggregate
from secagg.transcript import Upload

STEPS = ("advertise_keys", "share_keys", "masked_input", "unmask")


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """A round kept whole: what the audit may look at, truth included.

    Attributes:
        index: round number, from 0.
        before: the released model the round began from, (parameters,) float32.
        updates: what each client put in after clipping, (parameters,) float32.
        weights: of the clients in the mean.
        aggregate: the sum that the server is due, with the transcript of what it saw.
        released: the change of the model that everybody sees, (parameters,) float32.
        opened: what a client's own key opens of the uploads, if it opens any; empty
            where nobody looked.
        absent: who uploaded zeros because their coin said no.
        clip_norm_l2: of the next round, as it was released.
    """

    index: int
    before: NDArray[np.float32]
    updates: Mapping[str, NDArray[np.float32]]
    weights: Mapping[str, int]
    aggregate: Aggregate
    released: NDArray[np.float32]
    opened: Mapping[str, Upload]
    clip_norm_l2: float
    absent: frozenset[str] = frozenset()

    @property
    def inside(self) -> frozenset[str]:
        """Return the clients whose own update is in the sum."""
        return self.aggregate.survivors - self.absent


class Released(NamedTuple):
    """What a round gives out: the change of the model, and the clip norm after it."""

    change: NDArray[np.float32]
    clip_norm_l2: float


def run_one(
    model: torch.nn.Module,
    cohort: Sequence[Client],
    protection: Protection,
    config: Config,
    *,
    seed: int,
    index: int,
    look: bool = True,
    absent: Sequence[Client] = (),
) -> Snapshot:
    """Train the cohort from ``model``, aggregate, and leave the new model in it.

    ``absent`` upload zeros: `absent_from` says who they are.

    Raises:
        secagg.AbortError: too few clients joined, or were left to finish the round;
            where the server adds noise, only if nobody is in the sum.
    """
    before = to_vector(model)
    updates = local_updates(
        model, before, cohort, protection, config, seed=seed, index=index
    )
    snapshot = sum_up(
        cohort,
        updates,
        before,
        protection,
        config,
        seed=seed,
        index=index,
        look=look,
        absent=absent,
    )
    load_vector(model, before + snapshot.released)
    return snapshot


def sum_up(
    cohort: Sequence[Client],
    updates: Mapping[str, NDArray[np.float32]],
    before: NDArray[np.float32],
    protection: Protection,
    config: Config,
    *,
    seed: int,
    index: int,
    look: bool,
    absent: Sequence[Client] = (),
) -> Snapshot:
    """Send a cohort's updates, with its own weights and drop-outs, as `aggregate` does.

    ``absent`` upload zeros: `absent_from` says who they are.

    Raises:
        secagg.AbortError: as `run_one`.
    """
    everybody = (*cohort, *absent)
    return aggregate(
        updates,
        {client.name: protection.weight(client.records) for client in cohort},
        before,
        protection,
        config,
        vanish=draw_vanishing(everybody, config, seed=seed, index=index),
        seed=seed,
        name=("round", index),
        look=look,
        absent=[client.name for client in absent],
    )


def aggregate(
    updates: Mapping[str, NDArray[np.float32]],
    weights: Mapping[str, int],
    before: NDArray[np.float32],
    protection: Protection,
    config: Config,
    *,
    vanish: Mapping[str, str],
    seed: int,
    name: tuple[str | int, ...],
    look: bool = True,
    absent: Sequence[str] = (),
) -> Snapshot:
    """Send the updates through the protection's own messages and release the result.

    Args:
        updates: clipped, one per client of the cohort.
        weights: for the same clients.
        before: the released model that they started from.
        protection: carries them, and adds its noise to the sum.
        config: what shapes an update; bound into the masks.
        vanish: who falls silent from which step on.
        seed: of the repetition.
        name: of the round among all that this seed plays; ends with its number.
        look: open what a client's key opens, for the audit.
        absent: further clients, who upload zeros.

    Raises:
        secagg.AbortError: as `run_one`.
    """
    zeros = np.zeros(len(before), dtype=np.float32)
    updates = {**updates, **dict.fromkeys(absent, zeros)}
    weights = {**weights, **dict.fromkeys(absent, 1)}
    send = partial(
        collect,
        aggregator=protection.aggregator,
        context=context_of(before, config, clip_of(protection)),
        seed=seed,
        name=name,
    )
    if protection.central is None:
        found = send(updates, weights, smallest=protection.smallest, vanish=vanish)
    else:
        sent = with_bits(protection.central, updates)
        found = collect_all(send, sent, smallest=protection.smallest, vanish=vanish)
    shared, length = protection.shared_key, len(before)
    out = released(protection, found, length, seed=seed, name=name)
    return Snapshot(
        index=int(name[-1]),
        before=before,
        updates=updates,
        weights=weights,
        aggregate=replace(found, mean=found.mean[:length]),
        released=out.change,
        opened=shared.opened(found.transcript) if shared is not None and look else {},
        absent=frozenset(absent),
        clip_norm_l2=out.clip_norm_l2,
    )


def released(
    protection: Protection,
    found: Aggregate | None,
    length: int,
    *,
    seed: int,
    name: tuple[str | int, ...],
) -> Released:
    """Return the change of the model that everybody gets to see, and the clip norm.

    Args:
        protection: with its noise, if the server adds any.
        found: the round's sum; None if the round was aborted, which releases nothing
            but the noise of the server.
        length: number of parameters.
        seed: of the repetition.
        name: of the round.
    """
    clip = protection.clip_norm_l2
    if protection.central is None:
        if found is None:
            return Released(np.zeros(length, dtype=np.float32), clip)
        if protection.shares is None:
            return Released(found.mean, clip)
        # The public denominator, whoever is in the sum.
        share = found.weight / protection.shares.denominator
        mean = found.mean.astype(np.float64) * share
        return Released(mean.astype(np.float32), clip)
    total = None if found is None else found.mean.astype(np.float64) * found.weight
    central, error = protection.central, protection.sum_error
    if isinstance(central, dp.CorrelatedSum):
        # One stream for the whole run, of which this round takes its own part.
        *run, index = name
        stream = _stream(central, length, error, bytes_for(seed, "noise", *run))
        noised = central.release(total, stream.at(int(index)), sum_error=error)
        return Released(noised.astype(np.float32), clip)
    own = bytes_for(seed, "noise", *name)
    if isinstance(central, dp.AdaptiveSum):
        noised, share = central.release(total, length=length, sum_error=error, seed=own)
        return Released(noised.astype(np.float32), central.after(share).clip_norm_l2)
    noised = central.release(total, length=length, sum_error=error, seed=own)
    return Released(noised.astype(np.float32), clip)


@lru_cache(maxsize=16)
def _stream(
    mechanism: dp.CorrelatedSum, length: int, sum_error: float, seed: bytes
) -> dp.NoiseStream:
    # Kept for its speed alone: made anew, it gives the same noise for every round.
    return mechanism.stream(length=length, sum_error=sum_error, seed=seed)


def context_of(
    before: NDArray[np.float32], config: Config, clip_norm_l2: float | None = None
) -> bytes:
    """Return the hash of all that shapes an update: the model and how it is trained.

    Args:
        before: the released model.
        config: says how.
        clip_norm_l2: of this round, where it is not the same in all.
    """
    moving = () if clip_norm_l2 is None else (clip_norm_l2.hex().encode(),)
    return secagg.context(
        np.ascontiguousarray(before, dtype="<f4").tobytes(),
        config.training.model_dump_json().encode(),
        config.model.model_dump_json().encode(),
        config.privacy.model_dump_json(exclude={"ledger", "ledger_epsilon"}).encode(),
        *moving,
    )


def draw_cohort(
    federation: Federation, config: Config, *, seed: int, index: int
) -> tuple[Client, ...]:
    """Return who joins a round: each client by a coin of its own (Poisson sampling)."""
    coins = rng_for(seed, "cohort", index).random(len(federation.clients))
    return tuple(
        client
        for client, coin in zip(federation.clients, coins, strict=True)
        if coin < config.federation.participation
    )


def absent_from(
    federation: Federation, cohort: Sequence[Client], protection: Protection
) -> tuple[Client, ...]:
    """Return the enrolled clients outside the cohort, where they too must upload.

    Under noise in shares they do: their coin said no, and nobody else may learn that.
    """
    if protection.shares is None:
        return ()
    joined = {client.name for client in cohort}
    return tuple(one for one in federation.clients if one.name not in joined)


def draw_vanishing(
    cohort: Sequence[Client], config: Config, *, seed: int, index: int
) -> dict[str, str]:
    """Return which clients vanish in this round and at which protocol step.

    A client's fate is its own: it does not change with who else is in the cohort.
    """
    fates = {}
    for client in cohort:
        rng = rng_for(seed, "dropout", index, client.name)
        if rng.random() < config.federation.dropout:
            fates[client.name] = STEPS[rng.integers(len(STEPS))]
    return fates
