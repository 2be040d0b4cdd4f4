"""Layers of a stack by hand: one batched matrix product serves all clients.

Every parameter has a leading axis of clients; every activation is (clients, width, ...)
with channels last. What automatic differentiation would note down costs more than the
arithmetic of small models.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
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
        return apart(out, 1, (given.shape[1], height, width)), (cut, given)

    def backward(
        self, own: Parameters, kept: Kept, back: Tensor, *, below: bool
    ) -> tuple[Slopes, Tensor]:
        """Return the factors, and the gradient by the input."""
        cut, given = kept
        records, rows = back.shape[1], back.flatten(1, 3)
        slopes = (Product(rows, cut, records), Total(rows, records))[: self.count]
        if not below:
            return slopes, back
        patches = torch.bmm(rows, own[0])
        places = apart(patches, 1, (records, *back.shape[2:4]))
        return slopes, self._folded(apart(places, 4, (*self.kernel, -1)), given)

    def _folded(self, patches: Tensor, like: Tensor) -> Tensor:
        """Add every patch to the places of the images that it was cut from.

        Args:
            patches: (clients, width, height, width, *kernel, channels).
            like: images of the shape that is wanted.
        """
        found = torch.zeros_like(like)
        for down in range(self.kernel[0]):
            into_h, from_h = _overlap(found, patches, 2, down - self.padding[0])
            for right in range(self.kernel[1]):
                into_w, from_w = _overlap(found, patches, 3, right - self.padding[1])
                found[:, :, into_h, into_w].add_(
                    patches[:, :, from_h, from_w, down, right]
                )
        return found


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
    if channels == 1:  # rows of a patch are so short that picking is faster
        flat = framed.view(clients * records, high * wide)
        picked = flat.index_select(1, _places(high, wide, kh, kw).to(flat.device))
        return picked.view(clients, records * height * width, -1), (height, width)
    one, two, down, right, _ = framed.stride()
    # A row of a patch lies in one piece: channels last, columns side by side.
    cut = framed.as_strided(
        (clients, records, height, width, kh, kw * channels),
        (one, two, down, right, down, 1),
    )
    return cut.reshape(clients, records * height * width, -1), (height, width)


@lru_cache(maxsize=64)
def _places(high: int, wide: int, kh: int, kw: int) -> Tensor:
    """Return where the patches of a (high, wide) image lie in it, one after another."""
    corners = torch.arange(high - kh + 1)[:, None] * wide + torch.arange(wide - kw + 1)
    inside = torch.arange(kh)[:, None] * wide + torch.arange(kw)
    return (corners.reshape(-1, 1) + inside.reshape(1, -1)).reshape(-1)


def _overlap(
    images: Tensor, places: Tensor, axis: int, shift: int
) -> tuple[slice, slice]:
    """Return the rows of images that places reach with a shift, and those places."""
    first = max(0, -shift)
    last = min(places.shape[axis], images.shape[axis] - shift)
    return slice(first + shift, last + shift), slice(first, last)


def _channels_first(images: Tensor) -> Tensor:
    return images.flatten(0, 1).permute(0, 3, 1, 2)


def _channels_last(images: Tensor, like: Tensor) -> Tensor:
    last = images.permute(0, 2, 3, 1).contiguous()
    return apart(last, 0, like.shape[:2])
