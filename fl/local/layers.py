"""Layers of a stack by hand: one batched matrix product serves all clients.

Every parameter has a leading axis of clients; every activation is (clients, width, ...)
with channels last. What automatic differentiation would note down costs more than the
arithmetic of small models.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.nn.functional import pad

from fl.local.slopes import LayerSlope, Product, Total, apart

Parameters = Sequence[Tensor]
Slopes = tuple[LayerSlope, ...]
Kept = tuple[Tensor, ...]


class Layer(Protocol):
    """One layer."""

    @property
    def count(self) -> int:
        """Return how many parameters are its own."""

    def forward(self, own: Parameters, given: Tensor) -> tuple[Tensor, Kept]:
        """Return its output, and what `backward` needs of this pass."""

    def backward(
        self, own: Parameters, kept: Kept, back: Tensor, *, below: bool
    ) -> tuple[Slopes, Tensor]:
        """Return its parameters' slopes, and the gradient by its input.

        Args:
            own: its parameters, as in `forward`.
            kept: from `forward`.
            back: the gradient by its output.
            below: whether anything below learns; if not, the second is not meant.
        """


@dataclass(frozen=True, slots=True)
class Flatten:
    """Any records to (clients, width, features), channels last."""

    count: int = 0

    def forward(self, own: Parameters, given: Tensor) -> tuple[Tensor, Kept]:
        """Flatten."""
        return given.flatten(2), (given,)

    def backward(
        self, own: Parameters, kept: Kept, back: Tensor, *, below: bool
    ) -> tuple[Slopes, Tensor]:
        """Give the gradient its shape back."""
        (given,) = kept
        return (), back.view(given.shape)


@dataclass(frozen=True, slots=True)
class Relu:
    """What is above zero; as in torch, no gradient at zero."""

    count: int = 0

    def forward(self, own: Parameters, given: Tensor) -> tuple[Tensor, Kept]:
        """Cut off what is below zero, in place: nothing else keeps a layer's output."""
        out = given.clamp_min_(0)
        return out, (out,)

    def backward(
        self, own: Parameters, kept: Kept, back: Tensor, *, below: bool
    ) -> tuple[Slopes, Tensor]:
        """Let through where the output was above zero."""
        (out,) = kept
        let: Tensor = torch.ops.aten.threshold_backward(back, out, 0.0)
        return (), let


@dataclass(frozen=True, slots=True)
class Dense:
    """nn.Linear: weights (outputs, inputs), and a bias if ``count`` is 2."""

    count: int

    def forward(self, own: Parameters, given: Tensor) -> tuple[Tensor, Kept]:
        """Multiply and add."""
        return _affine(own, given), (given,)

    def backward(
        self, own: Parameters, kept: Kept, back: Tensor, *, below: bool
    ) -> tuple[Slopes, Tensor]:
        """Return the factors, and the gradient by the input."""
        (given,) = kept
        width = back.shape[1]
        slopes = (Product(back, given, width), Total(back, width))[: self.count]
        return slopes, torch.bmm(back, own[0]) if below else back


@dataclass(frozen=True, slots=True)
class Convolution:
    """nn.Conv2d with stride 1 and zero padding, as one product over patches.

    Its weights are (outputs, height * width * channels).
    """

    outputs: int
    kernel: tuple[int, int]
    padding: tuple[int, int]
    count: int

    def forward(self, own: Parameters, given: Tensor) -> tuple[Tensor, Kept]:
        """Multiply the patches by the weights."""
        cut, (height, width) = _patches(given, self.kernel, self.padding)
        out = _affine(own, cut)
        return apart(out, 1, (given.shape[1], height, width)), (cut,)

    def backward(
        self, own: Parameters, kept: Kept, back: Tensor, *, below: bool
    ) -> tuple[Slopes, Tensor]:
        """Return the factors, and the gradient by the input."""
        (cut,) = kept
        records, rows = back.shape[1], back.flatten(1, 3)
        slopes = (Product(rows, cut, records), Total(rows, records))[: self.count]
        if not below:
            return slopes, back
        # Stride 1: the transposed convolution is one with the kernel turned around.
        around = tuple(
            k - 1 - p for k, p in zip(self.kernel, self.padding, strict=True)
        )
        spread, size = _patches(back, self.kernel, (around[0], around[1]))
        weight = apart(own[0], 2, (*self.kernel, -1))
        turned = weight.flip(2, 3).permute(0, 2, 3, 1, 4).flatten(1, 3)
        return slopes, apart(torch.bmm(spread, turned), 1, (records, *size))


@dataclass(frozen=True, slots=True)
class MaxPool:
    """nn.MaxPool2d whose windows do not overlap; torch's own kernels."""

    window: tuple[int, int]
    count: int = 0

    def forward(self, own: Parameters, given: Tensor) -> tuple[Tensor, Kept]:
        """Take each window's largest."""
        out, places = torch.ops.aten.max_pool2d_with_indices(
            _channels_first(given), self.window, self.window
        )
        return _channels_last(out, given), (given, places)

    def backward(
        self, own: Parameters, kept: Kept, back: Tensor, *, below: bool
    ) -> tuple[Slopes, Tensor]:
        """Give the gradient to each window's largest."""
        given, places = kept
        found = torch.ops.aten.max_pool2d_with_indices_backward(
            _channels_first(back.contiguous()),
            _channels_first(given),
            self.window,
            self.window,
            (0, 0),
            (1, 1),
            False,
            places,
        )
        return (), _channels_last(found, given)


def _affine(own: Parameters, given: Tensor) -> Tensor:
    weight = own[0].transpose(1, 2)
    if len(own) == 1:
        return torch.bmm(given, weight)
    return torch.baddbmm(own[1].unsqueeze(1), given, weight)


def _patches(
    images: Tensor, kernel: tuple[int, int], padding: tuple[int, int]
) -> tuple[Tensor, tuple[int, int]]:
    """Return every place's patch, (clients, width * places, inputs), and the places."""
    (kh, kw), (ph, pw) = kernel, padding
    framed = pad(images, (0, 0, pw, pw, ph, ph)).contiguous()
    clients, records, high, wide, channels = framed.shape
    height, width = high - kh + 1, wide - kw + 1
    one, two, down, right, _ = framed.stride()
    # A row of a patch lies in one piece: channels last, columns side by side.
    cut = framed.as_strided(
        (clients, records, height, width, kh, kw * channels),
        (one, two, down, right, down, 1),
    )
    return cut.reshape(clients, records * height * width, -1), (height, width)


def _channels_first(images: Tensor) -> Tensor:
    return images.flatten(0, 1).permute(0, 3, 1, 2)


def _channels_last(images: Tensor, like: Tensor) -> Tensor:
    last = images.permute(0, 2, 3, 1).contiguous()
    return apart(last, 0, like.shape[:2])
