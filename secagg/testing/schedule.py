"""What goes wrong in a round, to whom and when.

A ``Schedule`` names at most one mishap per client and step, and the seed of whatever
the mishap leaves open (which bit, which other client), so that the same schedule plays
the same round again, to the bit.  This module carries no message.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import product
from typing import Final

from secagg.invite import Step


class Way(StrEnum):
    """Which of the two messages of a step meets the mishap."""

    REQUEST = "request"  # server to client
    ANSWER = "answer"  # client to server


class Kind(StrEnum):
    """What becomes of a message."""

    BEFORE = "drops out before"  # it and all later ones are lost
    AFTER = "drops out after"  # it arrives, all later ones are lost
    LATE = "late"  # arrives when the step has been closed
    REPEATED = "repeated"  # arrives twice
    REORDERED = "reordered"  # arrives after all others that are on their way
    REPLAYED = "replayed"  # the one of an earlier round arrives first
    FLIPPED = "bit flipped"
    TRUNCATED = "truncated"
    EXTENDED = "trailing bytes"
    STRAYED = "strayed"  # a request reaches another client, an answer forges another


@dataclass(frozen=True, slots=True, order=True)
class Mishap:
    """What happens to one of the two messages of a step."""

    way: Way
    kind: Kind

    def __str__(self) -> str:
        return f"{self.way} {self.kind}"


# A client that drops out after a request is one that drops out before its answer.
MISHAPS: Final = tuple(
    Mishap(way, kind)
    for way, kind in product(Way, Kind)
    if (way, kind) != (Way.REQUEST, Kind.AFTER)
)
DROPOUTS: Final = tuple(m for m in MISHAPS if m.kind in (Kind.BEFORE, Kind.AFTER))


@dataclass(frozen=True, slots=True)
class Schedule:
    """The mishaps of one round.

    Attributes:
        mishaps: By roster index of the client and step; at most one each.
        seed: Fixes inputs, keys and whatever a mishap leaves open.
    """

    mishaps: Mapping[tuple[int, Step], Mishap] = field(default_factory=dict)
    seed: int = 0


def draw_schedule(
    clients: int, seed: int, *, mishaps: Sequence[Mishap] = MISHAPS
) -> Schedule:
    """Draw a schedule of mixed mishaps; the same seed gives the same one.

    Args:
        clients: Size of the cohort.
        seed: Non-negative integer.
        mishaps: What may happen.

    Returns:
        Up to ``clients`` mishaps; few more often than many, since a round that loses
        most of its clients in the first step says little about the last.
    """
    rng = random.Random(seed)
    count = min(rng.randint(0, clients) for _ in range(2))
    spots = rng.sample(list(product(range(clients), Step)), count)
    return Schedule({spot: rng.choice(mishaps) for spot in spots}, seed)


def every_dropout(clients: int, steps: Iterable[Step] = Step) -> Iterator[Schedule]:
    """Return every way in which clients can drop out, each in one step or in none.

    That is (1 + number of steps) ** clients schedules.  In turn, those who vanish do
    so before the request, before the answer, or after it.
    """
    points = [None, *steps]
    for seed, chosen in enumerate(product(points, repeat=clients)):
        yield Schedule(
            {
                (client, step): DROPOUTS[(seed + client) % len(DROPOUTS)]
                for client, step in enumerate(chosen)
                if step is not None
            },
            seed,
        )


def every_mishap(clients: int) -> Iterator[Schedule]:
    """Return each mishap at each step alone, the clients taking turns."""
    for seed, (step, mishap) in enumerate(product(Step, MISHAPS)):
        yield Schedule({(seed % clients, step): mishap}, seed)
