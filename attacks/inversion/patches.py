"""Where a vision transformer cuts a record into patches, and who reads the sequence.

Found by pushing a made-up record through a double-precision copy of the model and
testing the identities that the attack rests on, not by names of modules or parameters:
a parameter is "the position embedding" if its gradient acts as the gradient of the
patch sequence, a group of layers is "the attention" if they alone read the sequence.
What passes the test on a made-up record holds for every record, since the identities
are linear algebra of the architecture.

Not here: overlapping patches, normalisation inside the model, shared patch layers.
"""

import copy
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

_HOLDS = 1e-9  # relative residual of an identity in double precision


@dataclass(frozen=True, slots=True)
class PatchSite:
    """The patch layer and its position embedding, by parameter names.

    `order` (patches, width) holds, for each entry of each patch, its place in the
    flattened record; `rows` are the rows of the position embedding that belong to
    patches, `count` is the number of all its rows.
    """

    weight: str
    bias: str | None
    order: Tensor
    position: str
    rows: slice
    count: int


@dataclass(frozen=True, slots=True)
class ReaderSite:
    """Linear maps (by weight name) that are the only readers of the sequence."""

    weights: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Probe:
    """One made-up record's trip through the model, in double precision.

    `inputs` are what each parametric layer was given, `gradient` is by parameter name.
    """

    module: nn.Module
    record: Tensor
    inputs: tuple[tuple[str, nn.Module, Tensor], ...]
    gradient: dict[str, Tensor]


def probe(model: nn.Module, shape: tuple[int, ...], classes: int, seed: int) -> Probe:
    """Push one made-up record through a copy of the model and take the gradient."""
    generator = torch.Generator().manual_seed(seed)
    module = copy.deepcopy(model).double().cpu()
    module.requires_grad_(True)
    module.eval()
    record = torch.rand((1, *shape), generator=generator, dtype=torch.float64)
    visits = _watch(module, record)
    with torch.enable_grad():
        loss = functional.cross_entropy(module(record), torch.tensor([classes - 1]))
        names, weights = zip(*module.named_parameters(), strict=True)
        grads = torch.autograd.grad(loss, weights, materialize_grads=True)
    found = dict(zip(names, grads, strict=True))
    return Probe(module, record, tuple(visits), found)


def patch_site(trip: Probe) -> tuple[PatchSite | None, str]:
    """Find the patch layer and the position embedding.

    Returns:
        The site and "", or None and the reason why there is none.
    """
    if not trip.inputs:
        return None, "The model has no parametric layer."
    name, layer, _ = trip.inputs[0]
    order, why_not = _patch_order(trip, layer)
    if order is None:
        return None, why_not
    weight = f"{name}.weight"
    patches = trip.record.flatten()[order]  # (patches, width)
    target = trip.gradient[weight].flatten(1)  # (d, width)
    for position, grad in trip.gradient.items():
        if position == weight or grad.dim() < 2 or grad.shape[-1] != len(target):
            continue
        rows = grad.reshape(-1, len(target))
        for start in range(len(rows) - len(patches) + 1):
            chosen = slice(start, start + len(patches))
            if _holds(rows[chosen].T @ patches, target):
                bias = f"{name}.bias" if layer.bias is not None else None
                return PatchSite(weight, bias, order, position, chosen, len(rows)), ""
    return None, "No learnable position embedding is added to the patch sequence."


def reader_site(trip: Probe, site: PatchSite) -> tuple[ReaderSite | None, str]:
    """Find the attention whose projections alone read patches plus positions.

    Returns:
        The site and "", or None and the reason why there is none.
    """
    upstream = trip.gradient[site.position].reshape(site.count, -1)
    expected = _sequence(trip, site)
    for _, _, given in trip.inputs[1:]:
        if given.dim() != 3 or given.shape[1:] != upstream.shape:
            continue
        if not torch.allclose(given[0, site.rows], expected, rtol=1e-9, atol=1e-12):
            continue
        weights = tuple(
            _weight_name(name, part)
            for name, part, other in trip.inputs
            if other.shape == given.shape and torch.equal(other, given)
        )
        state = {n: p.detach() for n, p in trip.module.named_parameters()}
        pulled = torch.stack([state[w].T @ trip.gradient[w] for w in weights]).sum(0)
        if _holds(upstream.T @ given[0], pulled):
            return ReaderSite(weights), ""
        return None, "Others than the attention read the sequence (a residual path)."
    return None, "No attention reads the bare sum of patches and positions."


def _sequence(trip: Probe, site: PatchSite) -> Tensor:
    """Return W p + b + E for each patch of the made-up record."""
    state = {n: p.detach() for n, p in trip.module.named_parameters()}
    rows = trip.record.flatten()[site.order] @ state[site.weight].flatten(1).T
    if site.bias is not None:
        rows = rows + state[site.bias]
    return rows + state[site.position].reshape(site.count, -1)[site.rows]


def _patch_order(trip: Probe, layer: nn.Module) -> tuple[Tensor | None, str]:
    """Say which entry of the record each entry of each patch is."""
    kind = type(layer).__name__
    shape = trip.record.shape
    count = trip.record.numel()
    numbered = torch.arange(count, dtype=torch.float64).reshape(shape)
    given = _first_input(trip.module, layer, numbered)
    if isinstance(layer, nn.Conv2d):
        plain = layer.groups == 1 and not any(_pair(layer.padding))
        if not plain or layer.stride != layer.kernel_size:
            return None, "The patches overlap or are padded."
        cut = functional.unfold(given, layer.kernel_size, stride=layer.stride)
        rows = cut[0].T
    elif isinstance(layer, nn.Linear) and given.dim() == 3:
        rows = given[0]
    else:
        return None, f"The first parametric layer is {kind}, which cuts no patches."
    order = rows.round().long()
    once = torch.equal(order.flatten().sort().values, torch.arange(count))
    if not once or not torch.equal(rows, order.double()):
        return None, "The patches do not hold each entry of the record exactly once."
    return order, ""


def _first_input(module: nn.Module, layer: nn.Module, record: Tensor) -> Tensor:
    seen: list[Tensor] = []
    handle = layer.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    with torch.no_grad():
        module(record)
    handle.remove()
    return seen[0]


def _watch(module: nn.Module, record: Tensor) -> list[tuple[str, nn.Module, Tensor]]:
    """Return what each linear map was given, in the order of the calls."""
    visits: list[tuple[str, nn.Module, Tensor]] = []
    handles = []

    def watch(name: str, part: nn.Module) -> None:
        def note(part: nn.Module, given: tuple[Tensor, ...], more: object) -> None:
            if given:
                visits.append((name, part, given[0].detach()))

        handles.append(part.register_forward_pre_hook(note, with_kwargs=True))

    for name, part in module.named_modules():
        if isinstance(part, (nn.Linear, nn.Conv2d, nn.MultiheadAttention)):
            watch(name, part)
    with torch.no_grad():
        module(record)
    for handle in handles:
        handle.remove()
    return visits


def _weight_name(name: str, part: nn.Module) -> str:
    attention = isinstance(part, nn.MultiheadAttention)
    return f"{name}.in_proj_weight" if attention else f"{name}.weight"


def _pair(padding: str | tuple[int, ...]) -> tuple[int, ...]:
    return (
        (1,)
        if isinstance(padding, str) and padding != "valid"
        else (() if isinstance(padding, str) else padding)
    )


def _holds(left: Tensor, right: Tensor) -> bool:
    return bool((left - right).norm() <= _HOLDS * right.norm()) and bool(right.any())
