"""Per-example gradients of a stack: what DP-SGD needs (`dp.sgd.PerExampleGradients`).

by hand   ghost norms: a dense layer's norm is a product of two, and the weighted
          sum is the ordinary one with its rows scaled; no record's gradient is made
vmap      each record's gradient is made
Opacus    its hooks, one client at a time, for what cannot be stacked
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from fl.local.slopes import ExampleSlope


class StackedExamples:
    """The records' gradients of one step, from the slopes of all parameters."""

    def __init__(self, slopes: Sequence[ExampleSlope]) -> None:
        """Take the slopes of an unweighted sum over the records."""
        squares = torch.stack([one.squared_norms() for one in slopes]).sum(dim=0)
        finite = torch.isfinite(squares)
        if not bool(finite.all()):
            # Zeroed, not scaled: 0 times infinity would be NaN for the whole client.
            slopes = [one.without(~finite) for one in slopes]
            squares = torch.where(finite, squares, 0.0)
        self._slopes, self._norms = slopes, squares.sqrt()

    def norms(self) -> Tensor:
        """Return each record's norm, (clients, width) float64."""
        return self._norms

    def weighted_sums(self, factors: Tensor) -> Tensor:
        """Return the weighted sums, (clients, parameters) float32."""
        parts = [one.weighted(factors).dense().flatten(1) for one in self._slopes]
        return torch.cat(parts, dim=1)
