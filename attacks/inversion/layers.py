"""Which linear layer a record meets first, and which one speaks the classes.

Found by running a probe through a copy of the model and watching the parametric
layers, not by reading the source: a layer counts as "fed by the record" only if its
input was the probe itself, flattened. Weights used outside their module's forward
call are not seen here; attacks that rely on a layer check its gradient as well.
"""

import copy
from dataclasses import dataclass

import torch
from torch import Tensor, nn

_PROBE_RECORDS = 2  # two, because batch norm in training mode refuses one


@dataclass(frozen=True, slots=True)
class LinearSite:
    """A linear layer by the names of its parameters; `bias` is None if it has none."""

    weight: str
    bias: str | None


@dataclass(frozen=True, slots=True)
class _Visit:
    name: str
    module: nn.Module
    sees_record: bool


def first_linear(
    model: nn.Module, input_shape: tuple[int, ...]
) -> tuple[LinearSite | None, str]:
    """Find the linear layer that is fed by the flattened record itself.

    Guarantee: with a site, the layer is the first parametric one, was called once
    and saw each record as one unchanged row.

    Returns:
        The site and "", or None and the reason why there is none.
    """
    visits = _visits(model, input_shape)
    if not visits:
        return None, "The model has no parametric layer."
    first = visits[0]
    kind = type(first.module).__name__
    if not isinstance(first.module, nn.Linear):
        return None, f"The first parametric layer is {kind}, not Linear."
    if first.module.bias is None:
        return None, "The first linear layer has no bias."
    if sum(visit.module is first.module for visit in visits) > 1:
        return None, "The first linear layer is used more than once."
    if not first.sees_record:
        return None, "The first linear layer does not see the flattened record."
    return _site(first), ""


def last_linear(
    model: nn.Module, input_shape: tuple[int, ...], classes: int
) -> LinearSite | None:
    """Find the last parametric layer, if it is linear and `classes` wide."""
    visits = _visits(model, input_shape)
    if not visits:
        return None
    last = visits[-1].module
    if not isinstance(last, nn.Linear) or last.out_features != classes:
        return None
    return _site(visits[-1])


def _site(visit: _Visit) -> LinearSite:
    prefix = f"{visit.name}." if visit.name else ""
    bias = f"{prefix}bias" if visit.module.bias is not None else None
    return LinearSite(f"{prefix}weight", bias)


def _visits(model: nn.Module, input_shape: tuple[int, ...]) -> list[_Visit]:
    twin = copy.deepcopy(model)
    anchor = next(twin.parameters(), None)
    if anchor is None:
        return []
    generator = torch.Generator().manual_seed(0)
    shape = (_PROBE_RECORDS, *input_shape)
    probe = torch.rand(shape, generator=generator, dtype=torch.float64)
    probe = probe.to(device=anchor.device, dtype=anchor.dtype)
    flat = probe.reshape(_PROBE_RECORDS, -1)
    visits: list[_Visit] = []

    def watch(name: str, module: nn.Module) -> None:
        def note(part: nn.Module, given: tuple[Tensor, ...]) -> None:
            # Equality by value: a reshaped copy of the probe is still the probe.
            sees = bool(given) and torch.equal(given[0], flat)
            visits.append(_Visit(name, part, sees))

        module.register_forward_pre_hook(note)

    for name, module in twin.named_modules():
        if any(True for _ in module.parameters(recurse=False)):
            watch(name, module)
    cards = [anchor.device] if anchor.device.type == "cuda" else []
    with torch.no_grad(), torch.random.fork_rng(devices=cards):
        twin(probe)  # dropout, left on, must not advance the caller's generator
    return visits
