"""Put somebody's parameters and buffers into a copy of an architecture, strictly.

A released model that is not quite the client's own makes every attack fail in silence,
so that nothing here is left as it was, broadcast or dropped.
"""

import copy
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from attacks.errors import ObservationError


def persistent_buffers(model: nn.Module) -> dict[str, Tensor]:
    """Return the buffers that a state dict holds, by name."""
    state = model.state_dict()
    return {name: value for name, value in model.named_buffers() if name in state}


def filled(
    model: nn.Module,
    parameters: Mapping[str, Tensor],
    buffers: Mapping[str, Tensor],
    *,
    where: str,
) -> nn.Module:
    """Return a copy of a model with these numbers in it.

    The copy is in float64 if all parameters given are, else in the model's own type.

    Args:
        model: the architecture; it is not changed.
        parameters: all of them, by name; tied ones may come under each name.
        buffers: all that a state dict holds, by name.
        where: their origin, for errors.

    Raises:
        ObservationError: a tensor is missing, strange or of another shape (caller).
    """
    twin = copy.deepcopy(model)
    if {value.dtype for value in parameters.values()} == {torch.float64}:
        twin = twin.double()
    every = dict(twin.named_parameters(remove_duplicate=False))
    needed = {name for name, _ in twin.named_parameters()}
    _check(where, "parameter", parameters, every, needed)
    own = dict(twin.named_buffers())
    _check(where, "buffer", buffers, own, set(persistent_buffers(twin)))
    with torch.no_grad():
        for name, value in parameters.items():
            every[name].copy_(value)
        for name, value in buffers.items():
            own[name].copy_(value)
    return twin


def _check(
    where: str,
    what: str,
    given: Mapping[str, Tensor],
    wanted: Mapping[str, Tensor],
    needed: set[str],
) -> None:
    for name in sorted(needed - given.keys()):
        raise ObservationError(
            f"{where} lacks the {what} {name!r}, which the model has; give the "
            "architecture that the client trained, and all of its model, buffers too."
        )
    for name, value in given.items():
        if name not in wanted:
            raise ObservationError(
                f"{where} holds the {what} {name!r}, which the model does not have; "
                "give the architecture that the client trained."
            )
        if value.shape != wanted[name].shape:
            raise ObservationError(
                f"{where}: {what} {name!r} has shape {tuple(value.shape)} but the "
                f"model wants {tuple(wanted[name].shape)}; give the architecture that "
                "the client trained."
            )
        if value.is_floating_point() != wanted[name].is_floating_point():
            raise ObservationError(
                f"{where}: {what} {name!r} is {value.dtype} but the model wants "
                f"{wanted[name].dtype}."
            )
