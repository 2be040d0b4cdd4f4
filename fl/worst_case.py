"""The weakest moment: one gradient step on a small batch, through the real protocol.

Each client of a cohort takes one step on ``batch`` of its records from a given
checkpoint of the same model; the updates go through the protection's own messages and
noise, so that what the attacks see comes from what really crossed the wire. All
planned colluders are in the cohort. Same seed, same batches, whatever the protection.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

import dp
from fl.config import Config, TrainingConfig
from fl.federation import Client, Federation
from fl.models import build
from fl.protection import Protection
from fl.round import Snapshot, absent_from, aggregate
from fl.seeds import rng_for, seed_for
from fl.sensitivity import fitted
from fl.updates import local_updates

# What shows most: a plain step at the full learning rate.
ONE_STEP = {
    "local_epochs": 1,
    "optimizer": "sgd",
    "momentum": 0.0,
    "weight_decay": 0.0,
    "proximal": 0.0,
    "schedule": "constant",
    "warmup": 0,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """One worst-case round.

    Attributes:
        snapshot: what crossed the wire.
        batches: each client with the records of its one step (truth, for scoring).
        training: the step that was taken.
        protection: as it was run, with noise for one step on ``batch`` records.
    """

    snapshot: Snapshot
    batches: Mapping[str, Client]
    training: TrainingConfig
    protection: Protection


def probe(
    federation: Federation,
    protection: Protection,
    config: Config,
    checkpoint: NDArray[np.float32],
    *,
    batch: int,
    trial: int,
    seed: int,
    dropouts: int = 0,
) -> Probe:
    """Run one worst-case round from ``checkpoint``, ``batch`` records a client.

    Args:
        federation: whose clients take part.
        protection: carries their updates.
        config: the resolved configuration.
        checkpoint: the released model, (parameters,) float32.
        batch: records per client; fewer if it has no more.
        trial: number of the round.
        seed: of the repetition.
        dropouts: honest clients that vanish just before they upload.
    """
    training = config.training.model_copy(update=ONE_STEP | {"batch_size": batch})
    one_step = config.model_copy(update={"training": training})
    noised = fitted(_for_one_step(protection, batch), federation, config.model)
    model = build(
        config.model, federation.input_shape, federation.classes, seed_for(0, "probe")
    )
    cohort = _cohort(federation, config, seed_for(seed, "probe cohort", batch, trial))
    chosen = {
        client.name: _draw(client, batch, seed_for(seed, "probe", batch, trial))
        for client in cohort
    }
    # Noise of its own in every probe, from every checkpoint, whatever the run drew.
    step = seed_for(seed, "probe step", batch, zlib.crc32(checkpoint.tobytes()))
    updates = local_updates(
        model,
        checkpoint,
        list(chosen.values()),
        noised,
        one_step,
        seed=step,
        index=trial,
    )
    snapshot = aggregate(
        updates,
        {name: protection.weight(client.records) for name, client in chosen.items()},
        checkpoint,
        noised,
        one_step,
        vanish={client.name: "masked_input" for client in cohort[:dropouts]},
        seed=step,
        name=("probe", trial),
        absent=[one.name for one in absent_from(federation, cohort, protection)],
    )
    return Probe(
        snapshot=snapshot, batches=chosen, training=training, protection=noised
    )


def _cohort(federation: Federation, config: Config, seed: int) -> Sequence[Client]:
    """Draw as many clients as usually join; the colluders come last."""
    corrupt = config.federation.corrupt
    colluders = federation.colluders(corrupt)
    honest = federation.clients[: len(federation.clients) - corrupt]
    wanted = config.federation.cohort - corrupt
    drawn = rng_for(seed, "cohort").permutation(len(honest))[:wanted]
    return [honest[i] for i in drawn] + list(colluders)


def _for_one_step(protection: Protection, batch: int) -> Protection:
    """Return the same noise multiplier on one step over exactly ``batch`` records.

    Noise that is correlated over a run stands as its first round does, alone.
    """
    if isinstance(protection.central, dp.CorrelatedSum):
        return replace(protection, central=protection.central.first_round)
    if protection.example is None:
        return protection
    settings = protection.example.settings.model_copy(
        update={
            "steps": 1,
            "sampling_rate": 1.0,
            "batch_size": float(batch),
            "optimizer": "sgd",
            "momentum": 0.0,
        }
    )
    return replace(protection, example=replace(protection.example, settings=settings))


def _draw(client: Client, batch: int, seed: int) -> Client:
    rng = np.random.default_rng(seed_for(seed, client.name))
    size = min(batch, client.records)
    return client.take(np.sort(rng.choice(client.records, size=size, replace=False)))
