"""DP-SGD by Opacus, one client after the other: its hooks, or its ghost clipping.

The model is wrapped once and serves every client, which is faster than wrapping it for
each; no loader and no accountant, and the samples are handed over.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence

import numpy as np
import torch
from opacus import GradSampleModule
from opacus.grad_sample import GradSampleModuleFastGradientClipping as GhostModule
from opacus.optimizers import DPOptimizer
from opacus.optimizers import DPOptimizerFastGradientClipping as GhostOptimizer
from opacus.utils.fast_gradient_clipping_utils import (
    DPLossFastGradientClipping as GhostLoss,
)
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from benchmarks.work import LEARNING_RATE
from dp.sgd import DpSgd

Samples = Sequence[Sequence[Tensor]]
"""Per client and step the rows of the client's own records."""
Step = Callable[[Tensor, Tensor], None]


def by_hooks(net: nn.Module, mechanism: DpSgd) -> Step:
    """Return a step that makes every record's gradient."""
    wrapped = GradSampleModule(net, loss_reduction="sum")
    optimizer = DPOptimizer(_sgd(net), **_numbers(mechanism))

    def step(x: Tensor, y: Tensor) -> None:
        optimizer.zero_grad()
        cross_entropy(wrapped(x), y, reduction="sum").backward()
        optimizer.step()

    return step


def by_ghosts(net: nn.Module, mechanism: DpSgd) -> Step:
    """Return a step that makes norms first, and goes back a second time."""
    wrapped = GhostModule(net, max_grad_norm=mechanism.clip_norm_l2)
    optimizer = GhostOptimizer(_sgd(net), **_numbers(mechanism))
    loss = GhostLoss(wrapped, optimizer, nn.CrossEntropyLoss())

    def step(x: Tensor, y: Tensor) -> None:
        optimizer.zero_grad()
        loss(wrapped(x), y).backward()
        optimizer.step()

    return step


def changes(
    net: nn.Module,
    step: Step,
    records: Sequence[tuple[Tensor, Tensor]],
    samples: Samples,
) -> np.ndarray:
    """Train every client from the net's present weights, which are put back.

    Returns:
        (clients, parameters) float32.
    """
    parameters = list(net.parameters())
    before = [parameter.detach().clone() for parameter in parameters]
    found = []
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Full backward hook is firing")
        for (x, y), rows in zip(records, samples, strict=True):
            for some in rows:
                step(x[some], y[some])
            moves = zip(parameters, before, strict=True)
            found.append(
                torch.cat([(now.detach() - was).flatten() for now, was in moves])
            )
            _put(parameters, before)
    return torch.stack(found).numpy()


@torch.no_grad()
def _put(parameters: Sequence[nn.Parameter], values: Sequence[Tensor]) -> None:
    for parameter, value in zip(parameters, values, strict=True):
        parameter.copy_(value)


def _sgd(net: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.SGD(net.parameters(), lr=LEARNING_RATE)


def _numbers(mechanism: DpSgd) -> dict[str, float]:
    return {
        "noise_multiplier": mechanism.noise_multiplier,
        "max_grad_norm": mechanism.clip_norm_l2,
        "expected_batch_size": mechanism.batch_size,
    }
