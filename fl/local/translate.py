"""From torch's modules to layers by hand, where each of them is known.

Subclasses are not: they may compute anything.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from torch import nn

from fl.local.layers import Convolution, Dense, Flatten, Layer, MaxPool, Relu

Image = tuple[int, int, int]


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
    return (value, value) if isinstance(value, int) else (value[0], value[-1])


def _unrolled(model: nn.Sequential) -> Iterator[nn.Module]:
    for layer in model:
        if type(layer) is nn.Sequential:
            yield from _unrolled(layer)
        else:
            yield layer


def _flattens(layer: nn.Module) -> bool:
    return type(layer) is nn.Flatten and (layer.start_dim, layer.end_dim) == (1, -1)
