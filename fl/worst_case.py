"""The weakest moment: one gradient step on a small batch, through the real protocol.

Each client takes one step on ``batch`` of its records from a given checkpoint of the
same model; the updates go through the protection's own aggregator, so that what the
attacks see under secure aggregation comes from real messages. Same seed, same batches,
whatever the protection.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

import secagg
from fl.config import Config, TrainingConfig
from fl.federation import Client, Federation
from fl.models import build
from fl.round import Snapshot, context_of, local_update
from fl.seeds import bytes_for, seed_for


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """One worst-case round.

    Attributes:
        snapshot: what crossed the wire.
        batches: each client with the records of its one step (truth, for scoring).
        training: the step that was taken.
    """

    snapshot: Snapshot
    batches: Mapping[str, Client]
    training: TrainingConfig


def probe(
    federation: Federation,
    aggregator: secagg.Aggregator,
    config: Config,
    checkpoint: NDArray[np.float32],
    *,
    batch: int,
    trial: int,
    seed: int,
) -> Probe:
    """Run one worst-case round from ``checkpoint``, ``batch`` records a client."""
    training = config.training.model_copy(
        update={"local_epochs": 1, "batch_size": batch, "momentum": 0.0}
    )
    model = build(
        config.model, federation.input_shape, federation.classes, seed_for(0, "probe")
    )
    chosen = {
        client.name: _draw(client, batch, seed_for(seed, "probe", batch, trial))
        for client in federation.clients
    }
    updates = {
        name: local_update(model, checkpoint, client, training, seed=seed, index=trial)
        for name, client in chosen.items()
    }
    weights = {name: client.records for name, client in chosen.items()}
    aggregate = aggregator.aggregate(
        updates,
        weights,
        context=context_of(checkpoint, config.model, training),
        session=bytes_for(seed, "probe session", batch, trial),
        seed=bytes_for(seed, "probe protocol", batch, trial),
    )
    snapshot = Snapshot(
        index=trial,
        before=checkpoint,
        updates=updates,
        weights=weights,
        aggregate=aggregate,
    )
    return Probe(
        snapshot=snapshot,
        batches=chosen,
        training=training,
    )


def _draw(client: Client, batch: int, seed: int) -> Client:
    rng = np.random.default_rng(seed_for(seed, client.name))
    size = min(batch, client.records)
    return client.take(np.sort(rng.choice(client.records, size=size, replace=False)))
