"""Whether what was observed fits the model that it is said to be of: names and shapes.

Values are not looked at: a gradient may be anything that arrived.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from attacks.errors import ObservationError


def check_gradient(model: nn.Module, gradient: Mapping[str, Tensor]) -> None:
    """Refuse gradients of parameters that the model does not have.

    Raises:
        ObservationError: they do not fit (caller).
    """
    shapes = {name: tuple(p.shape) for name, p in model.named_parameters()}
    if not gradient:
        raise ObservationError(
            "gradient is empty; give at least one tensor, or None if none was seen."
        )
    for name, tensor in gradient.items():
        if name not in shapes:
            raise ObservationError(
                f"gradient names {name!r}, which the model does not have; use the "
                "names of model.named_parameters()."
            )
        if tuple(tensor.shape) != shapes[name]:
            raise ObservationError(
                f"gradient[{name!r}] has shape {tuple(tensor.shape)} but the "
                f"parameter has {shapes[name]}."
            )
        if not tensor.is_floating_point():
            raise ObservationError(
                f"gradient[{name!r}] must be floating point, not {tensor.dtype}."
            )


def check_statistics(
    model: nn.Module, statistics: Mapping[str, tuple[Tensor, Tensor]]
) -> None:
    """Refuse statistics of layers that are no batch norms of the model.

    Raises:
        ObservationError: they do not fit (caller).
    """
    modules = dict(model.named_modules())
    if not statistics:
        raise ObservationError(
            "batch_statistics is empty; give those of a layer, or None if none are "
            "known."
        )
    for name, (mean, variance) in statistics.items():
        channels = getattr(modules.get(name), "num_features", None)
        if channels is None:
            raise ObservationError(
                f"batch_statistics names {name!r}, which is no batch norm of the "
                "model; use the names of model.named_modules()."
            )
        if tuple(mean.shape) != (channels,) or tuple(variance.shape) != (channels,):
            raise ObservationError(
                f"batch_statistics[{name!r}] must be a mean and a variance of shape "
                f"({channels},)."
            )


def check_known(known: Mapping[str, Tensor], gradient: Mapping[str, Tensor]) -> None:
    """Refuse masks that do not cover the gradient.

    Raises:
        ObservationError: they do not fit (caller).
    """
    for name, tensor in gradient.items():
        seen = known.get(name)
        if seen is None or seen.dtype != torch.bool or seen.shape != tensor.shape:
            raise ObservationError(
                f"known[{name!r}] must be a bool tensor of shape "
                f"{tuple(tensor.shape)}, as the gradient is."
            )
