"""Many clients that start from one model, trained as one batch.

What the loop does client by client (`train_local`), with the same batches in the same
orders: every parameter has a leading axis of clients, and one pass computes a step of
all of them. A client that has taken its steps stops moving.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fl.local.batches import draw, steps_of
from fl.local.engine import Gradients, engine_for, gradients_of, saved_bytes
from fl.local.loop import diverged, sgd_step, train_local
from fl.local.thread import one_thread
from fl.models import load_vector, parameter_count, to_vector

# One client: its records, their labels, and the seed of its orders.
Member = tuple[Tensor, Tensor, int]

# What one chunk of clients may take; more gains nothing, since caches are smaller.
BYTES = 64 * 2**20


def train_stacked(
    model: nn.Module,
    members: Sequence[Member],
    *,
    epochs: int,
    batch_size: int,
    learning_rate: float,
    momentum: float,
    limit: int = BYTES,
) -> NDArray[np.float32]:
    """Return the change that each client makes to the model.

    Guarantee: each row is what `train_local` returns for that client from the same
    model, up to float32 sums in another order (1e-5 per coordinate in training that
    does not amplify them). Equal arguments give equal bits on the same kind of
    machine, whatever its number of cores. All rows are finite. The model, torch's
    global generator and its number of threads are left as they were.

    Args:
        model: in its released state.
        members: one or more; see `train_local` for shapes.
        epochs: passes over the records.
        batch_size: records per step; the last step of an epoch may have fewer.
        learning_rate: > 0.
        momentum: in [0, 1); from zero for every client.
        limit: bytes that a chunk of clients may take, by estimate; changes no result.

    Returns:
        (clients, parameters) float32, trained less released parameters.

    Raises:
        ModelError: the training of a client diverged.
    """
    found = np.empty((len(members), parameter_count(model)), dtype=np.float32)
    if not members:
        return found
    engine = engine_for(
        model,
        tuple(members[0][0].shape[1:]),
        batch_size=min(batch_size, max(len(y) for _, y, _ in members)),
    )
    settings = {"learning_rate": learning_rate, "momentum": momentum}
    if engine.name == "loop":
        return _one_by_one(model, members, epochs, batch_size, **settings)
    # Most records first: those who still move are then a prefix.
    order = np.argsort([-len(y) for _, y, _ in members], kind="stable")
    with _training(model), one_thread():
        gradients = gradients_of(model, engine)
        start = 0
        while start < len(order):
            largest = members[order[start]]
            each = _bytes_of(model, largest, epochs, batch_size)
            chunk = order[start : start + max(1, limit // each)]
            found[chunk] = _chunk(
                gradients,
                list(model.parameters()),
                [members[i] for i in chunk],
                epochs,
                batch_size,
                **settings,
            )
            start += len(chunk)
    if not np.isfinite(found).all():
        raise diverged(learning_rate)
    return found


@torch.no_grad()
def _chunk(
    gradients: Gradients,
    released: Sequence[Tensor],
    members: Sequence[Member],
    epochs: int,
    batch_size: int,
    *,
    learning_rate: float,
    momentum: float,
) -> NDArray[np.float32]:
    """Train some clients, most records first; return (clients, parameters)."""
    batches = draw(
        [len(y) for _, y, _ in members],
        [seed for _, _, seed in members],
        epochs=epochs,
        batch_size=batch_size,
    )
    x = torch.cat([records for records, _, _ in members])
    y = torch.cat([labels for _, labels, _ in members])
    stack = [p.detach().repeat(len(members), *[1] * p.dim()) for p in released]
    velocity = [torch.zeros_like(p) for p in stack] if momentum else []
    for step in range(batches.steps):
        batch = batches.at(step)
        moving = batch.shape[0]
        parameters = [p[:moving] for p in stack]
        slopes = gradients(
            parameters,
            x.index_select(0, batch.rows).view(*batch.shape, *x.shape[1:]),
            y.index_select(0, batch.rows).view(batch.shape),
            batch.weights,
        )
        moves = [v[:moving] for v in velocity]
        sgd_step(parameters, slopes, moves, learning_rate, momentum)
    changes = [
        (trained - before).reshape(len(members), -1)
        for trained, before in zip(stack, released, strict=True)
    ]
    array: NDArray[np.float32] = torch.cat(changes, dim=1).numpy()
    return array


def _one_by_one(
    model: nn.Module,
    members: Sequence[Member],
    epochs: int,
    batch_size: int,
    *,
    learning_rate: float,
    momentum: float,
) -> NDArray[np.float32]:
    before = to_vector(model)
    changes = []
    with _training(model):
        try:
            for x, y, seed in members:
                load_vector(model, before)
                changes.append(
                    train_local(
                        model,
                        x,
                        y,
                        epochs=epochs,
                        batch_size=batch_size,
                        learning_rate=learning_rate,
                        momentum=momentum,
                        seed=seed,
                    )
                )
        finally:
            load_vector(model, before)
    return np.stack(changes)


def _bytes_of(model: nn.Module, member: Member, epochs: int, batch_size: int) -> int:
    """Estimate what one client of a stack takes: data, parameters, activations."""
    x, _, _ = member
    width = min(batch_size, len(x))
    kept = saved_bytes(model, tuple(x.shape[1:]))
    plan = 8 * width * steps_of(len(x), epochs, batch_size)
    # Activations and their gradients; parameters, their change, gradient, velocity.
    return (
        x.numel() * x.element_size()
        + plan
        + 2 * width * kept
        + 16 * parameter_count(model)
    )


@contextmanager
def _training(model: nn.Module) -> Iterator[None]:
    was_training = model.training
    model.train()
    try:
        yield
    finally:
        model.train(was_training)
