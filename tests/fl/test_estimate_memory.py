"""What an estimate says is held in memory, beside what replayed parties really hold."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from functools import partial

import numpy as np
import pytest

import secagg
from fl.unit_memory import measure_memory
from secagg.client import Client
from secagg.footprint import bytes_held, held
from secagg.graph import graph_of
from secagg.invite import Step
from secagg.messages import step_of
from secagg.server import Server
from secagg.states import Role
from secagg.traffic import Wiring, traffic
from secagg.turnout import turnout_of
from tests.secagg.harness import CONTEXT, open_policy

N, LENGTH, WATCHED = 48, 30_000, 7
PLAN = secagg.plan(
    N,
    3,
    3,
    encoder=secagg.Encoder(value_bits=16, weight_max=1),
    sigma=12,
    eta=6,
    graph="k-regular",
)
NAMES = [f"client-{i:04d}" for i in range(N)]
GONE = frozenset({3, 40})  # before their uploads arrive
ENOUGH = (
    200_000  # bytes: below, tables of the graph and odd ends, which are not counted
)


def _server() -> Server:
    return Server(PLAN, NAMES, session=b"session", length=LENGTH)


def _client(index: int) -> Client:
    rng = secagg.simulation_rng(1, index)
    return Client(PLAN, open_policy(PLAN), me=NAMES[index], rng=rng)


def _play() -> tuple[list[tuple[str, bytes] | None], list[bytes], bytes]:
    """Return what the server received in order, None for a time-out, what one client
    received, and the round id."""
    server, clients = _server(), [_client(i) for i in range(N)]
    received: list[tuple[str, bytes] | None] = []
    watched: list[bytes] = []
    requests = list(server.start())
    round_id = requests[0][1][2:34]
    while not server.finished:
        if not requests:
            received.append(None)
            requests = list(server.timeout())
        following = []
        for name, request in requests:
            index, step = NAMES.index(name), step_of(request)
            if index == WATCHED:
                watched.append(request)
            if step is Step.MASKED_INPUT:
                clients[index].offer(np.zeros(LENGTH, np.float32), context=CONTEXT)
            for answer in clients[index].receive(request):
                if not (step is Step.MASKED_INPUT and index in GONE):
                    received.append((name, answer))
                    following += server.receive(name, answer)
        requests = following
    return received, watched, round_id


def _replayed(
    received: list[tuple[str, bytes] | None], watched: list[bytes]
) -> dict[tuple[Role, Step], int]:
    """Replay the messages to a server and to one client alone; return the peaks."""
    peaks: dict[tuple[Role, Step], int] = {}

    def watch(role: Role, step: Step, start: int, call: Callable[[], object]) -> None:
        tracemalloc.reset_peak()
        call()
        peak = tracemalloc.get_traced_memory()[1] - start
        peaks[role, step] = max(peak, peaks.get((role, step), 0))

    tracemalloc.start()
    try:
        start = tracemalloc.get_traced_memory()[0]
        server = _server()
        server.start()
        step = Step.ADVERTISE_KEYS
        for message in received:
            step = step_of(message[1]) if message else step
            call = partial(server.receive, *message) if message else server.timeout
            watch(Role.SERVER, step, start, call)
        del server, call
        vector = np.zeros(LENGTH, np.float32)
        start = tracemalloc.get_traced_memory()[0]
        client = _client(WATCHED)
        for request in watched:
            step = step_of(request)
            if step is Step.MASKED_INPUT:
                offer = partial(client.offer, vector, context=CONTEXT)
                watch(Role.CLIENT, step, start, offer)
            watch(Role.CLIENT, step, start, partial(client.receive, request))
    finally:
        tracemalloc.stop()
    return peaks


@pytest.mark.slow
def test_memory_is_what_replayed_parties_hold_to_within_a_third() -> None:
    received, watched, round_id = _play()
    seen = _replayed(received, watched)
    everybody = frozenset(range(N))
    turnout = turnout_of(
        graph_of(PLAN, round_id),
        clients=N,
        u1=everybody,
        u2=everybody,
        u3=everybody - GONE,
        u5=everybody - GONE,
    )
    wiring = Wiring(session_bytes=7, name_bytes=N * len(NAMES[0]))
    sent = traffic(PLAN, turnout, length=LENGTH, wiring=wiring)
    pieces = measure_memory(PLAN, length=LENGTH)
    checked = 0
    for part, what in held(PLAN, turnout, sent, length=LENGTH).items():
        if seen[part] > ENOUGH:
            assert 0.67 < bytes_held(what, pieces) / seen[part] < 1.33, part
            checked += 1
    assert checked >= 4
