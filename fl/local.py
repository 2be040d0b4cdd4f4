"""Local training: minibatch SGD on one client's records, the tree's one training loop.

Plain SGD with heavy-ball momentum as torch.optim.SGD does it (v = momentum v + g,
w = w - lr v), written out because an optimiser and a DataLoader cost more than the
arithmetic of a small model. It does not clip, encode or add noise.

Everything runs in one thread. Small models lose far more to the threads' meeting
points than they gain, and the order of a sum then depends on no machine's cores.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from fl.errors import ModelError
from fl.models import to_vector

# Records per forward pass outside training; bounds memory, changes no result.
CHUNK = 2048


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
    with _one_thread(), torch.random.fork_rng(devices=[]):
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
                _step(parameters, gradients, velocity, learning_rate, momentum)
    change = to_vector(model) - before
    if not np.isfinite(change).all():
        raise ModelError(
            f"local training diverged at training.learning_rate = {learning_rate}; "
            f"lower it."
        )
    return change


def predict_logits(model: nn.Module, x: Tensor) -> NDArray[np.float32]:
    """Return the model's logits, (N, classes) float32, without training it."""
    was_training = model.training
    model.eval()
    with _one_thread(), torch.no_grad():
        parts = [model(x[at : at + CHUNK]) for at in range(0, len(x), CHUNK)]
        logits = torch.cat(parts)
    model.train(was_training)
    array: NDArray[np.float32] = logits.numpy()
    return array


def evaluate(
    model: nn.Module, x: Tensor, y: Tensor
) -> tuple[float, NDArray[np.float32]]:
    """Return the accuracy and each record's cross-entropy.

    Args:
        model: left as it was.
        x: (N, *input_shape) float32, N >= 1.
        y: (N,) int64.

    Returns:
        Share of records whose largest logit is their label's, and (N,) losses in nats.
    """
    logits = torch.from_numpy(predict_logits(model, x))
    accuracy = float((logits.argmax(dim=1) == y).double().mean())
    losses: NDArray[np.float32] = cross_entropy(logits, y, reduction="none").numpy()
    return accuracy, losses


@contextmanager
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@torch.no_grad()
def _step(
    parameters: list[nn.Parameter],
    gradients: tuple[Tensor, ...],
    velocity: list[Tensor],
    learning_rate: float,
    momentum: float,
) -> None:
    moves: list[Tensor] | tuple[Tensor, ...] = gradients
    if momentum:
        for speed, gradient in zip(velocity, gradients, strict=True):
            speed.mul_(momentum).add_(gradient)
        moves = velocity
    for parameter, move in zip(parameters, moves, strict=True):
        parameter.sub_(move, alpha=learning_rate)
