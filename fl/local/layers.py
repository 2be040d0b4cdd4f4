"""Layers of a stack by hand: one batched matrix product serves all clients.

Every parameter has a leading axis of clients; every activation is (clients, width, ...)
with channels last. What automatic differentiation would note down costs more than the
arithmetic of small models.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from fl.local.slopes import LayerSlope, Product, Total, apart

Parameters = Sequence[Tensor]
Slopes = tuple[LayerSlope, ...]
Kept = tuple[Tensor, ...]
Image = tuple[int, int, int]


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


def layers_of(model: nn.Module) -> tuple[Layer, ...] | None:
    """Return the model's layers by hand, or None if it has one that is not known here.

    Known: sequences of Flatten, Linear and ReLU, with Conv2d (stride 1, zero padding)
    and MaxPool2d (windows side by side) before the flattening.
    """
    if type(model) is not nn.Sequential:
        return None
    found: list[Layer] = []
    modules = list(_unrolled(model))
    flat = next((i for i, one in enumerate(modules) if _flattens(one)), None)
    if flat is None:
        return None
    for place, module in enumerate(modules):
        layer = _layer(module, spatial=place < flat)
        if layer is None:
            return None
        found.append(layer)
    return tuple(found) if any(layer.count for layer in found) else None


def takes_images(layers: Sequence[Layer]) -> bool:
    """Return whether a layer wants images, channels last."""
    return any(isinstance(layer, Convolution | MaxPool) for layer in layers)


def images_of(
    layers: Sequence[Layer], input_shape: tuple[int, ...]
) -> tuple[Image | None, ...]:
    """Return what each parameter's inputs are to torch: (channels, height, width).

    None where they are no image, so that there is no order to them to change.

    Args:
        layers: from `layers_of`.
        input_shape: of one record, channels first.
    """
    found: list[Image | None] = []
    image: Image | None = None
    if takes_images(layers):
        image = (input_shape[0], input_shape[1], input_shape[2])
    for layer in layers:
        if isinstance(layer, MaxPool) and image:
            (down, right), (channels, high, wide) = layer.window, image
            image = (channels, high // down, wide // right)
        if isinstance(layer, Convolution) and image:
            channels, high, wide = image
            (kh, kw), (ph, pw) = layer.kernel, layer.padding
            found += [(channels, kh, kw), None][: layer.count]
            image = (layer.outputs, high + 2 * ph - kh + 1, wide + 2 * pw - kw + 1)
        if isinstance(layer, Dense):
            found += [image, None][: layer.count]
            image = None
    return tuple(found)


def _layer(module: nn.Module, *, spatial: bool) -> Layer | None:
    kind = type(module)
    if kind is nn.ReLU:
        return Relu()
    if _flattens(module):
        return Flatten()
    if isinstance(module, nn.Linear) and kind is nn.Linear and not spatial:
        return Dense(1 if module.bias is None else 2)
    if isinstance(module, nn.Conv2d) and kind is nn.Conv2d and spatial:
        return _convolution(module)
    if isinstance(module, nn.MaxPool2d) and kind is nn.MaxPool2d and spatial:
        return _pooling(module)
    return None


def _convolution(module: nn.Conv2d) -> Convolution | None:
    plain = module.stride == module.dilation == (1, 1) and module.groups == 1
    if not plain or module.padding_mode != "zeros" or isinstance(module.padding, str):
        return None
    (kh, kw), (ph, pw) = module.kernel_size, module.padding
    if ph >= kh or pw >= kw:
        return None
    count = 1 if module.bias is None else 2
    return Convolution(module.out_channels, (kh, kw), (ph, pw), count)


def _pooling(module: nn.MaxPool2d) -> MaxPool | None:
    window = _pair(module.kernel_size)
    plain = _pair(module.padding) == (0, 0) and _pair(module.dilation) == (1, 1)
    if not plain or _pair(module.stride) != window:
        return None
    if module.ceil_mode or module.return_indices:
        return None
    return MaxPool(window)


def _pair(value: int | tuple[int, ...]) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else (value[0], value[1])


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


def _unrolled(model: nn.Sequential) -> Iterator[nn.Module]:
    for layer in model:
        if type(layer) is nn.Sequential:
            yield from _unrolled(layer)
        else:
            yield layer


def _flattens(layer: nn.Module) -> bool:
    return type(layer) is nn.Flatten and (layer.start_dim, layer.end_dim) == (1, -1)
