"""The simulated round that is measured: clients, records, models, training."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from fl.config import load_config
from fl.data import Dataset, load
from fl.local import Member, train_local, train_stacked
from fl.models import build, load_vector, to_vector
from fl.settings import ModelConfig

CLIENTS, RECORDS, BATCH = 100, 16, 8
SHAPE, CLASSES = (1, 8, 8), 10
LEARNING_RATE = 0.1
MODELS = {
    "mlp": ModelConfig(kind="mlp", hidden=(64,)),
    "cnn": ModelConfig(kind="cnn"),
}


def start(name: str) -> torch.nn.Module:
    """Return the model that every round starts from."""
    return build(MODELS[name], SHAPE, CLASSES, 0)


def members() -> list[Member]:
    """Deal the digits out: (RECORDS, 1, 8, 8), labels and a seed for each client."""
    raw = load(load_config(None).data, 0)
    if not isinstance(raw, Dataset):
        raise RuntimeError("the digits are a table.")
    rows = np.random.default_rng(0).permutation(len(raw.labels))
    x, y = torch.from_numpy(raw.features), torch.from_numpy(raw.labels)
    shares = rows[: CLIENTS * RECORDS].reshape(CLIENTS, RECORDS)
    return [(x[share], y[share], client) for client, share in enumerate(shares)]


def by_loop(
    model: torch.nn.Module, clients: Sequence[Member], epochs: int
) -> np.ndarray:
    """Train one client after the other; return (clients, parameters)."""
    before, changes = to_vector(model), []
    for x, y, seed in clients:
        load_vector(model, before)
        changes.append(
            train_local(
                model,
                x,
                y,
                epochs=epochs,
                batch_size=BATCH,
                learning_rate=LEARNING_RATE,
                momentum=0.0,
                seed=seed,
            )
        )
    load_vector(model, before)
    return np.stack(changes)


def by_stack(
    model: torch.nn.Module, clients: Sequence[Member], epochs: int
) -> np.ndarray:
    """Train all clients as one batch; return (clients, parameters)."""
    return train_stacked(
        model,
        clients,
        epochs=epochs,
        batch_size=BATCH,
        learning_rate=LEARNING_RATE,
        momentum=0.0,
    )
