"""Slow and obvious: one client at a time, torch.optim, integers for the draws.

Nothing of the engine is imported here.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

WORD = 2**32 - 1


def philox(counter: Sequence[int], key: Sequence[int]) -> list[int]:
    """Philox4x32-10 as the paper writes it, in Python's integers."""
    a, b, c, d = counter
    left, right = key
    for _ in range(10):
        one, two = 0xD2511F53 * a, 0xCD9E8D57 * c
        a, b, c, d = two >> 32 ^ b ^ left, two & WORD, one >> 32 ^ d ^ right, one & WORD
        left, right = left + 0x9E3779B9 & WORD, right + 0xBB67AE85 & WORD
    return [a, b, c, d]


def word(key: int, purpose: int, row: int, column: int) -> int:
    drawn = philox((column // 2, row, purpose, 0), (key & WORD, key >> 32))
    low, high = drawn[:2] if column % 2 == 0 else drawn[2:]
    return high << 32 | low


def order(key: int, epoch: int, size: int) -> list[int]:
    return sorted(range(size), key=lambda record: word(key, 0, epoch, record))


def batches(key: int, size: int, epochs: int, batch: int) -> Iterator[list[int]]:
    for epoch in range(epochs):
        rows = order(key, epoch, size)
        yield from (rows[at : at + batch] for at in range(0, size, batch))


def flat(model: nn.Module) -> np.ndarray:
    return torch.cat([p.detach().reshape(-1) for p in model.parameters()]).numpy()


def train(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    key: int,
    optimizer: Callable[[list[nn.Parameter]], torch.optim.Optimizer],
    *,
    epochs: int = 2,
    batch: int = 4,
    proximal: float = 0.0,
    correction: np.ndarray | None = None,
) -> np.ndarray:
    """Return the change that plain training of a copy of the model makes."""
    model = copy.deepcopy(model).train()
    parameters = list(model.parameters())
    released = [p.detach().clone() for p in parameters]
    steps = optimizer(parameters)
    before = flat(model).copy()
    sizes = [p.numel() for p in parameters]
    torch.manual_seed(key)
    for rows in batches(key, len(y), epochs, batch):
        steps.zero_grad()
        loss = cross_entropy(model(x[rows]), y[rows])
        for parameter, start in zip(parameters, released, strict=True):
            loss = loss + proximal / 2 * (parameter - start).square().sum()
        if correction is not None:
            parts = torch.from_numpy(correction).split(sizes)
            for parameter, part in zip(parameters, parts, strict=True):
                loss = loss + (parameter.reshape(-1) * part).sum()
        loss.backward()
        steps.step()
    return flat(model) - before
