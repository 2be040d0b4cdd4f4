"""What is sampled in a step of DP-SGD: single records, or subjects with their records.

Poisson sampling: a coin for each unit and step. Under the unit "subject" one coin
brings all of a person's records along, up to a public number; of more, as many are
drawn afresh in every step. The draw takes the client's own key and looks at that person
alone, and whatever it picks is clipped as one vector: privacy rests on the clipping,
and the number only bounds the work, whose duration could tell.

Steps of a stack are tables. They are filled up with records that count for nothing; a
person is filled up with records of that very person, since nobody's infinities may
reach another one's sum.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fl.errors import ModelError
from fl.local.batches import PICKS, draw_coins
from fl.local.counter import words
from fl.local.members import Member


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """The units of one step, filled up to the client that has most.

    Attributes:
        rows: (clients, width, places) int64, into the stack's records.
        weights: (clients, width, places) float32, 1 for what counts, 0 for filling;
            None where every unit is one record.
        sampled: (clients, width) bool, the units that count.
    """

    rows: Tensor
    weights: Tensor | None
    sampled: Tensor

    @property
    def shape(self) -> tuple[int, int, int]:
        """Return the numbers of clients, units and places of a unit."""
        clients, width, places = self.rows.shape
        return clients, width, places

    def part(self, start: int, count: int) -> Sample:
        """Return so many units of each client, from a place on."""
        at = slice(start, start + count)
        return Sample(
            rows=self.rows[:, at],
            weights=None if self.weights is None else self.weights[:, at],
            sampled=self.sampled[:, at],
        )


class Sampler(Protocol):
    """All steps of a stack."""

    def at(self, step: int) -> Sample:
        """Return what one step is about."""


def sampler(
    members: Sequence[Member], *, steps: int, rate: float, most: int | None
) -> Sampler:
    """Toss the coins of a stack.

    Args:
        members: of the stack, in its order.
        steps: how many.
        rate: with which a unit's coin comes up.
        most: records of a subject in a step; None where the unit is the record.

    Raises:
        ModelError: a member does not say whose its records are.
    """
    keys = [member.key for member in members]
    if most is None:
        sizes = [member.records for member in members]
        coins = draw_coins(sizes, keys, steps=steps, rate=rate)
        return Records(np.concatenate(coins, axis=1), np.cumsum(sizes))
    people = [people_of(member) for member in members]
    sizes = [len(own.counts) for own in people]
    coins = draw_coins(sizes, keys, steps=steps, rate=rate)
    draws = [
        _draws(own, key, steps) if own.counts.max(initial=0) > most else None
        for own, key in zip(people, keys, strict=True)
    ]
    return Subjects(coins, people, draws, most)


@dataclass(frozen=True, slots=True)
class Records:
    """Every record is a unit.

    Attributes:
        coins: (steps, records of the stack), one client after the other.
        ends: (clients,) where each one's records end.
    """

    coins: NDArray[np.bool_]
    ends: NDArray[np.int64]

    def at(self, step: int) -> Sample:
        """Return the records whose coins came up; any others fill up."""
        up = np.flatnonzero(self.coins[step])
        last = np.searchsorted(up, self.ends)
        counts = np.diff(last, prepend=0)
        sampled = np.arange(counts.max()) < counts[:, None]
        rows = np.zeros(sampled.shape, dtype=np.int64)
        rows[sampled] = up
        return Sample(
            rows=torch.from_numpy(rows).unsqueeze(2),
            weights=None,
            sampled=torch.from_numpy(sampled),
        )


@dataclass(frozen=True, slots=True)
class People:
    """Whose a client's records are.

    Attributes:
        of: (records,) int64, in 0 .. people - 1.
        order: (records,) the records, one person after the other.
        start: (people,) where each begins in `order`.
        counts: (people,) how many records each has.
    """

    of: NDArray[np.int64]
    order: NDArray[np.int64]
    start: NDArray[np.int64]
    counts: NDArray[np.int64]


def people_of(member: Member) -> People:
    """Sort a client's records by person.

    Raises:
        ModelError: nobody says whose they are.
    """
    if member.subjects is None or len(member.subjects) != member.records:
        raise ModelError(
            "the unit of privacy is the subject, but a client does not say whose each "
            'record is; set data.subject, or privacy.example.unit = "example".'
        )
    _, of, counts = np.unique(member.subjects, return_inverse=True, return_counts=True)
    return People(
        of=of,
        order=np.argsort(of, kind="stable"),
        start=_first(counts),
        counts=counts.astype(np.int64),
    )


@dataclass(frozen=True, slots=True)
class Subjects:
    """Every person is a unit.

    Attributes:
        coins: per client (steps, people).
        people: per client.
        draws: per client (steps, records) uint64, by which a person's records are put
            in order; None where nobody has more than `most`.
        most: records of a person in a step.
    """

    coins: Sequence[NDArray[np.bool_]]
    people: Sequence[People]
    draws: Sequence[NDArray[np.uint64] | None]
    most: int

    def at(self, step: int) -> Sample:
        """Return the people whose coins came up; people of no records fill up."""
        up = [np.flatnonzero(one[step]) for one in self.coins]
        first = _first([len(own.of) for own in self.people])
        width = max(len(one) for one in up)
        sizes = [
            np.minimum(own.counts[some], self.most)
            for own, some in zip(self.people, up, strict=True)
        ]
        places = max((int(one.max(initial=1)) for one in sizes), default=1)
        rows = np.zeros((len(up), width, places), dtype=np.int64)
        weights = np.zeros(rows.shape, dtype=np.float32)
        for client, (own, some, size) in enumerate(
            zip(self.people, up, sizes, strict=True)
        ):
            inside = np.arange(places) < size[:, None]
            at = own.start[some, None] + np.where(inside, np.arange(places), 0)
            rows[client, : len(some)] = self._order(client, step)[at] + first[client]
            weights[client, : len(some)] = inside
        return Sample(
            rows=torch.from_numpy(rows),
            weights=torch.from_numpy(weights),
            sampled=_sampled(up, width),
        )

    def _order(self, client: int, step: int) -> NDArray[np.int64]:
        """Return the records by person, those of one in the order of the draw."""
        own, drawn = self.people[client], self.draws[client]
        return own.order if drawn is None else np.lexsort((drawn[step], own.of))


def _draws(own: People, key: int, steps: int) -> NDArray[np.uint64]:
    keys = np.array([key], dtype=np.uint64)
    (drawn,) = words(keys, PICKS, steps, len(own.of))
    return np.asarray(drawn, dtype=np.uint64)


def _sampled(up: Sequence[NDArray[np.int64]], width: int) -> Tensor:
    counts = np.array([len(one) for one in up])
    return torch.from_numpy(np.arange(width) < counts[:, None])


def _first(sizes: Sequence[int] | NDArray[np.int64]) -> NDArray[np.int64]:
    """Return where each of several pieces, one after the other, begins."""
    return np.concatenate([[0], np.cumsum(sizes)[:-1]]).astype(np.int64)
