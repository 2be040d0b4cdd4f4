"""Models, built the same for the same seed, and their flat float32 vector.

Logistic regression, a perceptron with ReLU, a small convolutional net, or a user's
own class. A model must be all parameters: buffers (the running statistics of
BatchNorm) would be averaged without clipping or masking, so they are refused. Nothing
here trains; see `fl.local`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fl.errors import ModelError
from fl.settings import KINDS, ModelConfig
from fl.usercode import find, running

# Channels of the two convolutions of the small net, as in small FedAvg baselines.
CNN_CHANNELS = (8, 16)
# Each of its two poolings halves the side, and something must be left.
CNN_SIDE_MIN = 4


def build(
    model: ModelConfig, input_shape: tuple[int, ...], classes: int, seed: int
) -> nn.Module:
    """Return a freshly initialised model on the CPU, in float32.

    Guarantee: equal arguments give bit-equal parameters, and torch's global generator
    is left as it was.

    Args:
        model: the section [model].
        input_shape: of one record, e.g. (1, 8, 8) or (30,).
        classes: number of outputs, >= 2.
        seed: of the initialisation.

    Raises:
        ModelError: the user's fault: the model does not fit the records, or cannot be
            summed over clients.
    """
    with _seeded(seed):
        if model.kind == "logreg":
            net: nn.Module = _mlp((), input_shape, classes)
        elif model.kind == "mlp":
            net = _mlp(model.hidden, input_shape, classes)
        elif model.kind == "cnn":
            net = _cnn(input_shape, classes)
        else:
            net = _user(model.kind, input_shape, classes)
        if model.kind not in KINDS:
            _check(net, model.kind, input_shape, classes)
    return net


def architecture(
    model: ModelConfig, input_shape: tuple[int, ...], classes: int
) -> nn.Module:
    """Return the model of somebody else's update, BatchNorm and buffers allowed.

    Unlike `build` it need not be one that can be trained and summed here; whoever
    takes it puts parameters and buffers of their own into it.

    Raises:
        ModelError: it cannot be made (the user's fault).
    """
    if model.kind in KINDS:
        return build(model, input_shape, classes, 0)
    with _seeded(0):
        return _user(model.kind, input_shape, classes)


def to_vector(model: nn.Module) -> NDArray[np.float32]:
    """Return a copy of all parameters, in the order of `named_parameters`.

    Returns:
        (parameters,) float32.
    """
    parts = [p.detach().reshape(-1) for p in model.parameters()]
    vector: NDArray[np.float32] = torch.cat(parts).cpu().numpy()
    return vector


def load_vector(model: nn.Module, vector: NDArray[np.float32]) -> None:
    """Set all parameters from a vector that `to_vector` could have returned.

    Raises:
        ValueError: the vector has another length; nothing is changed.
    """
    named = named_like(model, vector)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(named[name])


def named_like(model: nn.Module, vector: NDArray[np.float32]) -> dict[str, Tensor]:
    """Cut a vector into tensors named and shaped like the model's parameters.

    Returns:
        Name -> float32 tensor; a copy, so that writing to it changes nothing else.

    Raises:
        ValueError: the vector has another length.
    """
    wanted = parameter_count(model)
    if vector.shape != (wanted,):
        raise ValueError(f"vector has shape {vector.shape}; want ({wanted},).")
    flat = torch.tensor(vector, dtype=torch.float32)
    sizes = [parameter.numel() for parameter in model.parameters()]
    return {
        name: part.view(parameter.shape)
        for (name, parameter), part in zip(
            model.named_parameters(), torch.split(flat, sizes), strict=True
        )
    }


def parameter_count(model: nn.Module) -> int:
    """Return the length of the model's vector."""
    return sum(parameter.numel() for parameter in model.parameters())


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    # nn.init draws from the global generator only; fork and put it back.
    with torch.random.fork_rng(devices=[]):
        # The CPU generator alone: torch.manual_seed also formats a stack for CUDA.
        torch.default_generator.manual_seed(seed)
        yield


def _mlp(
    hidden: tuple[int, ...], input_shape: tuple[int, ...], classes: int
) -> nn.Sequential:
    layers: list[nn.Module] = [nn.Flatten()]
    widths = [math.prod(input_shape), *hidden, classes]
    for fan_in, fan_out in pairwise(widths):
        layers += [nn.Linear(fan_in, fan_out), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def _cnn(input_shape: tuple[int, ...], classes: int) -> nn.Sequential:
    if len(input_shape) != 3 or min(input_shape[1:]) < CNN_SIDE_MIN:
        raise ModelError(
            f'model.kind = "cnn" wants images of {CNN_SIDE_MIN}x{CNN_SIDE_MIN} or '
            f"more but a record has shape {input_shape}; choose mlp or logreg."
        )
    channels, height, width = input_shape
    first, second = CNN_CHANNELS
    return nn.Sequential(
        nn.Conv2d(channels, first, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(first, second, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(second * (height // 4) * (width // 4), classes),
    )


def _user(kind: str, input_shape: tuple[int, ...], classes: int) -> nn.Module:
    make = find(kind, key="model.kind", fault=ModelError)
    try:
        with running(kind, key="model.kind", fault=ModelError, let=(TypeError,)):
            net = make(input_shape, classes)
    except TypeError as with_arguments:
        try:
            with running(kind, key="model.kind", fault=ModelError, let=(TypeError,)):
                net = make()
        except TypeError:
            raise ModelError(
                f'model.kind = "{kind}" cannot be called with (input_shape, classes) '
                f"nor without arguments ({with_arguments}); accept one of the two."
            ) from with_arguments
    if not isinstance(net, nn.Module):
        raise ModelError(
            f'model.kind = "{kind}" made a {type(net).__name__}; return an nn.Module.'
        )
    return net


def _check(
    net: nn.Module, kind: str, input_shape: tuple[int, ...], classes: int
) -> None:
    """Refuse a user's model that cannot be trained and summed."""
    where = f'model.kind = "{kind}"'
    for name, module in net.named_modules():
        # _NormBase is what all BatchNorm and InstanceNorm layers derive from.
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            raise ModelError(
                f"{where}: layer {name} is BatchNorm, whose statistics mix the "
                f"records of a batch; use nn.GroupNorm."
            )
    for name, _ in net.named_buffers():
        raise ModelError(
            f"{where}: {name} is a buffer, which is not aggregated; make it a "
            f"parameter or a constant, and use nn.GroupNorm for normalisation."
        )
    trained = list(net.named_parameters())
    if not trained:
        raise ModelError(f"{where} has no parameters; give it some to train.")
    for name, parameter in trained:
        if parameter.dtype != torch.float32 or not parameter.requires_grad:
            raise ModelError(
                f"{where}: parameter {name} is {parameter.dtype} or frozen; make all "
                f"parameters float32 with requires_grad."
            )
        if parameter.device.type != "cpu":
            raise ModelError(f"{where}: {name} is not on the CPU; leave it there.")
    check_output(net, where, input_shape, classes)


def check_output(
    net: nn.Module, where: str, input_shape: tuple[int, ...], classes: int
) -> None:
    """Refuse a model that does not turn records into logits.

    Raises:
        ModelError: what it makes of two records of zeros is nothing of the kind.
    """
    try:
        with torch.no_grad():
            out = net(torch.zeros(2, *input_shape))
    except Exception as error:  # the user's forward may raise anything
        first_line = next(iter(str(error).splitlines()), type(error).__name__)
        raise ModelError(
            f"{where} cannot take records of shape {input_shape} ({first_line}); "
            f"make its input fit."
        ) from error
    if not isinstance(out, Tensor) or out.shape != (2, classes):
        shape = tuple(out.shape) if isinstance(out, Tensor) else type(out).__name__
        raise ModelError(
            f"{where} returns {shape} for 2 records; return logits of shape "
            f"(2, {classes})."
        )
