"""Gradients before they are summed over a client's records, each in its cheapest form.

A layer's gradient is a sum of outer products, one per record and place. Kept as its two
factors it can be added to a parameter without being made, and a record's norm can be
had without making that record's gradient (Goodfellow, "Efficient per-example gradient
computations", arXiv:1510.01799).

    Product   weights of a layer: sum of outer products
    Total     its bias: sum of one factor
    Each      one gradient per record, made
    Whole     one gradient per client, made
    Noised    any of these, and noise
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Protocol

import torch
from torch import Tensor

# A factor of a record's gradient with a larger norm counts as not finite: scaled down
# to any clip norm it would leave float32's range, and its own clip norm with it.
LARGEST = 2.0**60


class Slope(Protocol):
    """The gradient of one parameter, for each client of a stack."""

    def dense(self) -> Tensor:
        """Return it made: (clients, *shape), free to be changed."""

    def descend(self, parameter: Tensor, rate: float) -> None:
        """Subtract ``rate`` times it from the stacked ``parameter``, in place."""


class LayerSlope(Slope, Protocol):
    """The same, from a layer by hand."""

    def of_records(self) -> ExampleSlope:
        """Return it with each record's own share within reach."""

    def grouped(self, width: int) -> LayerSlope:
        """Return it with so many units of equally many records in place of records."""


class ExampleSlope(Slope, Protocol):
    """The same, with each record's own share within reach."""

    def squared_norms(self, seen: Seen) -> Tensor:
        """Return each record's squared L2 norm, (clients, width) float64.

        Infinity where it is not finite or `LARGEST` is passed on the way.
        """

    def without(self, rows: Tensor) -> ExampleSlope:
        """Return it with zeros for some records, (clients, width) bool."""

    def weighted(self, roots: Tensor, seen: Seen) -> Slope:
        """Return it with each record's share times a factor.

        Args:
            roots: (clients, width) float32, the square roots of the factors: a factor
                alone may be too small for float32.
            seen: empty, or of the same factors.
        """


class Seen:
    """What was found of factors that several slopes share, so that it is found once.

    A layer's weights and its bias have one factor in common.
    """

    def __init__(self) -> None:
        """Start with nothing."""
        # The factor itself is kept beside, so that no other takes its place in memory.
        self._found: dict[int, tuple[Tensor, Tensor]] = {}

    def __call__(self, find: Callable[[Tensor], Tensor], rows: Tensor) -> Tensor:
        """Return what is found of a factor; ``find`` is the same in every call."""
        known = self._found.get(id(rows))
        if known is None:
            known = self._found[id(rows)] = (rows, find(rows))
        return known[1]


@dataclass(frozen=True, slots=True)
class Product:
    """Sum over records and places of ``back`` times ``given``.

    Attributes:
        back: (clients, width * places, outputs).
        given: (clients, width * places, inputs).
        width: records per client.
    """

    back: Tensor
    given: Tensor
    width: int

    def dense(self) -> Tensor:
        """Return it made."""
        return torch.bmm(self.back.transpose(1, 2), self.given)

    def descend(self, parameter: Tensor, rate: float) -> None:
        """Subtract ``rate`` times it."""
        parameter.baddbmm_(self.back.transpose(1, 2), self.given, alpha=-rate)

    def squared_norms(self, seen: Seen) -> Tensor:
        """Return each record's squared norm: one place, so that of the product."""
        return seen(_squared, self.back) * seen(_squared, self.given)

    def of_records(self) -> Product | Each:
        """Return it with each record's share apart: made, where places add up."""
        clients, rows, outputs = self.back.shape
        if rows == self.width:
            return self
        # Norms could be had from inner products of places, but those cancel.
        places = rows // self.width
        back = self.back.reshape(clients * self.width, places, outputs)
        given = self.given.reshape(clients * self.width, places, -1)
        made = torch.bmm(back.transpose(1, 2), given)
        return Each(apart(made, 0, (clients, self.width)))

    def grouped(self, width: int) -> Product:
        """Return it with the records of a unit as its places."""
        return replace(self, width=width)

    def without(self, rows: Tensor) -> Product:
        """Return it with zeros for some records."""
        back, given = _without(rows, self.back), _without(rows, self.given)
        return replace(self, back=back, given=given)

    def weighted(self, roots: Tensor, seen: Seen) -> Product:
        """Return it with each record's share times a factor."""
        return replace(self, back=seen(partial(_times, roots), self.back))


@dataclass(frozen=True, slots=True)
class Total:
    """Sum over records and places of ``back``, (clients, width * places, outputs)."""

    back: Tensor
    width: int

    def dense(self) -> Tensor:
        """Return it made."""
        return self.back.sum(dim=1)

    def descend(self, parameter: Tensor, rate: float) -> None:
        """Subtract ``rate`` times it."""
        parameter.sub_(self.dense(), alpha=rate)

    def squared_norms(self, seen: Seen) -> Tensor:
        """Return each record's squared norm."""
        return seen(_squared, self.back)

    def of_records(self) -> Total:
        """Return it with each record's places added up."""
        if self.back.shape[1] == self.width:
            return self
        return Total(apart(self.back, 1, (self.width, -1)).sum(dim=2), self.width)

    def grouped(self, width: int) -> Total:
        """Return it with the records of a unit as its places."""
        return replace(self, width=width)

    def without(self, rows: Tensor) -> Total:
        """Return it with zeros for some records."""
        return replace(self, back=_without(rows, self.back))

    def weighted(self, roots: Tensor, seen: Seen) -> Total:
        """Return it with each record's share times a factor."""
        return replace(self, back=seen(partial(_times, roots), self.back))


@dataclass(frozen=True, slots=True)
class Each:
    """One gradient per record: (clients, width, *shape)."""

    gradients: Tensor

    def dense(self) -> Tensor:
        """Return it made."""
        return self.gradients.sum(dim=1)

    def descend(self, parameter: Tensor, rate: float) -> None:
        """Subtract ``rate`` times it."""
        parameter.sub_(self.dense(), alpha=rate)

    def squared_norms(self, seen: Seen) -> Tensor:
        """Return each record's squared norm."""
        return _squared(self.gradients.flatten(2))

    def without(self, rows: Tensor) -> Each:
        """Return it with zeros for some records."""
        flat = _without(rows, self.gradients.flatten(2))
        return Each(flat.view(self.gradients.shape))

    def weighted(self, roots: Tensor, seen: Seen) -> Whole:
        """Return it with each record's share times a factor."""
        flat = self.gradients.flatten(2)
        # No norm passes LARGEST here, so that no factor is too small for float32.
        made = (flat * roots.square().unsqueeze(2)).sum(dim=1)
        return Whole(apart(made, 1, self.gradients.shape[2:]))


@dataclass(frozen=True, slots=True)
class Whole:
    """One gradient per client, (clients, *shape)."""

    gradient: Tensor

    def dense(self) -> Tensor:
        """Return it."""
        return self.gradient

    def descend(self, parameter: Tensor, rate: float) -> None:
        """Subtract ``rate`` times it."""
        parameter.sub_(self.gradient, alpha=rate)


@dataclass(frozen=True, slots=True)
class Noised:
    """A gradient and the noise that hides it, (clients, *shape); not to be parted."""

    slope: Slope
    noise: Tensor

    def dense(self) -> Tensor:
        """Return it made."""
        return self.slope.dense().add_(self.noise)

    def descend(self, parameter: Tensor, rate: float) -> None:
        """Subtract ``rate`` times it."""
        self.slope.descend(parameter, rate)
        parameter.sub_(self.noise, alpha=rate)


def _squared(rows: Tensor) -> Tensor:
    # float64: no overflow, and above all no underflow, which would hide a norm.
    norms = torch.linalg.vector_norm(rows.double(), dim=-1)
    return torch.where(norms < LARGEST, norms.square(), torch.inf)


def _times(roots: Tensor, rows: Tensor) -> Tensor:
    # Where the first product is too small for float32, the second is all the more.
    roots = roots.unsqueeze(2)
    return (rows * roots).mul_(roots)


def _without(records: Tensor, rows: Tensor) -> Tensor:
    return rows.masked_fill(records.unsqueeze(2), 0.0)


def apart(tensor: Tensor, axis: int, sizes: tuple[int, ...]) -> Tensor:
    """Return the tensor with one axis taken apart; torch's own lacks its types."""
    shape = tensor.shape
    return tensor.reshape(*shape[:axis], *sizes, *shape[axis + 1 :])
