"""One round of secure aggregation with real messages, and what each step cost whom.

All parties run in this process, one after the other.  A client makes its vector when
it is about to upload, and nothing is kept of a message that was delivered, so a round
of ten thousand clients fits into memory.  Time is CPU time of all threads.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

import secagg
from secagg.invite import SERVER, Step
from secagg.messages import step_of

CLIENTS = "clients"


@dataclass(frozen=True, slots=True, kw_only=True)
class Played:
    """What a round cost, in all and by step.

    Attributes:
        clients: n.
        cpu_s: CPU seconds by (role, step): all clients together, or the server.
        wall_s: of the whole round.
        bytes_up: From all clients, by step.
        bytes_down: To all clients, by step.
        outcome: The sum.
    """

    clients: int
    cpu_s: Mapping[tuple[str, str], float]
    wall_s: float
    bytes_up: Mapping[str, int]
    bytes_down: Mapping[str, int]
    mean: np.ndarray = field(repr=False)
    survivors: frozenset[str] = field(repr=False)
    max_error: float

    @property
    def client_ms(self) -> float:
        """CPU milliseconds of one client."""
        return 1e3 * self._total(CLIENTS) / self.clients

    @property
    def server_s(self) -> float:
        """CPU seconds of the server."""
        return self._total(SERVER)

    def _total(self, role: str) -> float:
        return sum(s for (who, _), s in self.cpu_s.items() if who == role)


def play(
    plan: secagg.Plan,
    vector_of: Callable[[str], np.ndarray],
    *,
    length: int,
    gone: Mapping[str, str],
    session: bytes,
) -> Played:
    """Run one round.

    Args:
        plan: What is agreed.
        vector_of: A client's vector, shape (length,), float32.
        length: Values in a vector.
        gone: Step by client whose answer to it and to all later ones is lost.
        session: Names the round.
    """
    meter = _Meter()
    roster = [name_of(i) for i in range(plan.clients)]
    server = secagg.Server(plan, roster, session=session, length=length)
    policy = secagg.Policy(
        min_clients=plan.clients, min_threshold=plan.threshold, min_sigma=1
    )
    meter.charge(SERVER, Step.ADVERTISE_KEYS)
    clients = {name: secagg.Client(plan, policy, me=name) for name in roster}
    meter.charge(CLIENTS, Step.ADVERTISE_KEYS)
    silent: set[str] = set()
    requests = list(server.start())
    meter.charge(SERVER, Step.ADVERTISE_KEYS)
    while not server.finished:
        if not requests:
            requests = list(server.timeout())
            meter.charge(SERVER, meter.step)
            continue
        following = []
        for name, request in requests:
            step = meter.down(request)
            if name in silent:
                continue
            if step == Step.MASKED_INPUT:
                vector = vector_of(name)
                meter.skip()
                clients[name].offer(vector, context=CONTEXT)
            answers = clients[name].receive(request)
            meter.charge(CLIENTS, step)
            if gone.get(name) == step:
                silent.add(name)
                continue
            for answer in answers:
                meter.up(answer)
                following += server.receive(name, answer)
                meter.charge(SERVER, step)
        requests = following
    outcome = server.result()
    return Played(
        clients=plan.clients,
        cpu_s=dict(meter.cpu_s),
        wall_s=time.perf_counter() - meter.began,
        bytes_up=dict(meter.sent),
        bytes_down=dict(meter.received),
        mean=outcome.mean,
        survivors=outcome.survivors,
        max_error=outcome.max_error,
    )


CONTEXT = secagg.context(b"benchmark")


def name_of(index: int) -> str:
    """Return a client's name; names sort as their numbers."""
    return f"client-{index:06d}"


class _Meter:
    """Charges the CPU time since the last charge to a role and a step."""

    def __init__(self) -> None:
        self.cpu_s: Counter[tuple[str, str]] = Counter()
        self.sent: Counter[str] = Counter()
        self.received: Counter[str] = Counter()
        self.step = str(Step.ADVERTISE_KEYS)
        self.began = time.perf_counter()
        self._last = time.process_time()

    def charge(self, role: str, step: str) -> None:
        now = time.process_time()
        self.cpu_s[role, str(step)] += now - self._last
        self._last = now

    def skip(self) -> None:
        self._last = time.process_time()

    def down(self, request: bytes) -> str:
        self.step = str(step_of(request) or self.step)
        self.received[self.step] += len(request)
        self.skip()
        return self.step

    def up(self, answer: bytes) -> None:
        self.sent[self.step] += len(answer)
        self.skip()
