"""Stacked gradients by automatic differentiation, for models that are not known here.

All clients at once through torch.func.vmap over the forward pass, or a stack of one
client through the model itself, for what vmap cannot run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import cast

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap
from torch.nn.functional import cross_entropy

from fl.local.slopes import Each, Whole, apart
from fl.models import load_vector, to_vector

Forward = Callable[[Sequence[Tensor], Tensor], Tensor]
"""Parameters (clients, *shape) and x (clients, width, ...) -> (clients, width, K)."""


def by_vmap(model: nn.Module) -> Forward:
    """Return the model's stacked forward pass.

    A call swaps the parameters of the model for a moment.
    """
    names = [name for name, _ in model.named_parameters()]

    def logits(parameters: Sequence[Tensor], x: Tensor) -> Tensor:
        named = dict(zip(names, parameters, strict=True))
        return cast(Tensor, functional_call(model, named, (x,)))

    # A model that draws at random raises; two clients must not share a draw.
    stacked = vmap(logits, randomness="error")
    return lambda parameters, x: stacked(tuple(parameters), x)


def gradients(
    forward: Forward,
    parameters: Sequence[Tensor],
    x: Tensor,
    y: Tensor,
    weights: Tensor,
) -> list[Whole]:
    """Return the gradients of each client's weighted cross-entropy.

    Args:
        forward: of all the stack's clients.
        parameters: each (clients, *shape).
        x: (clients, width, *input_shape) float32.
        y: (clients, width) int64.
        weights: (clients, width) float32.
    """
    # One derivative of the clients' sum: no client's loss has another's parameters.
    # (torch.func.grad would do as well, but loads a compiler for half a second.)
    leaves = [p.detach().requires_grad_() for p in parameters]
    with torch.enable_grad():
        out = forward(leaves, x)
        losses = cross_entropy(out.flatten(0, 1), y.flatten(), reduction="none")
        loss = (losses * weights.flatten()).sum()
        found = torch.autograd.grad(loss, leaves, materialize_grads=True)
    return [Whole(one) for one in found]


def of_each_unit(
    forward: Forward,
    parameters: Sequence[Tensor],
    x: Tensor,
    y: Tensor,
    weights: Tensor | None = None,
) -> list[Each]:
    """Return each unit's own gradients: every unit as a client of its own.

    Args:
        forward: of all the stack's clients.
        parameters: each (clients, *shape).
        x: (clients, width * places, *input_shape) float32.
        y: (clients, width * places) int64.
        weights: (clients, width, places) float32, of a unit's records in its sum; None
            where every record is a unit.
    """
    clients = len(y)
    weights = torch.ones((*y.shape, 1), device=y.device) if weights is None else weights
    _, width, places = weights.shape
    copies = [
        p.unsqueeze(1).expand(clients, width, *p.shape[1:]).flatten(0, 1)
        for p in parameters
    ]
    flat_x = apart(x.flatten(0, 1), 0, (clients * width, places))
    flat_y, own = y.reshape(-1, places), weights.flatten(0, 1)
    found = gradients(forward, copies, flat_x, flat_y, own)
    return [Each(apart(one.gradient, 0, (clients, width))) for one in found]


def alone(
    model: nn.Module,
    parameters: Sequence[Tensor],
    x: Tensor,
    y: Tensor,
    weights: Tensor,
) -> list[Whole]:
    """Return the gradients of one client, to whom the model is lent.

    Args:
        model: its parameters are overwritten; see `lent`.
        parameters: each (1, *shape).
        x: (1, width, *input_shape) float32.
        y: (1, width) int64.
        weights: (1, width) float32.
    """
    put(model, parameters)
    with torch.enable_grad():
        losses = cross_entropy(model(x.squeeze(0)), y.squeeze(0), reduction="none")
        loss = (losses * weights.squeeze(0)).sum()
        own = list(model.parameters())
        # What the records do not reach, for their values or at all, does not move.
        found = torch.autograd.grad(loss, own, materialize_grads=True)
    return [Whole(one.unsqueeze(0)) for one in found]


@torch.no_grad()
def put(model: nn.Module, parameters: Sequence[Tensor]) -> None:
    """Overwrite the model's parameters with those of a stack of one client."""
    for own, now in zip(model.parameters(), parameters, strict=True):
        own.copy_(now.squeeze(0))


@contextmanager
def lent(model: nn.Module) -> Iterator[None]:
    """Put the model's parameters back at the end."""
    before = to_vector(model)
    try:
        yield
    finally:
        load_vector(model, before)
