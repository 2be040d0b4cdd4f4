"""DP-SGD by Opacus as its pages show it: make_private for each client, then a loop.

Every client has a model, an optimiser and a loader of its own from
`PrivacyEngine.make_private`, made beforehand. A round puts the released weights into
each, goes through its loader once (Poisson batches), and takes the change.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from opacus import PrivacyEngine
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from benchmarks.work import LEARNING_RATE

MODES = ("hooks", "functorch", "ghost")


@dataclass(frozen=True, slots=True, kw_only=True)
class Private:
    """One client's objects as make_private returns them."""

    model: nn.Module
    optimizer: Any
    criterion: Callable[[Tensor, Tensor], Any]
    loader: DataLoader[Any]


def private(
    net: nn.Module,
    records: tuple[Tensor, Tensor],
    *,
    mode: str,
    batch: int,
    clip: float,
    noise: float,
) -> Private:
    """Call make_private for one client; the net is wrapped in place."""
    loss = nn.CrossEntropyLoss()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that the generator is not secure
        made = PrivacyEngine().make_private(
            module=net.train(),
            optimizer=torch.optim.SGD(net.parameters(), lr=LEARNING_RATE),
            criterion=loss,
            data_loader=DataLoader(TensorDataset(*records), batch_size=batch),
            noise_multiplier=noise,
            max_grad_norm=clip,
            grad_sample_mode=mode,
        )
    if mode == "ghost":
        model, optimizer, loss, loader = made
    else:
        model, optimizer, loader = made
    return Private(model=model, optimizer=optimizer, criterion=loss, loader=loader)


def round_of(
    clients: Sequence[Private],
    before: Sequence[Tensor],
    samples: Sequence[Sequence[tuple[Tensor, Tensor]]] | None = None,
) -> np.ndarray:
    """Train every client from the released weights.

    Args:
        clients: of the round.
        before: the released weights, parameter by parameter.
        samples: batches for each client, in place of what its loader draws.

    Returns:
        (clients, parameters) float32, the changes.
    """
    found = []
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Full backward hook is firing")
        for place, one in enumerate(clients):
            parameters = list(one.model.parameters())
            with torch.no_grad():
                for parameter, value in zip(parameters, before, strict=True):
                    parameter.copy_(value)
            for x, y in one.loader if samples is None else samples[place]:
                one.optimizer.zero_grad()
                one.criterion(one.model(x), y).backward()
                one.optimizer.step()
            moves = zip(parameters, before, strict=True)
            found.append(
                torch.cat([(now.detach() - was).flatten() for now, was in moves])
            )
    return torch.stack(found).numpy()
