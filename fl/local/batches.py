"""Which records every client of a stack steps on, and when: the loop's own batches.

Clients of different size share one table. A batch that is shorter than the table is
wide is filled up with a record of the same client that counts for nothing, so that
whatever is finite for the client's own records is finite for the filling.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


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
    """All steps of a stack whose clients are sorted, most steps first.

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
    sizes: Sequence[int], seeds: Sequence[int], *, epochs: int, batch_size: int
) -> Batches:
    """Draw the batches of every client as `train_local` draws them from its seed.

    Args:
        sizes: records per client, in descending order.
        seeds: of the orders, one per client.
        epochs: passes over the records.
        batch_size: records per step, at most.
    """
    width = min(batch_size, sizes[0])
    steps = steps_of(sizes[0], epochs, batch_size)
    rows = np.empty((len(sizes), steps, width), dtype=np.int64)
    counts = np.zeros((len(sizes), steps), dtype=np.int64)
    order = torch.Generator()
    first = 0
    for client, (size, seed) in enumerate(zip(sizes, seeds, strict=True)):
        if not size:
            break  # takes no step, nor does anyone after it
        order.manual_seed(seed)
        each = steps_of(size, 1, batch_size)
        table = rows[client, : epochs * each].reshape(epochs, each * width)
        for epoch in range(epochs):
            drawn = torch.randperm(size, generator=order).numpy() + first
            table[epoch, :size] = drawn
            table[epoch, size:] = drawn[-1]
        short = counts[client, : epochs * each].reshape(epochs, each)
        short[:] = width
        short[:, -1] = size - (each - 1) * width
        first += size
    return Batches(rows=rows, counts=counts)
