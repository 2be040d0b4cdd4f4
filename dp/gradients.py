"""Opacus' per-example gradients, for one client and any model that Opacus knows.

Where the unit of privacy is the subject, those of one subject's records are summed.

The hooks are put on the model and taken off again, and nothing that holds records
stays behind. What clips, sums and adds noise is `dp.sgd`.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from opacus import GradSampleModule
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from dp.errors import ParameterError

# A gradient with a larger norm counts as not finite: scaled down to a clip norm it
# would leave float32's range.
LARGEST = 2.0**60
# What Opacus leaves on parameters and layers; some of it holds records.
ON_PARAMETERS = (
    "grad_sample",
    "summed_grad",
    "_forward_counter",
    "_current_grad_sample",
)
ON_LAYERS = ("activations", "max_batch_len")


@dataclass(frozen=True, slots=True)
class OpacusGradients:
    """One client's gradients, (units, parameters); a `dp.sgd.PerExampleGradients`."""

    flat: Tensor

    def norms(self) -> Tensor:
        """Return (1, units) float64."""
        norms: Tensor = torch.linalg.vector_norm(self.flat, dim=1, dtype=torch.float64)
        return norms.unsqueeze(0)

    def weighted_sums(self, factors: Tensor) -> Tensor:
        """Return (1, parameters) float32."""
        # In float64: a factor may be too small for float32.
        return (factors @ self.flat.to(factors.dtype)).to(self.flat.dtype)


class OfRecords(Protocol):
    """Computes the gradients of units at the model's present parameters."""

    def __call__(
        self, x: Tensor, y: Tensor, weights: Tensor | None = None
    ) -> OpacusGradients:
        """Return one gradient per unit.

        Args:
            x: (N, *input_shape), N >= 1.
            y: (N,) labels.
            weights: (units, places) with units * places = N, of the records in the sum
                over their unit; None where every record is a unit.
        """


@contextmanager
def per_example(model: nn.Module) -> Iterator[OfRecords]:
    """Hook the model; yield what computes gradients at its present parameters.

    Args:
        model: all its parameters are to be trained; left without hooks.

    Raises:
        ParameterError: the caller's: Opacus cannot handle a layer, or a parameter has
            no gradient for each record.
    """
    wrapped: Any = None
    try:
        try:
            wrapped = GradSampleModule(model, loss_reduction="sum")
        except (NotImplementedError, ValueError) as error:
            raise ParameterError(f"Opacus cannot train this model: {error}.") from error
        parameters = list(model.parameters())
        yield lambda x, y, weights=None: _gradients(wrapped, parameters, x, y, weights)
    finally:
        if wrapped is not None:
            wrapped.remove_hooks()
        for parameter in model.parameters():
            parameter.grad = None
            _forget(parameter, ON_PARAMETERS)
        for layer in model.modules():
            _forget(layer, ON_LAYERS)


def _gradients(
    wrapped: nn.Module,
    parameters: list[nn.Parameter],
    x: Tensor,
    y: Tensor,
    weights: Tensor | None,
) -> OpacusGradients:
    with torch.enable_grad(), warnings.catch_warnings():
        # torch notes that the first layer's input needs no gradient.
        warnings.filterwarnings("ignore", message="Full backward hook is firing")
        loss = cross_entropy(wrapped(x), y, reduction="sum")
        loss.backward()  # type: ignore[no-untyped-call]
    parts = []
    for parameter in parameters:
        got = getattr(parameter, "grad_sample", None)
        if not isinstance(got, Tensor) or len(got) != len(y):
            raise ParameterError(
                f"A parameter of shape {tuple(parameter.shape)} has no gradient for "
                "each record; use every parameter in the forward pass, in a layer "
                "that Opacus knows, or freeze it."
            )
        parts.append(got.flatten(1))
        parameter.grad = parameter.grad_sample = None  # type: ignore[attr-defined]
    flat = torch.cat(parts, dim=1)
    if weights is not None:
        units, places = weights.shape
        each = flat.view(units, places, -1) * weights.unsqueeze(2).to(flat.dtype)
        flat = each.sum(dim=1)
    # Any map of one unit's gradient may come before clipping. Without this one, a
    # single NaN or infinity would make the sum NaN: unbounded, and visible.
    sizes = torch.linalg.vector_norm(flat, dim=1, keepdim=True, dtype=torch.float64)
    return OpacusGradients(torch.where(sizes < LARGEST, flat, 0.0))


def _forget(owner: object, names: tuple[str, ...]) -> None:
    for name in names:
        if name in vars(owner):
            delattr(owner, name)
