"""One federated round: local training, clip, aggregate, apply (McMahan et al. 2017).

The weight of a client is its number of examples; it travels inside the aggregate and is
hidden wherever the updates are. Batches, dropouts and initial weights depend on the
seed alone, never on the protection, so that two protections train on the same batches.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

import dp
import secagg
from fl.config import Config, ModelConfig, TrainingConfig
from fl.federation import Client, Federation
from fl.local import train_local
from fl.models import load_vector, to_vector
from fl.seeds import bytes_for, rng_for, seed_for

STEPS = ("advertise_keys", "share_keys", "masked_input", "unmask")


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """A round kept whole: what the audit may look at, truth included.

    Attributes:
        index: round number, from 0.
        before: the released model the round began from, (parameters,) float32.
        updates: what each client put in after clipping, (parameters,) float32.
        weights: examples per client.
        aggregate: the outcome with the transcript of what the server saw.
    """

    index: int
    before: NDArray[np.float32]
    updates: Mapping[str, NDArray[np.float32]]
    weights: Mapping[str, int]
    aggregate: secagg.Aggregate


def run_one(
    model: torch.nn.Module,
    federation: Federation,
    aggregator: secagg.Aggregator,
    config: Config,
    *,
    seed: int,
    index: int,
) -> Snapshot:
    """Train every client from ``model``, aggregate, and leave the new model in it.

    Raises:
        secagg.AbortError: too few clients were left to finish the round.
    """
    before = to_vector(model)
    updates = {
        client.name: local_update(
            model, before, client, config.training, seed=seed, index=index
        )
        for client in federation.clients
    }
    weights = {client.name: client.records for client in federation.clients}
    aggregate = aggregator.aggregate(
        updates,
        weights,
        context=context_of(before, config.model, config.training),
        session=bytes_for(seed, "session", index),
        vanish=draw_vanishing(federation, config, seed=seed, index=index),
        seed=bytes_for(seed, "protocol", index),
    )
    load_vector(model, before + aggregate.mean)
    return Snapshot(
        index=index,
        before=before,
        updates=updates,
        weights=weights,
        aggregate=aggregate,
    )


def local_update(
    model: torch.nn.Module,
    before: NDArray[np.float32],
    client: Client,
    training: TrainingConfig,
    *,
    seed: int,
    index: int,
) -> NDArray[np.float32]:
    """Return the clipped change that ``client`` makes to the model, as float32."""
    load_vector(model, before)
    change = train_local(
        model,
        client.x,
        client.y,
        epochs=training.local_epochs,
        batch_size=training.batch_size,
        learning_rate=training.learning_rate,
        momentum=training.momentum,
        seed=seed_for(seed, "batches", index, client.name),
    )
    load_vector(model, before)
    return dp.clip_l2(change, training.clip_norm_l2).vector


def context_of(
    before: NDArray[np.float32], model: ModelConfig, training: TrainingConfig
) -> bytes:
    """Return the hash of all that shapes an update: the model and how it is trained."""
    return secagg.context(
        np.ascontiguousarray(before, dtype="<f4").tobytes(),
        training.model_dump_json().encode(),
        model.model_dump_json().encode(),
    )


def draw_vanishing(
    federation: Federation, config: Config, *, seed: int, index: int
) -> dict[str, str]:
    """Return which clients vanish in this round and at which protocol step."""
    rng = rng_for(seed, "dropout", index)
    fate = rng.random(len(federation.clients))
    step = rng.integers(len(STEPS), size=len(federation.clients))
    return {
        client.name: STEPS[step[i]]
        for i, client in enumerate(federation.clients)
        if fate[i] < config.federation.dropout
    }
