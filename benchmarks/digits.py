"""The simulated rounds that are measured: clients, their batches, and our training.

100 clients with 16 handwritten digits each, batches of 8. All that touches our engine
is here.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import cache

import numpy as np
import torch

from benchmarks import nets
from benchmarks.work import LEARNING_RATE, Rounds, Work, rounds_of
from fl.config import load_config
from fl.data import Dataset, load
from fl.local import Member, Recipe, Rule, engine_for, train_stacked
from fl.local.batches import draw
from fl.local.thread import side_by_side
from fl.models import load_vector, to_vector

CLIENTS, RECORDS, BATCH = 100, 16, 8


@cache
def _digits() -> tuple[np.ndarray, np.ndarray]:
    """Return all digits, shuffled: (1797, 1, 8, 8) float32 and (1797,) int64."""
    raw = load(load_config(None).data, 0)
    if not isinstance(raw, Dataset):
        raise RuntimeError("the digits are a table.")
    rows = np.random.default_rng(0).permutation(len(raw.labels))
    return raw.features[rows], raw.labels[rows]


def members() -> list[Member]:
    """Deal the digits out: (RECORDS, 1, 8, 8), labels and a key for each client."""
    x, y = (torch.from_numpy(part[: CLIENTS * RECORDS]) for part in _digits())
    pairs = zip(x.split(RECORDS), y.split(RECORDS), strict=True)
    return [Member(*pair, key) for key, pair in enumerate(pairs)]


def crowd(clients: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Draw RECORDS records for each client, with replacement.

    Returns:
        (clients, RECORDS, 1, 8, 8) float32 and (clients, RECORDS) int64.
    """
    x, y = _digits()
    rows = np.random.default_rng(0).integers(len(y), size=(clients, RECORDS))
    return torch.from_numpy(x[rows]), torch.from_numpy(y[rows])


def orders(clients: Sequence[Member], epochs: int) -> np.ndarray:
    """Return the batches that our engine draws, for clients of RECORDS records.

    Returns:
        (clients, steps, BATCH) int64, into the client's own records.
    """
    batches = draw(
        [len(client.y) for client in clients],
        [client.key for client in clients],
        epochs=epochs,
        batch_size=BATCH,
    )
    starts = RECORDS * np.arange(len(clients))
    return batches.rows - starts[:, None, None]


def work(net: str, epochs: int) -> Work:
    """Return a workload as every peer gets it."""
    clients = members()
    return Work(
        net=net,
        before=to_vector(nets.build(net)),
        x=torch.stack([client.x for client in clients]).numpy(),
        y=torch.stack([client.y for client in clients]).numpy(),
        rows=orders(clients, epochs),
    )


def way(net: str) -> str:
    """Return how our engine trains a net, and why that way."""
    engine = engine_for(nets.build(net), nets.SHAPE, batch_size=BATCH)
    return f"{engine.name} ({engine.why})"


def by_stack(
    model: torch.nn.Module, clients: Sequence[Member], epochs: int
) -> np.ndarray:
    """Train all clients as one batch; return their changes (clients, parameters)."""
    rule = Rule(learning_rate=LEARNING_RATE)
    return train_stacked(
        model, clients, Recipe(epochs=epochs, batch_size=BATCH, rule=rule)
    )


def run(net: str, epochs: int, rounds: int) -> Rounds:
    """Train one round of ours more than asked, drawing the batches in each round.

    The first warms up. A round ends with the mean of the changes applied.
    """
    model, clients = nets.build(net), members()
    marks, models = [time.perf_counter()], []
    for _ in range(rounds + 1):
        # Not numpy's product: its threads spin on, and would be taken for others' work.
        mean = torch.from_numpy(by_stack(model, clients, epochs)).mean(dim=0)
        after = to_vector(model) + mean.numpy()
        load_vector(model, after)
        marks.append(time.perf_counter())
        models.append(after)
    return rounds_of(marks, models)


def on_one_core(work: Work, rounds: int) -> Rounds:
    """Do the same in one thread, as the plain loop does."""
    with side_by_side(1):
        return run(work.net, work.rows.shape[1] * BATCH // RECORDS, rounds)


def right(net: str, vector: np.ndarray) -> tuple[int, int]:
    """Return how many digits that no client has the model names, and of how many."""
    x, y = (torch.from_numpy(part[CLIENTS * RECORDS :]) for part in _digits())
    model = nets.build(net)
    load_vector(model, vector)
    with torch.no_grad():
        return int((model(x).argmax(dim=1) == y).sum()), len(y)
