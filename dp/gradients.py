"""Opacus' per-example gradients and optimiser, with public constants and our noise.

What `dp.sgd` takes from Opacus, and how it is put back: hooks are removed, and nothing
that holds records stays on the model.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from opacus import GradSampleModule
from opacus.optimizers import DPOptimizer
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from dp.errors import ParameterError

Draw: TypeAlias = Callable[[int], NDArray[np.float64]]
"""Number of the step -> noise for all trained parameters, flat."""

# Opacus clips in float32; aiming this much lower keeps each exact norm within C.
MARGIN = 1.0 - 2.0**-16
# What Opacus leaves on parameters and layers; some of it holds records.
ON_PARAMETERS = (
    "grad_sample",
    "summed_grad",
    "_forward_counter",
    "_current_grad_sample",
)
ON_LAYERS = ("activations", "max_batch_len")


class PublicOptimizer(DPOptimizer):  # type: ignore[misc]
    """Opacus' optimiser with our noise; the normaliser is what it was given."""

    def __init__(
        self,
        inner: torch.optim.Optimizer,
        *,
        draw: Draw,
        clip_norm_l2: float,
        batch_size: float,
    ) -> None:
        super().__init__(
            inner,
            noise_multiplier=0.0,  # not read: add_noise is ours
            max_grad_norm=clip_norm_l2 * MARGIN,
            expected_batch_size=batch_size,
        )
        self._draw = draw
        self._step = 0

    def clip_and_accumulate(self) -> None:
        """Clip each record's gradient and add them up."""
        # Any map of one record's gradient may come before clipping. Without this one,
        # a single NaN or infinity would make the sum NaN: unbounded, and visible.
        for parameter in self.params:
            parameter.grad_sample.nan_to_num_(nan=0.0, posinf=0.0, neginf=0.0)
        super().clip_and_accumulate()

    def add_noise(self) -> None:
        """Add our noise to the sum, also where the sample was empty."""
        noise = torch.from_numpy(self._draw(self._step)).to(torch.float32)
        self._step += 1
        sizes = [parameter.numel() for parameter in self.params]
        parts = torch.split(noise, sizes)
        for parameter, part in zip(self.params, parts, strict=True):
            parameter.grad = parameter.summed_grad + part.view_as(parameter)


def fill_gradients(
    wrapped: nn.Module, trained: list[nn.Parameter], x: Tensor, y: Tensor
) -> None:
    """Leave (records, *shape) gradients in each parameter's `grad_sample`."""
    if len(y) == 0:
        for parameter in trained:
            parameter.grad_sample = parameter.new_zeros((0, *parameter.shape))  # type: ignore[attr-defined]
        return
    loss = cross_entropy(wrapped(x), y, reduction="sum")
    loss.backward()  # type: ignore[no-untyped-call]
    for parameter in trained:
        got = getattr(parameter, "grad_sample", None)
        if not isinstance(got, Tensor) or len(got) != len(y):
            raise ParameterError(
                f"A parameter of shape {tuple(parameter.shape)} has no gradient for "
                "each record; use every parameter in the forward pass, in a layer "
                "that Opacus knows, or freeze it."
            )


@contextmanager
def per_example(model: nn.Module) -> Iterator[nn.Module]:
    """Hook the model for per-example gradients; leave nothing behind."""
    wrapped: Any = None
    try:
        try:
            wrapped = GradSampleModule(model, loss_reduction="sum")
        except (NotImplementedError, ValueError) as error:
            raise ParameterError(f"Opacus cannot train this model: {error}.") from error
        yield wrapped
    finally:
        if wrapped is not None:
            wrapped.remove_hooks()
        for parameter in model.parameters():
            parameter.grad = None
            _forget(parameter, ON_PARAMETERS)
        for layer in model.modules():
            _forget(layer, ON_LAYERS)


def _forget(owner: object, names: tuple[str, ...]) -> None:
    for name in names:
        if name in vars(owner):
            delattr(owner, name)


@contextmanager
def quiet() -> Iterator[None]:
    """Silence torch's note that the first layer's input needs no gradient."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Full backward hook is firing")
        yield
