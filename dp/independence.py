"""Does a model keep the records of a batch apart? DP-SGD stands or falls by it.

Clipping one record's gradient bounds that record only if no other record's gradient
depends on it. BatchNorm breaks this, and so does any forward pass that averages over
the batch, which no list of layer types would find; so the model is also tried.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from dp.errors import ParameterError

# Of batches that a record is tried in, beside alone: odd, even, and beyond a few.
SIZES = (2, 3, 5, 8)
# Relative; mixing shows at the size of the outputs, rounding far below this.
TOLERANCE = 1e-4


def check_independent(model: nn.Module, input_shape: tuple[int, ...]) -> None:
    """Refuse a model whose output for one record depends on another.

    Uses random inputs, no record, and torch's global generator; call it under
    `torch.random.fork_rng`.

    Args:
        model: in training mode.
        input_shape: of one record.

    Raises:
        ParameterError: the caller's: a layer with running statistics or over the
            batch, or outputs that change with the other record of the batch.
    """
    check_layers(model)
    _try(model, input_shape)


def check_layers(model: nn.Module) -> None:
    """Refuse what a list of layers shows; a forward pass of its own may hide more.

    Raises:
        ParameterError: the caller's: a layer with running statistics or over the
            batch, or any buffer.
    """
    for name, layer in model.named_modules():
        if isinstance(layer, nn.modules.batchnorm._BatchNorm) or (
            isinstance(layer, nn.modules.batchnorm._NormBase)
            and layer.track_running_stats
        ):
            raise ParameterError(
                f"Layer {name!r} ({type(layer).__name__}) takes statistics over the "
                "records of a batch, so no gradient belongs to one record; use "
                "GroupNorm, on the server and on every client."
            )
    for name, buffer in model.named_buffers():
        raise ParameterError(
            f"Buffer {name!r} of shape {tuple(buffer.shape)} would carry the records "
            "out without noise; use layers without running state, such as GroupNorm."
        )


@torch.no_grad()
def _try(model: nn.Module, input_shape: tuple[int, ...]) -> None:
    record, *others = torch.randn(max(SIZES) + 1, *input_shape)
    first, second = (
        _same_draws(model, torch.stack([record, other])) for other in others[:2]
    )
    if len(first) != 2 or first.ndim != 2:
        raise ParameterError(
            f"The model turns 2 records into {tuple(first.shape)}; want (2, classes)."
        )
    _compare(first, second)
    # Draws do not fall alike in batches of other sizes, so that dropout is switched off
    # for these; a model that still draws shows them as an evaluated one.
    with _without_dropout(model):
        alone = _same_draws(model, record.unsqueeze(0))
        torch.default_generator.manual_seed(1)
        if not torch.equal(alone, model(record.unsqueeze(0))):
            model.eval()
            alone = model(record.unsqueeze(0))
            if not torch.equal(alone, model(record.unsqueeze(0))):
                raise ParameterError(
                    "The model draws at random in evaluation mode, too, so that it "
                    "cannot be tried; let it draw in training mode only."
                )
        for size in SIZES:
            _compare(alone, model(torch.stack([record, *others[: size - 1]])))


def _same_draws(model: nn.Module, x: Tensor) -> Tensor:
    torch.default_generator.manual_seed(0)
    out: Tensor = model(x)
    return out


def _compare(first: Tensor, second: Tensor) -> None:
    scale = float(first.abs().max()) + float(second.abs().max())
    if not float((first[0] - second[0]).abs().max()) <= TOLERANCE * scale:
        raise ParameterError(
            "The model's output for one record depends on the others of its batch, so "
            "no gradient belongs to one record; remove what averages over the batch."
        )


@contextmanager
def _without_dropout(model: nn.Module) -> Iterator[None]:
    modes = {layer: layer.training for layer in model.modules()}
    try:
        for layer in modes:
            if isinstance(layer, nn.modules.dropout._DropoutNd):
                layer.training = False
        yield
    finally:
        for layer, was_training in modes.items():
            layer.training = was_training
