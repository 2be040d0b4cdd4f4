"""What clients did wrong in a round, as far as the server cares to remember.

A client may send any number of refused messages; what is kept of them is bounded, and
holds neither the messages nor anything that was read out of them.  This module decides
nothing about what is a fault.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from secagg.errors import RemoteProtocolError, without_frames

MAX_FAULTS_PER_PEER: Final = 8
"""A client that floods the server with refused messages fills no memory."""


@dataclass(frozen=True, slots=True)
class Fault:
    """A client's message that was refused, and why."""

    peer: str
    step: str
    error: RemoteProtocolError


class FaultLog:
    """The first faults of each client, in the order in which they came."""

    def __init__(self) -> None:
        self._faults: list[Fault] = []
        self._counts: Counter[str] = Counter()

    def record(self, peer: str, step: str, error: RemoteProtocolError) -> None:
        """Name the peer and the step in the error, and keep it if there is room."""
        error.peer, error.step = peer, step
        self._counts[peer] += 1
        if self._counts[peer] <= MAX_FAULTS_PER_PEER:
            self._faults.append(Fault(peer, step, without_frames(error)))

    def __iter__(self) -> Iterator[Fault]:
        return iter(self._faults)
