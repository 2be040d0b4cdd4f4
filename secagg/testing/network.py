"""Messages on their way between a server and its clients, and what becomes of them.

Everything crosses a transport as bytes.  Time is an input: when nothing is on its way
any more, the step's deadline passes.  The number of events is bounded, so that a round
that would never end is stopped.  This module judges nothing.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from secagg.client import Client
from secagg.invite import SERVER, Step
from secagg.messages import step_of
from secagg.server import Server
from secagg.testing.schedule import Kind, Mishap, Schedule, Way
from secagg.testing.transport import Transport

EVENTS_PER_CLIENT: Final = 40  # a round has 8 messages per client, one mishap each

Earlier = Mapping[tuple[int, Step, Way], bytes]
"""The messages of an earlier round, by client, step and way."""


@dataclass(frozen=True, slots=True)
class Exchange:
    """What a client was handed, and what it answered."""

    client: int
    request: bytes = field(repr=False)
    answers: tuple[bytes, ...] = field(repr=False)


class Network:
    """Messages on their way, and what becomes of them."""

    def __init__(
        self,
        server: Server,
        clients: Mapping[str, Client],
        schedule: Schedule,
        old: Earlier,
        transport: Transport,
    ) -> None:
        self._server = server
        self._clients = clients
        self._index = {name: i for i, name in enumerate(clients)}
        self._mishaps = schedule.mishaps
        self._rng = random.Random(schedule.seed)
        self._old = old
        self._transport = transport
        self._queue = deque[tuple[str, str, bytes]]()  # (sender, receiver, message)
        self._behind = list[tuple[str, str, bytes]]()  # until nothing is in the queue
        self._late = list[tuple[str, str, bytes]]()  # until the next deadline
        self._gone = set[str]()
        self.requests: list[tuple[int, bytes]] = []
        self.exchanges: list[Exchange] = []
        self.fired: dict[tuple[int, Step], Mishap] = {}
        self.events = 0
        self.ended = False

    def run(self) -> None:
        """Carry messages and let deadlines pass until the round is over."""
        self._ask(self._server.start())
        while self.events < EVENTS_PER_CLIENT * len(self._clients):
            self.events += 1
            if self._queue:
                self._deliver(*self._queue.popleft())
            elif self._behind:
                self._queue.extend(self._behind)
                self._behind.clear()
            elif not self._server.finished or self._late:
                if not self._server.finished:
                    self._ask(self._server.timeout())
                self._queue.extend(self._late)
                self._late.clear()
            else:
                self.ended = True
                return

    def _deliver(self, sender: str, receiver: str, data: bytes) -> None:
        """Carry one message over the transport and let the receiver answer."""
        if receiver in self._gone:
            return
        self._transport.send(sender, receiver, data)
        for peer, arrived in self._transport.receive(receiver):
            if receiver == SERVER:
                self._ask(self._server.receive(peer, arrived))
                continue
            answers = self._clients[receiver].receive(arrived)
            index = self._index[receiver]
            self.exchanges.append(Exchange(index, arrived, answers))
            for answer in answers:
                self._dispatch(Way.ANSWER, receiver, answer)

    def _ask(self, requests: Sequence[tuple[str, bytes]]) -> None:
        for name, data in requests:
            self.requests.append((self._index[name], data))
            self._dispatch(Way.REQUEST, name, data)

    def _dispatch(self, way: Way, client: str, data: bytes) -> None:
        """Put a message on its way, with the mishap that is due, if any."""
        if client in self._gone:
            return
        ends = (SERVER, client) if way is Way.REQUEST else (client, SERVER)
        letter = (*ends, data)
        step = step_of(data)
        spot = None if step is None else (self._index[client], step)
        mishap = None if spot is None else self._mishaps.get(spot)
        if not (spot and mishap and mishap.way is way and spot not in self.fired):
            self._queue.append(letter)
            return
        self.fired[spot] = mishap
        match mishap.kind:
            case Kind.BEFORE:
                self._gone.add(client)
            case Kind.AFTER:
                self._queue.append(letter)
                self._gone.add(client)
            case Kind.LATE:
                self._late.append(letter)
            case Kind.REORDERED:
                self._behind.append(letter)
            case Kind.REPEATED:
                self._queue.extend((letter, letter))
            case Kind.REPLAYED:
                self._queue.append((*ends, self._old[*spot, way]))
                self._queue.append(letter)
            case Kind.STRAYED:
                self._stray(way, client, data)
            case _:
                self._queue.append((*ends, self._damaged(mishap.kind, data)))

    def _stray(self, way: Way, client: str, data: bytes) -> None:
        """Hand a request to another client; let another send a copy of an answer."""
        other = self._rng.choice([name for name in self._index if name != client])
        if way is Way.REQUEST:
            self._queue.append((SERVER, other, data))
        else:
            self._queue.append((other, SERVER, data))
            self._queue.append((client, SERVER, data))

    def _damaged(self, kind: Kind, data: bytes) -> bytes:
        if kind is Kind.TRUNCATED:
            return data[: self._rng.randrange(len(data))]
        if kind is Kind.EXTENDED:
            return data + self._rng.randbytes(self._rng.randint(1, 8))
        changed = bytearray(data)
        bit = self._rng.randrange(8 * len(data))
        changed[bit // 8] ^= 1 << bit % 8
        return bytes(changed)
