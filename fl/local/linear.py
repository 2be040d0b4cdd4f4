"""Stacked gradients by hand: Flatten, then Linear and ReLU in any order.

One batched matrix product per layer serves all clients, forward and back, without the
bookkeeping of automatic differentiation, which costs more than the arithmetic here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn


def layers_of(model: nn.Module) -> tuple[nn.Module, ...] | None:
    """Return the layers after the flattening, or None for any other model."""
    if type(model) is not nn.Sequential:
        return None
    layers = tuple(_flat(model))
    if not layers or not _flattens(layers[0]):
        return None
    if any(type(layer) not in (nn.Linear, nn.ReLU) for layer in layers[1:]):
        return None
    return layers[1:]


def gradients(
    layers: Sequence[nn.Module],
    parameters: Sequence[Tensor],
    x: Tensor,
    y: Tensor,
    weights: Tensor,
) -> list[Tensor]:
    """Return the gradients of each client's weighted cross-entropy.

    Args:
        layers: from `layers_of`.
        parameters: of the layers in order, each (clients, *shape).
        x: (clients, width, *input_shape) float32.
        y: (clients, width) int64.
        weights: (clients, width) float32, of the records in their client's loss.

    Returns:
        Shaped like the parameters.
    """
    inputs: list[Tensor] = []
    used: list[tuple[Tensor, Tensor | None]] = []
    left = iter(parameters)
    out = x.flatten(2)  # (clients, width, features)
    for layer in layers:
        inputs.append(out)
        if isinstance(layer, nn.Linear):
            weight = next(left)
            bias = next(left) if layer.bias is not None else None
            used.append((weight, bias))
            out = torch.bmm(out, weight.transpose(1, 2))
            if bias is not None:
                out.add_(bias.unsqueeze(1))
        else:
            out = out.clamp_min(0)
    # The gradient of the cross-entropy: softmax less the one-hot label.
    back = torch.softmax(out, dim=2)
    back.scatter_add_(2, y.unsqueeze(2), back.new_full((), -1.0).expand(*y.shape, 1))
    back.mul_(weights.unsqueeze(2))
    return _backwards(layers, inputs, used, back)


def _backwards(
    layers: Sequence[nn.Module],
    inputs: Sequence[Tensor],
    used: list[tuple[Tensor, Tensor | None]],
    back: Tensor,
) -> list[Tensor]:
    found: list[Tensor] = []  # last parameter first
    for layer, given in zip(reversed(layers), reversed(inputs), strict=True):
        if not isinstance(layer, nn.Linear):
            # As torch does it: no gradient at zero.
            back = back * (given > 0)
            continue
        weight, bias = used.pop()
        if bias is not None:
            found.append(back.sum(dim=1))
        found.append(torch.bmm(back.transpose(1, 2), given))
        if not used:
            break  # nothing below learns
        back = torch.bmm(back, weight)
    return found[::-1]


def _flat(model: nn.Sequential) -> Iterator[nn.Module]:
    for layer in model:
        if type(layer) is nn.Sequential:
            yield from _flat(layer)
        else:
            yield layer


def _flattens(layer: nn.Module) -> bool:
    return type(layer) is nn.Flatten and (layer.start_dim, layer.end_dim) == (1, -1)
