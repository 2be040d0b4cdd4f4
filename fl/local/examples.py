"""Per-example gradients of a stack: what DP-SGD needs (`dp.sgd.PerExampleGradients`).

Where the unit of privacy is the subject, an example is the sum over one subject's
records; its gradient is made, since the norm of a sum is no product of norms.

by hand   ghost norms: a dense layer's norm is a product of two, and the weighted
          sum is the ordinary one with its rows scaled; no record's gradient is made
vmap      each record's gradient is made
Opacus    its hooks, one client at a time, for what cannot be stacked
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from fl.local import autodiff, byhand
from fl.local.autodiff import Forward
from fl.local.layers import Layer
from fl.local.slopes import ExampleSlope, Seen, Slope


class Examples(Protocol):
    """Computes the gradients of a stack's units, at parameters of their clients."""

    def __call__(
        self,
        parameters: Sequence[Tensor],
        x: Tensor,
        y: Tensor,
        weights: Tensor | None = None,
    ) -> StackedExamples:
        """Return one gradient per unit.

        Args:
            parameters: each (clients, *shape).
            x: (clients, records, *input_shape) float32.
            y: (clients, records) int64.
            weights: (clients, width, places) float32 with width * places = records, of
                the records in the sum over their unit: 1, or 0 for what fills it up;
                None where every record is a unit.
        """


class StackedExamples:
    """The units' gradients of one step, from the slopes of all parameters."""

    def __init__(self, slopes: Sequence[ExampleSlope]) -> None:
        """Take the slopes of an unweighted sum over the units."""
        seen = Seen()
        squares = torch.stack([one.squared_norms(seen) for one in slopes]).sum(dim=0)
        finite = torch.isfinite(squares)
        if not bool(finite.all()):
            # Zeroed, not scaled: 0 times infinity would be NaN for the whole client.
            slopes = [one.without(~finite) for one in slopes]
            squares = torch.where(finite, squares, 0.0)
        self._slopes, self._norms = slopes, squares.sqrt()

    def norms(self) -> Tensor:
        """Return each unit's norm, (clients, width) float64."""
        return self._norms

    def weighted_sums(self, factors: Tensor) -> Tensor:
        """Return the weighted sums, (clients, parameters) float32."""
        parts = [one.dense().flatten(1) for one in self.parts(factors)]
        return torch.cat(parts, dim=1)

    def parts(self, factors: Tensor) -> list[Slope]:
        """Return the weighted sums by parameter, not made yet."""
        seen, roots = Seen(), factors.sqrt().float()
        return [one.weighted(roots, seen) for one in self._slopes]


def examples_by_hand(layers: Sequence[Layer]) -> Examples:
    """Return what computes them layer by layer."""

    def found(
        parameters: Sequence[Tensor],
        x: Tensor,
        y: Tensor,
        weights: Tensor | None = None,
    ) -> StackedExamples:
        if weights is None:
            ones = torch.ones_like(y, dtype=x.dtype)
            slopes = byhand.slopes(layers, parameters, x, y, ones)
        else:
            slopes = [
                one.grouped(weights.shape[1])
                for one in byhand.slopes(layers, parameters, x, y, weights.flatten(1))
            ]
        return StackedExamples([one.of_records() for one in slopes])

    return found


def examples_by_vmap(forward: Forward) -> Examples:
    """Return what computes them through a stacked forward pass."""

    def found(
        parameters: Sequence[Tensor],
        x: Tensor,
        y: Tensor,
        weights: Tensor | None = None,
    ) -> StackedExamples:
        return StackedExamples(
            autodiff.of_each_unit(forward, parameters, x, y, weights)
        )

    return found
