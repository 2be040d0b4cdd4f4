"""The plain loop: minibatch SGD on one client's records.

Plain SGD with heavy-ball momentum as torch.optim.SGD does it (v = momentum v + g,
w = w - lr v), written out because an optimiser and a DataLoader cost more than the
arithmetic of a small model. It does not clip, encode or add noise. What the stack
computes is defined by this loop.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from fl.errors import ModelError
from fl.local.thread import one_thread
from fl.models import to_vector


def train_local(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    *,
    epochs: int,
    batch_size: int,
    learning_rate: float,
    momentum: float,
    seed: int,
) -> NDArray[np.float32]:
    """Train the model in place on one client's records; return the change.

    Guarantee: the same model, records, settings and seed give the same change, bit
    for bit, on the same kind of machine, whatever its number of cores. The result is
    finite. Torch's global generator and number of threads are left as they were.

    Args:
        model: in its released state; left in the trained state.
        x: (N, *input_shape) float32, N >= 1.
        y: (N,) int64.
        epochs: passes over the records, each in its own order.
        batch_size: records per step; the last step of an epoch may have fewer.
        learning_rate: > 0.
        momentum: in [0, 1); its state starts from zero and is not kept.
        seed: of the orders, and of any dropout layer.

    Returns:
        (parameters,) float32, trained less released parameters.

    Raises:
        ModelError: the training diverged.
    """
    before = to_vector(model)
    parameters = list(model.parameters())
    velocity = [torch.zeros_like(p) for p in parameters] if momentum else []
    order = torch.Generator().manual_seed(seed)
    model.train()
    with one_thread(), torch.random.fork_rng(devices=[]):
        # The CPU generator alone: torch.manual_seed also formats a stack for CUDA.
        torch.default_generator.manual_seed(seed)
        for _ in range(epochs):
            rows = torch.randperm(len(y), generator=order)
            # One gather per epoch; its slices are views.
            shuffled_x, shuffled_y = x[rows], y[rows]
            for start in range(0, len(y), batch_size):
                batch = slice(start, start + batch_size)
                loss = cross_entropy(model(shuffled_x[batch]), shuffled_y[batch])
                gradients = torch.autograd.grad(loss, parameters)
                sgd_step(parameters, gradients, velocity, learning_rate, momentum)
    change = to_vector(model) - before
    if not np.isfinite(change).all():
        raise diverged(learning_rate)
    return change


def diverged(learning_rate: float) -> ModelError:
    """Return the error of a training whose change is not finite."""
    return ModelError(
        f"local training diverged at training.learning_rate = {learning_rate}; "
        f"lower it."
    )


@torch.no_grad()
def sgd_step(
    parameters: Sequence[Tensor],
    gradients: Sequence[Tensor],
    velocity: Sequence[Tensor],
    learning_rate: float,
    momentum: float,
) -> None:
    """Move the parameters in place by one step of SGD.

    Args:
        parameters: of one model, or stacked over many.
        gradients: of the same shapes.
        velocity: of the same shapes, moved too; not looked at without momentum.
        learning_rate: > 0.
        momentum: in [0, 1).
    """
    moves = gradients
    if momentum:
        for speed, gradient in zip(velocity, gradients, strict=True):
            speed.mul_(momentum).add_(gradient)
        moves = velocity
    for parameter, move in zip(parameters, moves, strict=True):
        parameter.sub_(move, alpha=learning_rate)
