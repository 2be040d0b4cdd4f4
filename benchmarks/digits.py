"""The simulated round that is measured: clients, records, models, training."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch.nn.functional import cross_entropy

from fl.config import load_config
from fl.data import Dataset, load
from fl.local import Member, Recipe, Rule, train_stacked
from fl.local.batches import draw
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
    return [Member(x[share], y[share], client) for client, share in enumerate(shares)]


def by_stack(
    model: torch.nn.Module, clients: Sequence[Member], epochs: int
) -> np.ndarray:
    """Train all clients as one batch; return (clients, parameters)."""
    rule = Rule(learning_rate=LEARNING_RATE)
    return train_stacked(
        model, clients, Recipe(epochs=epochs, batch_size=BATCH, rule=rule)
    )


def by_loop(
    model: torch.nn.Module, clients: Sequence[Member], epochs: int
) -> np.ndarray:
    """Train one client after the other, plainly; return (clients, parameters)."""
    before, changes = to_vector(model), []
    parameters = list(model.parameters())
    model.train()
    for x, y, key, _ in clients:
        load_vector(model, before)
        batches = draw([len(y)], [key], epochs=epochs, batch_size=BATCH)
        for step in range(batches.steps):
            rows = batches.at(step).rows
            loss = cross_entropy(model(x[rows]), y[rows])
            slopes = torch.autograd.grad(loss, parameters)
            with torch.no_grad():
                for parameter, slope in zip(parameters, slopes, strict=True):
                    parameter.sub_(slope, alpha=LEARNING_RATE)
        changes.append(to_vector(model) - before)
    load_vector(model, before)
    return np.stack(changes)
