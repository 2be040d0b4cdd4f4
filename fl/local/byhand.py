"""Stacked slopes by hand: forward through the layers, and back."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from fl.local.layers import Kept, Layer
from fl.local.slopes import LayerSlope
from fl.local.translate import takes_images


def slopes(
    layers: Sequence[Layer],
    parameters: Sequence[Tensor],
    x: Tensor,
    y: Tensor,
    weights: Tensor,
) -> list[LayerSlope]:
    """Return the slopes of each client's weighted cross-entropy.

    Args:
        layers: from `layers_of`.
        parameters: of the layers in order, each (clients, *shape).
        x: (clients, width, *input_shape) float32.
        y: (clients, width) int64.
        weights: (clients, width) float32, of the records in their client's loss.

    Returns:
        One per parameter.
    """
    out = x.permute(0, 1, 3, 4, 2).contiguous() if takes_images(layers) else x
    passed: list[tuple[Layer, Sequence[Tensor], Kept]] = []
    start = 0
    for layer in layers:
        own = parameters[start : start + layer.count]
        out, kept = layer.forward(own, out)
        passed.append((layer, own, kept))
        start += layer.count
    # The gradient of the cross-entropy: softmax less the one-hot label. (Along a short
    # last axis torch's own softmax is five times slower.)
    back = (out - out.amax(dim=2, keepdim=True)).exp_()
    back.div_(back.sum(dim=2, keepdim=True))
    back.scatter_add_(2, y.unsqueeze(2), back.new_full((), -1.0).expand(*y.shape, 1))
    back.mul_(weights.unsqueeze(2))
    found: list[LayerSlope] = []  # last parameter first
    for layer, own, kept in reversed(passed):
        start -= layer.count
        got, back = layer.backward(own, kept, back, below=start > 0)
        found += reversed(got)
        if not start:
            break  # nothing below learns
    return found[::-1]
