"""Which linear maps of a language model read single tokens, and which whole prefixes.

Found by changing one token of a made-up sequence and watching whose input moves where.
For any linear map that reads rows Z the weight gradient is D^T Z, so its row space lies
in the span of Z: `span_of` and `off_span` measure that (Petrov et al., NeurIPS 2024,
arXiv 2405.15586, section 4). Maps that read the same rows are pooled: the query alone
never sees the first token, on which attention has no choice, but key and value do.
"""

import copy
from dataclasses import dataclass

import torch
from torch import Tensor, nn


class _Reached(Exception):  # noqa: N818 - not an error: the pass went far enough
    """Stops a forward pass whose rest is not needed."""


@dataclass(frozen=True, slots=True)
class Reader:
    """Linear maps, by weight name, that read one and the same sequence of rows."""

    module: str
    weights: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Readers:
    """The first readers of single tokens and of prefixes.

    `prefix` is None where every map reads one token or where later tokens shine
    through (`causal` tells which).
    """

    token: Reader
    prefix: Reader | None
    causal: bool


def quiet_copy(model: nn.Module) -> nn.Module:
    """Copy a model with dropout off and no gradients."""
    return copy.deepcopy(model).eval().requires_grad_(False)


def find_readers(model: nn.Module, length: int, tokens: int) -> Readers | None:
    """Find who reads what, or None if no linear map reads single tokens."""
    generator = torch.Generator().manual_seed(0)
    device = next(model.parameters()).device
    one = torch.randint(0, tokens, (1, length), generator=generator)
    other = one.clone()
    changed = length // 2
    other[0, changed] = (one[0, changed] + 1) % tokens
    before = _visits(model, one.to(device))
    after = _visits(model, other.to(device))
    token: Reader | None = None
    prefix: Reader | None = None
    causal = True
    for (name, _, rows), (_, _, moved) in zip(before, after, strict=True):
        if rows.dim() != 3 or rows.shape[1] != length:
            continue
        hit = (rows != moved).any(dim=2)[0].nonzero().flatten().tolist()
        if any(place < changed for place in hit):
            causal = False
        elif hit == [changed] and token is None:
            token = Reader(name, _same(before, rows))
        elif len(hit) > 1 and prefix is None and causal:
            prefix = Reader(name, _same(before, rows))
    if token is None:
        return None
    return Readers(token, prefix if causal else None, causal)


def rows_read(model: nn.Module, reader: Reader, sequences: Tensor) -> Tensor:
    """Return what a reader is given for sequences (B, length): (B, length, width)."""
    seen: list[Tensor] = []

    def note(_: nn.Module, given: tuple[Tensor, ...], __: object) -> None:
        seen.append(given[0])
        raise _Reached

    part = model.get_submodule(reader.module)
    handle = part.register_forward_pre_hook(note, with_kwargs=True)
    try:
        with torch.no_grad():
            model(sequences)
    except _Reached:
        pass
    finally:
        handle.remove()
    return seen[0].double()


def span_of(rows: Tensor, *, cut: float) -> Tensor:
    """Return an orthonormal basis (rank, width) of the row space of (n, width).

    Directions weaker than `cut` times the strongest one count as rounding.
    """
    _, values, right = torch.linalg.svd(rows.double(), full_matrices=False)
    basis: Tensor = right[values > cut * values[0]]
    return basis


def off_span(basis: Tensor, rows: Tensor) -> Tensor:
    """Return how far rows (n, width) are from a span, relative to their length."""
    rest = rows - (rows @ basis.T) @ basis
    rest = rest - (rest @ basis.T) @ basis  # once more: takes off what rounding left
    distance: Tensor = rest.norm(dim=1) / rows.norm(dim=1).clamp_min(1e-300)
    return distance


def _visits(model: nn.Module, tokens: Tensor) -> list[tuple[str, nn.Module, Tensor]]:
    visits: list[tuple[str, nn.Module, Tensor]] = []
    handles = []

    def watch(name: str, part: nn.Module) -> None:
        def note(_: nn.Module, given: tuple[Tensor, ...], __: object) -> None:
            if given:
                visits.append((name, part, given[0]))

        handles.append(part.register_forward_pre_hook(note, with_kwargs=True))

    for name, part in model.named_modules():
        if isinstance(part, (nn.Linear, nn.MultiheadAttention)):
            watch(name, part)
    with torch.no_grad():
        model(tokens)
    for handle in handles:
        handle.remove()
    return visits


def _same(visits: list[tuple[str, nn.Module, Tensor]], rows: Tensor) -> tuple[str, ...]:
    names = []
    for name, part, given in visits:
        if given.shape == rows.shape and torch.equal(given, rows):
            attention = isinstance(part, nn.MultiheadAttention)
            names.append(f"{name}.in_proj_weight" if attention else f"{name}.weight")
    return tuple(names)
