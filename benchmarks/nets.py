"""The two small networks that everybody trains here: plain torch, and nothing of ours.

A peer in an environment of its own builds the very same modules.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

SHAPE, CLASSES = (1, 8, 8), 10
NAMES = ("mlp", "cnn")


def build(name: str) -> nn.Sequential:
    """Return the net, the same weights every time; torch's generator is left alone.

    Args:
        name: "mlp" (64-64-10, 4,810 parameters) or "cnn" (two convolutions, 9,930).
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        if name == "mlp":
            return nn.Sequential(
                nn.Flatten(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, CLASSES)
            )
        return nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(16, 32, 3, padding=1),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(32 * 4 * 4, CLASSES),
        )


def flatten(net: nn.Module) -> tuple[Tensor, Tensor]:
    """Lay the parameters and their gradients end to end, each in one tensor.

    Returns:
        (parameters,) float32, twice. The net's own parameters and gradients are views
        of these from now on: writing to the first sets the net.
    """
    parameters = list(net.parameters())
    values = torch.cat([parameter.detach().reshape(-1) for parameter in parameters])
    slopes = torch.zeros_like(values)
    start = 0
    for parameter in parameters:
        here = slice(start, start + parameter.numel())
        parameter.data = values[here].view_as(parameter)
        parameter.grad = slopes[here].view_as(parameter)
        start = here.stop
    return values, slopes
