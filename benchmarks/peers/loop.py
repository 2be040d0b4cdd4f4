"""The plain loop: one client after the other in torch, nothing of ours.

As fast as a plain loop gets here: one thread, no DataLoader and no optimiser object
(both cost more than the arithmetic), the parameters in one tensor and their gradients
in another, so that a step is one subtraction.
"""

from __future__ import annotations

import time

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from benchmarks import nets
from benchmarks.work import LEARNING_RATE, Rounds, Work, rounds_of


class Loop:
    """A workload made ready for the loop: one net, and every client's records.

    Args:
        work: what to train, and on what.
    """

    def __init__(self, work: Work) -> None:
        self.net: nn.Module = nets.build(work.net).train()
        self.values, self.slopes = nets.flatten(self.net)
        self.x, self.y = torch.from_numpy(work.x), torch.from_numpy(work.y)
        self.rows = torch.from_numpy(work.rows)

    def train(self, before: Tensor, client: int) -> Tensor:
        """Return the client's model after its steps; the next call overwrites it."""
        self.values.copy_(before)
        rows = self.rows[client]
        # One gather; the batches are views of it.
        for x, y in zip(self.x[client][rows], self.y[client][rows], strict=True):
            self.slopes.zero_()
            cross_entropy(self.net(x), y).backward()
            self.values.sub_(self.slopes, alpha=LEARNING_RATE)
        return self.values

    def round(self, before: Tensor) -> Tensor:
        """Return the mean of all clients' models, trained from the one given."""
        total = torch.zeros_like(before)
        for client in range(len(self.y)):
            total += self.train(before, client)
        return total / len(self.y)


def run(work: Work, rounds: int) -> Rounds:
    """Train one round more than asked; the first warms up."""
    loop, model = Loop(work), torch.from_numpy(work.before)
    marks, models = [time.perf_counter()], []
    for _ in range(rounds + 1):
        model = loop.round(model)
        marks.append(time.perf_counter())
        models.append(model.numpy())
    return rounds_of(marks, models)


def changes(work: Work) -> np.ndarray:
    """Return what each client changes: (clients, parameters) float32."""
    loop, before = Loop(work), torch.from_numpy(work.before)
    each = [loop.train(before, client) - before for client in range(len(work.y))]
    return torch.stack(each).numpy()
