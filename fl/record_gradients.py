"""The gradients of many records at one model, without making them where that is spared.

Fills ``attacks.membership.federated.RecordGradients``. A dense layer's gradient is an
outer product, so its norm is a product of norms and its inner product with a matrix D
is b' D a: the ghost norms of `fl.local.slopes`, and the same for inner products. Other
models go through vmap, or one record at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fl.local import autodiff, byhand
from fl.local.autodiff import by_vmap, lent
from fl.local.engine import engine_for
from fl.local.slopes import Each, ExampleSlope, Product, Seen, Slope, Total, apart
from fl.local.stack import Layout
from fl.local.thread import one_thread
from fl.local.translate import layers_of, takes_images
from fl.models import parameter_count, to_vector

# Records at once where gradients are made, and where they are not, by bytes.
BYTES = 64 * 2**20
CHUNK = 512

Floats = NDArray[np.float64]
Slopes = Callable[[Tensor, Tensor], Sequence[Slope]]


@dataclass(frozen=True, slots=True)
class Gradients:
    """Gradients of the cross-entropy of records at a model's present parameters.

    Attributes:
        model: in eval mode; its parameters are not to change in between.
        x: (records, *input_shape) float32.
        y: (records,) int64.
    """

    model: nn.Module
    x: Tensor
    y: Tensor

    def norms(self) -> Floats:
        """Return their L2 norms, (records,)."""
        with one_thread(), lent(self.model):
            _, parts = _prepared(self.model, self.x, self.y)
            found = [
                sum_of([_apart(one).squared_norms(seen) for one in slopes])[0]
                for slopes in parts
                for seen in [Seen()]
            ]
        return np.asarray(torch.cat(found).sqrt().numpy(), dtype=np.float64)

    def along(self, directions: NDArray[np.floating]) -> Floats:
        """Return inner products with ``directions``, (vectors, records).

        Args:
            directions: (vectors, parameters), in the order of `fl.models.to_vector`.
        """
        vectors = torch.from_numpy(np.ascontiguousarray(directions, dtype=np.float32))
        with one_thread(), lent(self.model):
            layout, parts = _prepared(self.model, self.x, self.y)
            cut = layout.arranged(vectors)
            found = [
                sum_of([_along(one, own) for one, own in zip(slopes, cut, strict=True)])
                for slopes in parts
            ]
        return np.asarray(torch.cat(found, dim=1).numpy(), dtype=np.float64)

    def made(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the gradients of some records, (rows, parameters)."""
        chosen = torch.from_numpy(rows)
        out = torch.empty((len(rows), parameter_count(self.model)))
        with one_thread(), lent(self.model):
            layout, parts = _prepared(self.model, self.x[chosen], self.y[chosen])
            at = 0
            for slopes in parts:
                each = [_made(one) for one in slopes]
                into = out[at : at + len(each[0])]
                layout.put(each, into)
                at += len(into)
        return np.asarray(out.numpy())


def sum_of(parts: Sequence[Tensor]) -> Tensor:
    """Add up what the parameters of a model contribute."""
    return torch.stack(list(parts)).sum(dim=0)


def _prepared(
    model: nn.Module, x: Tensor, y: Tensor
) -> tuple[Layout, Iterator[Sequence[Slope]]]:
    """Return how vectors are cut, and the records' slopes chunk by chunk."""
    engine = engine_for(model, tuple(x.shape[1:]))
    shapes = [one.shape for one in model.parameters()]
    layout = Layout(shapes, engine.images)
    parameters = layout.arranged(torch.from_numpy(to_vector(model))[None])
    layers = layers_of(model) if engine.name == "by hand" else None
    most = min(CHUNK, max(1, BYTES // (4 * parameter_count(model))))
    if layers is not None:

        def slopes(some: Tensor, labels: Tensor) -> Sequence[Slope]:
            ones = torch.ones((1, len(labels)))
            return byhand.slopes(layers, parameters, some[None], labels[None], ones)

        # Where places add up, gradients are made after all: see `_along`.
        return layout, _chunks(slopes, x, y, most if takes_images(layers) else CHUNK)
    if engine.name == "vmap":
        forward = by_vmap(model)

        def stacked(some: Tensor, labels: Tensor) -> Sequence[Slope]:
            return autodiff.of_each_unit(forward, parameters, some[None], labels[None])

        return layout, _chunks(stacked, x, y, most)

    def single(some: Tensor, labels: Tensor) -> Sequence[Slope]:
        weights = torch.ones((1, 1))
        each = [
            autodiff.alone(model, parameters, one[None, None], own[None, None], weights)
            for one, own in zip(some, labels, strict=True)
        ]
        return [
            Each(torch.stack([one.gradient for one in same], dim=1))
            for same in zip(*each, strict=True)
        ]

    return layout, _chunks(single, x, y, most)


def _chunks(
    slopes: Slopes, x: Tensor, y: Tensor, size: int
) -> Iterator[Sequence[Slope]]:
    for at in range(0, len(y), size):
        yield slopes(x[at : at + size], y[at : at + size])


def _apart(slope: Slope) -> ExampleSlope:
    """Return a slope with each record's own share within reach."""
    if isinstance(slope, Each):
        return slope
    if isinstance(slope, Product | Total):
        return slope.of_records()
    raise AssertionError("a slope of an unknown kind")


def _made(slope: Slope) -> Tensor:
    """Return a parameter's gradient for each record, (records, *shape)."""
    match slope:
        case Product(back=back, given=given, width=width):
            sides = (apart(one[0], 0, (width, -1)) for one in (back, given))
            left, right = sides
            return torch.bmm(left.transpose(1, 2), right)
        case Total(back=back, width=width):
            return apart(back[0], 0, (width, -1)).sum(dim=1)
        case Each(gradients=gradients):
            return gradients[0]
    raise AssertionError("a slope of an unknown kind")


def _along(slope: Slope, directions: Tensor) -> Tensor:
    """Return a parameter's share in the inner products, (vectors, records).

    Args:
        slope: of the records of a stack of one client.
        directions: (vectors, *shape), as the stack holds the parameter.
    """
    # A product of every direction with every place costs more than adding places up.
    match _apart(slope):
        case Product(back=back, given=given):
            each = [(back[0] @ one).mul_(given[0]).sum(dim=1) for one in directions]
            return torch.stack(each)
        case Total(back=back):
            return directions @ back[0].T
        case Each(gradients=gradients):
            return directions.flatten(1) @ gradients[0].flatten(1).T
    raise AssertionError("a slope of an unknown kind")
