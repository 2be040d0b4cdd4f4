"""Many models as one batch: a leading axis of clients on every parameter.

Clients may start from one model or from several (shadow models start from their own).
A stack is cut into chunks whose working set fits a core's cache; a chunk is all that is
ever in memory beside the result. How it is cut changes a result by rounding at
most, and depends on sizes alone, never on the machine.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fl.local.members import Member, records_of
from fl.local.slopes import apart
from fl.local.thread import threads_for
from fl.local.translate import Image
from fl.models import parameter_count

# What one chunk of clients may take. Measured on small models: more, and a step waits
# for memory; less, and it waits for Python.
BYTES = 16 * 2**20
# glibc lets its threshold grow to 32 MiB, and no further.
KEPT = 31 * 2**20


@dataclass(frozen=True, slots=True)
class Layout:
    """How a model's vector is cut into a stack's parameters.

    Attributes:
        shapes: of the parameters in torch.
        images: per parameter, (channels, height, width) of its inputs where the stack
            wants them last; () if nowhere.
    """

    shapes: Sequence[torch.Size]
    images: Sequence[Image | None]

    def arranged(self, vectors: Tensor) -> list[Tensor]:
        """Cut (rows, parameters) into the stack's parameters; copies where it must."""
        return [
            one
            if image is None
            else apart(one.flatten(2), 2, image).permute(0, 1, 3, 4, 2).flatten(2)
            for one, image in self._each(vectors)
        ]

    def put_moves(
        self, now: Sequence[Tensor], before: Sequence[Tensor], out: Tensor
    ) -> None:
        """Write ``now`` less ``before`` into vectors, (rows, parameters)."""
        if not any(self.images) and out.device == now[0].device:
            for (into, _), one, was in zip(self._each(out), now, before, strict=True):
                torch.sub(one, was, out=into)
            return
        self.put([torch.sub(*pair) for pair in zip(now, before, strict=True)], out)

    def put(self, parameters: Sequence[Tensor], out: Tensor) -> None:
        """Write the stack's parameters into vectors, (rows, parameters)."""
        for (into, image), one in zip(self._each(out), parameters, strict=True):
            if image is None:
                into.copy_(one)
                continue
            channels, *size = image
            first = apart(one, 2, (*size, channels)).permute(0, 1, 4, 2, 3)
            into.view(first.shape).copy_(first)

    def _each(self, vectors: Tensor) -> list[tuple[Tensor, Image | None]]:
        parts = cut(vectors, self.shapes)
        return list(zip(parts, self.images or [None] * len(parts), strict=True))


@dataclass(frozen=True, slots=True)
class Stack:
    """One chunk of clients, most records first.

    Attributes:
        members: in the order of the stack.
        places: (clients,) their places among all members.
        layout: how vectors become parameters.
        parameters: each (clients, ...), to be moved in place.
        released: the same before training; (1, ...) if all start alike.
        x: all records, one client after the other; or the table they share.
        y: their labels.
        rows: of the table, one client after the other; None where nothing is shared.
    """

    members: Sequence[Member]
    places: NDArray[np.int64]
    layout: Layout
    parameters: list[Tensor]
    released: list[Tensor]
    x: Tensor
    y: Tensor
    rows: Tensor | None = None

    def gathered(self, at: Tensor, shape: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """Return some of the clients' records and labels as (clients, width, ...).

        Args:
            at: places among all clients' records, one client after the other.
            shape: (clients, width), of as many.
        """
        own = at if self.rows is None else self.rows.index_select(0, at)
        x = self.x.index_select(0, own).view(*shape, *self.x.shape[1:])
        return x, self.y.index_select(0, own).view(shape)

    def shaped(self, vectors: Tensor) -> list[Tensor]:
        """Cut (clients, parameters), in the stack's own order, into views."""
        return cut(vectors, [one.shape[1:] for one in self.parameters])


def cut(vectors: Tensor, shapes: Sequence[torch.Size]) -> list[Tensor]:
    """Cut (rows, parameters) into views of shape (rows, *shape)."""
    parts = torch.split(vectors, [shape.numel() for shape in shapes], dim=1)
    return [
        part.view(len(vectors), *shape)
        for part, shape in zip(parts, shapes, strict=True)
    ]


def train_in_chunks(
    model: nn.Module,
    members: Sequence[Member],
    starts: NDArray[np.float32],
    work: Callable[[Stack], None],
    *,
    images: Sequence[Image | None],
    bytes_each: Callable[[Member], int],
    limit: int,
    alone: bool,
    device: torch.device,
) -> NDArray[np.float32]:
    """Train all members by chunks; return (clients, parameters), the changes.

    Args:
        model: says the shapes.
        members: one or more.
        starts: (models, parameters) that they start from.
        work: moves a chunk's parameters in place.
        images: see `Layout`.
        bytes_each: estimate of what one client of a chunk takes.
        limit: bytes that a chunk may take.
        alone: chunks of one client, one after the other.
        device: that the arithmetic runs on.
    """
    _keep_freed_memory()
    found = torch.empty((len(members), parameter_count(model)))
    layout = Layout([parameter.shape for parameter in model.parameters()], images)
    released = layout.arranged(torch.from_numpy(starts).to(device))

    @torch.no_grad()
    def train(places: NDArray[np.int64]) -> None:
        stack = _stack([members[i] for i in places], places, released, layout, device)
        work(stack)
        # Where sizes are equal, places are a range and this is the result itself.
        whole = (
            places[-1] - places[0] == len(places) - 1 and (np.diff(places) > 0).all()
        )
        out = found[places[0] : places[-1] + 1] if whole else found[places]
        layout.put_moves(stack.parameters, stack.released, out)
        if not whole:
            found[places] = out

    for chunk in _chunks(members, bytes_each, limit, alone=alone):
        with threads_for(len(chunk)):
            train(chunk)
    array: NDArray[np.float32] = found.numpy()
    return array


@cache
def _keep_freed_memory() -> None:
    """Let the process keep what a chunk frees, once: up to twice KEPT.

    glibc hands freed memory back to the system above a threshold, and the next chunk
    waits for every page of it anew: a fifth of a short round. Freeing one large block
    (which nobody has touched) raises the threshold to twice its size: mallopt(3),
    M_MMAP_THRESHOLD. Elsewhere it does nothing.
    """
    torch.empty(KEPT, dtype=torch.uint8)


def _chunks(
    members: Sequence[Member],
    bytes_each: Callable[[Member], int],
    limit: int,
    *,
    alone: bool,
) -> Iterator[NDArray[np.int64]]:
    """Yield the places of each chunk's members, most records first."""
    sizes = np.array([member.records for member in members])
    # Most records first: those who still move are then a prefix.
    order = np.argsort(-sizes, kind="stable")
    start = 0
    while start < len(order):
        each = bytes_each(members[order[start]])
        count = 1 if alone else max(1, limit // each)
        yield order[start : start + count]
        start += count


def _stack(
    members: Sequence[Member],
    places: NDArray[np.int64],
    released: Sequence[Tensor],
    layout: Layout,
    device: torch.device,
) -> Stack:
    before = list(released)
    if len(before[0]) == 1:
        parameters = [
            one.repeat(len(members), *[1] * (one.dim() - 1)) for one in before
        ]
    else:
        rows = torch.tensor([member.start for member in members], device=device)
        before = [one.index_select(0, rows) for one in before]
        parameters = [one.clone() for one in before]
    x, y, own = records_of(members)
    return Stack(
        members=members,
        places=places,
        layout=layout,
        parameters=parameters,
        released=before,
        x=x.to(device),
        y=y.to(device),
        rows=None if own is None else own.to(device),
    )
