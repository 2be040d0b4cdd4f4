"""Which records every client of a stack steps on, and when.

Clients of different size share one table. A batch that is shorter than the table is
wide is filled up with records that count for nothing. A client's draws depend on its
own key and its number of records, never on who else is in the stack.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fl.local.counter import uniform, words

# What a client's draws are for.
ORDERS, COINS, PICKS = 0, 1, 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """One step of the clients that still move, a prefix of the stack.

    Attributes:
        rows: (clients * width,) int64, into the stack's records one after the other.
        weights: (clients, width) float32, one over the client's count; 0 for filling.
    """

    rows: Tensor
    weights: Tensor

    @property
    def shape(self) -> tuple[int, int]:
        """Return how many clients move, and the widest batch among theirs."""
        clients, width = self.weights.shape
        return clients, width


@dataclass(frozen=True, slots=True, kw_only=True)
class Batches:
    """All steps of a stack whose clients are sorted, most records first.

    Attributes:
        rows: (clients, steps, width) int64.
        counts: (clients, steps) int64, records that count; 0 once a client is done.
    """

    rows: NDArray[np.int64]
    counts: NDArray[np.int64]

    @property
    def steps(self) -> int:
        """Return the steps of the client that has most."""
        return int(self.counts.shape[1])

    def at(self, step: int) -> Batch:
        """Return the batch of one step."""
        moving = int(np.count_nonzero(self.counts[:, step]))
        counts = self.counts[:moving, step, None]
        width = int(counts.max())
        weights = (np.arange(width) < counts) / counts
        return Batch(
            rows=torch.from_numpy(self.rows[:moving, step, :width].reshape(-1)),
            weights=torch.from_numpy(weights.astype(np.float32)),
        )


def steps_of(records: int, epochs: int, batch_size: int) -> int:
    """Return how many steps a client with so many records takes."""
    return epochs * -(-records // batch_size)


def draw(
    sizes: Sequence[int], keys: Sequence[int], *, epochs: int, batch_size: int
) -> Batches:
    """Draw the batches of every client: each epoch a random order of its records.

    Args:
        sizes: records per client, >= 0, in descending order.
        keys: of the orders, one per client, in [0, 2^64).
        epochs: passes over the records.
        batch_size: records per step, at most.
    """
    size = np.asarray(sizes)[:, None, None]
    largest, clients = sizes[0], len(sizes)
    if not largest:
        return Batches(
            rows=np.empty((clients, 0, 0), int), counts=np.empty((clients, 0), int)
        )
    width = min(batch_size, largest)
    drawn = words(np.asarray(keys, dtype=np.uint64), ORDERS, epochs, largest)
    # Those beyond a client's records come last, after any word of 63 bits, and are then
    # replaced by its first. (A stable sort takes five times as long, for ties alone.)
    drawn >>= np.uint64(1)
    drawn |= np.where(np.arange(largest) < size, 0, ~np.uint64(0)).astype(np.uint64)
    order = np.argsort(drawn, axis=2)
    order = np.where(np.arange(largest) < size, order, order[:, :, :1])
    first = np.concatenate([[0], np.cumsum(sizes)[:-1]])[:, None, None]
    each = -(-largest // width)
    rows = np.empty((clients, epochs, each * width), dtype=np.int64)
    rows[:, :, :largest] = order + first
    rows[:, :, largest:] = rows[:, :, :1]
    left = size[:, :, 0] - width * np.arange(each)
    counts = np.broadcast_to(np.clip(left, 0, width)[:, None], (clients, epochs, each))
    return _in_a_row(rows.reshape(clients, epochs, each, width), counts)


def draw_coins(
    sizes: Sequence[int], keys: Sequence[int], *, steps: int, rate: float
) -> list[NDArray[np.bool_]]:
    """Toss each record's coin for every step (Poisson sampling).

    Args:
        sizes: records per client, >= 0, in any order.
        keys: of the coins, one per client, in [0, 2^64); as secret as the records.
        steps: how many.
        rate: with which a coin comes up.

    Returns:
        Per client (steps, records) bool.
    """
    drawn = words(
        np.asarray(keys, dtype=np.uint64), COINS, steps, max(sizes, default=0)
    )
    up = uniform(drawn) < rate
    return [one[:, :size] for one, size in zip(up, sizes, strict=True)]


def _in_a_row(rows: NDArray[np.int64], counts: NDArray[np.int64]) -> Batches:
    """Put each client's own steps side by side, without the gaps between its epochs.

    Args:
        rows: (clients, epochs, steps per epoch, width).
        counts: (clients, epochs, steps per epoch); 0 where a client has no such step.
    """
    clients, epochs, each, width = rows.shape
    steps = epochs * each
    flat, table = counts.reshape(clients, steps), rows.reshape(clients, steps, width)
    if flat.all():
        return Batches(rows=table, counts=np.ascontiguousarray(flat))
    # A stable sort by "has no such step" keeps the order of those it has.
    order = np.argsort(flat == 0, axis=1, kind="stable")
    return Batches(
        rows=np.take_along_axis(table, order[:, :, None], axis=1),
        counts=np.take_along_axis(flat, order, axis=1),
    )
