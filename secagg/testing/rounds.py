"""``play``: one round of real clients and a real server, under a schedule of mishaps.

This module makes the parties and keeps what happened; it judges nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from secagg import usage
from secagg.client import Client
from secagg.invite import Invite, Step
from secagg.messages import step_of
from secagg.params import SIGMA, Plan
from secagg.policy import Policy
from secagg.prg import simulation_rng
from secagg.server import Server
from secagg.tally import Outcome
from secagg.testing.network import Earlier, Exchange, Network
from secagg.testing.schedule import Kind, Mishap, Schedule, Way
from secagg.testing.transport import Memory, Transport

LENGTH: Final = 3
CONTEXT: Final = usage.context(b"secagg.testing")


@dataclass(frozen=True, slots=True, eq=False)
class Input:
    """What one client offers."""

    vector: NDArray[np.float64] = field(repr=False)
    weight: int = field(repr=False)


@dataclass(frozen=True, slots=True, eq=False)
class Play:
    """A round as it went.

    Attributes:
        plan: The plan of the round.
        invite: Names the clients, by roster index.
        inputs: What each client offered, by roster index.
        requests: What the server sent, (roster index, message), in order.
        exchanges: What the clients were handed and answered, in order.
        fired: The mishaps that met a message, (roster index, step, mishap).
        events: How many messages and deadlines there were.
        ended: False if the round was stopped because it did not end.
        outcome: The sum, if there is one.
        error: What was raised instead, if anything was.
    """

    plan: Plan
    invite: Invite
    inputs: tuple[Input, ...]
    requests: tuple[tuple[int, bytes], ...]
    exchanges: tuple[Exchange, ...]
    fired: tuple[tuple[int, Step, Mishap], ...]
    events: int
    ended: bool
    outcome: Outcome | None
    error: Exception | None


def play(
    plan: Plan,
    schedule: Schedule,
    *,
    transport: Transport | None = None,
    server_class: type[Server] = Server,
    client_class: type[Client] = Client,
) -> Play:
    """Play one round under a schedule.

    Args:
        plan: A plan that rounds run under; the parties are made for it.
        schedule: What goes wrong.  Its seed fixes inputs and keys: no privacy here.
        transport: Carries the bytes; default ``Memory()``.
        server_class: Stands in for ``Server``, to see that a broken one is found out.
        client_class: The same for ``Client``.

    Returns:
        What happened, whatever it was: nothing is raised for what a party does.

    Raises:
        ParameterError: No round runs under the plan (caller).
    """
    old = _earlier(plan) if _replays(schedule) else {}
    return _play(
        plan, schedule, b"round", old, transport or Memory(), server_class, client_class
    )


def _replays(schedule: Schedule) -> bool:
    return any(m.kind is Kind.REPLAYED for m in schedule.mishaps.values())


@lru_cache(maxsize=16)
def _earlier(plan: Plan) -> Earlier:
    """Return the messages of an earlier round of the same clients."""
    parties = (Server, Client)
    past = _play(plan, Schedule(), b"earlier", {}, Memory(), *parties)
    old: dict[tuple[int, Step, Way], bytes] = {}
    for exchange in past.exchanges:
        for way, messages in (
            (Way.REQUEST, (exchange.request,)),
            (Way.ANSWER, exchange.answers),
        ):
            for data in messages:
                step = step_of(data)
                if step is not None:
                    old[exchange.client, step, way] = data
    return old


def _play(
    plan: Plan,
    schedule: Schedule,
    session: bytes,
    old: Earlier,
    transport: Transport,
    server_class: type[Server],
    client_class: type[Client],
) -> Play:
    roster = tuple(f"client-{i}" for i in range(plan.clients))
    inputs = _inputs(plan, schedule.seed)
    policy = Policy(
        min_clients=plan.clients,
        min_threshold=plan.threshold,
        min_honest=plan.honest_min,
        min_sigma=plan.sigma or SIGMA,
    )
    server = server_class(plan, roster, session=session, length=LENGTH)
    clients = {}
    for name, given in zip(roster, inputs, strict=True):
        rng = simulation_rng(schedule.seed, "testing", session.hex(), name)
        clients[name] = client_class(plan, policy, me=name, rng=rng)
        clients[name].offer(given.vector, weight=given.weight, context=CONTEXT)
    network = Network(server, clients, schedule, old, transport)
    outcome: Outcome | None = None
    error: Exception | None = None
    try:
        network.run()
        outcome = server.result() if network.ended else None
    except Exception as raised:  # whatever escapes is what is looked for
        error = raised
    return Play(
        plan=plan,
        invite=Invite(session, plan, roster, LENGTH),
        inputs=inputs,
        requests=tuple(network.requests),
        exchanges=tuple(network.exchanges),
        fired=tuple((*spot, mishap) for spot, mishap in network.fired.items()),
        events=network.events,
        ended=network.ended or error is not None,
        outcome=outcome,
        error=error,
    )


def _inputs(plan: Plan, seed: int) -> tuple[Input, ...]:
    rng = np.random.default_rng(seed)
    reach = plan.encoder.clip_norm_l2 / LENGTH**0.5
    most = min(100, plan.encoder.weight_max)
    return tuple(
        Input(rng.uniform(-reach, reach, LENGTH), int(rng.integers(1, most + 1)))
        for _ in range(plan.clients)
    )
