"""``run_round``: the whole protocol on one page, in memory, with real bytes.

Every client and the server run as they would over a network; this module is the
network.  Bonawitz et al., CCS 2017, figure 4.  It simulates dropouts by silence.  It is
the place to read first, and the reference for any transport; it is not a transport.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import SupportsIndex

import numpy as np
from numpy.typing import ArrayLike, NDArray

from secagg import usage
from secagg.client import Client
from secagg.errors import ParameterError
from secagg.faults import Fault
from secagg.invite import SERVER, Step
from secagg.journal import Journal
from secagg.messages import step_of
from secagg.noise import Noise
from secagg.params import SIGMA, Plan
from secagg.policy import Policy
from secagg.prg import Rng, simulation_rng
from secagg.server import Server
from secagg.transcript import Transcript, Wire


@dataclass(frozen=True, slots=True, eq=False)
class RoundResult:
    """The sum of a round, and what it cost.

    Attributes:
        mean: Weighted mean over the survivors, shape (length,), float32.
        weight: Total weight of the survivors.
        survivors: Clients whose input is in the sum.
        max_error: Bound on |mean - true weighted mean| per coordinate.
        bytes_up_per_client: Bytes that each client sent.
        bytes_down_per_client: Bytes that were sent to each client.
        client_cpu_s: Mean computing time of one client, of all threads; whatever else
            the process computes meanwhile is in it.
        server_cpu_s: Computing time of the server, the same.
        faults: Refused messages, with sender and reason.
        transcript: Every message, in order.
    """

    mean: NDArray[np.float32] = field(repr=False)
    weight: int
    survivors: frozenset[str]
    max_error: float
    bytes_up_per_client: Mapping[str, int]
    bytes_down_per_client: Mapping[str, int]
    client_cpu_s: float
    server_cpu_s: float
    faults: tuple[Fault, ...]
    transcript: Transcript = field(repr=False)


def run_round(
    plan: Plan,
    updates: Mapping[str, ArrayLike],
    *,
    weights: Mapping[str, SupportsIndex] | None = None,
    vanish: Mapping[str, str] | None = None,
    context: bytes | None = None,
    session: bytes | None = None,
    seed: int | bytes | None = None,
    store: Journal | None = None,
    noise: Noise | None = None,
) -> RoundResult:
    """Run one round of secure aggregation in memory.

    The mean is within ``max_error`` per coordinate of the true weighted mean of the
    survivors' vectors, or the call raises; if the encoder rotates, but for the chance
    that ``Precision.max_error`` states.

    Args:
        plan: What is agreed, from ``secagg.plan``.
        updates: One vector per client, shape (length,), floating, L2 norm at most
            ``plan.encoder.clip_norm_l2``.
        weights: Integer weights by client, default 1 each.
        vanish: Step by client from which it is silent: ``"advertise_keys"``,
            ``"share_keys"``, ``"masked_input"`` or ``"unmask"``.
        context: From ``secagg.context``; default: one that binds nothing but the
            session, which is enough when no server hands out models.
        session: Names the round; default random, or fixed under a seed.
        seed: None for the operating system's randomness.  A seed makes the round
            reproducible bit for bit, and protects nothing.
        store: A ``Store`` that the server and every client use, each for its own
            records; then a session runs once, and sums under one context differ by
            enough clients.  None: nothing is remembered, and neither is guaranteed.
        noise: Draws the share of noise of each client, as in ``Client.offer``.

    Raises:
        ParameterError: An argument is outside its contract (caller).
        AbortError: More clients vanished than ``plan.drop``, or the store forbids the
            round; ``need`` and ``have`` count clients.
        StoreError: The store cannot be used.
    """
    clock = _Clock()
    policy = _policy(plan)
    if session is None:
        session = os.urandom(16) if seed is None else b"simulation"
    if context is None:
        context = usage.context(b"run_round", session)
    silent_from = _steps(vanish or {}, updates)
    roster = sorted(updates)
    length = _common_length(updates)
    server = Server(plan, roster, session=session, length=length, store=store)
    clients = {
        name: Client(plan, policy, me=name, store=store, rng=_rng(seed, session, name))
        for name in roster
    }
    _offer_all(clients, updates, weights or {}, context, noise)
    clock.charge("clients")
    wires = _deliver(server, clients, silent_from, clock)
    return _result(server, Transcript(tuple(wires)), clock, roster)


def _deliver(
    server: Server,
    clients: Mapping[str, Client],
    silent_from: Mapping[str, str],
    clock: _Clock,
) -> list[Wire]:
    """Carry messages until the server has finished; return them in order."""
    wires: list[Wire] = []
    silent: set[str] = set()
    to_clients = deque(server.start())
    clock.charge(SERVER)
    while not server.finished or to_clients:
        if not to_clients:  # nobody answers any more: the step's deadline has passed
            to_clients.extend(server.timeout())
            clock.charge(SERVER)
            continue
        name, request = to_clients.popleft()
        wires.append(Wire(str(step_of(request) or ""), SERVER, name, request))
        if name in silent:
            continue
        replies = clients[name].receive(request)
        clock.charge("clients")
        for reply in replies:
            step = str(step_of(reply) or "")
            if silent_from.get(name) == step:
                silent.add(name)
                continue
            wires.append(Wire(step, name, SERVER, reply))
            to_clients.extend(server.receive(name, reply))
            clock.charge(SERVER)
    return wires


class _Clock:
    """Charges the computing time since the last charge to one side.

    Of all threads: masks are added by several, and one party acts at a time.
    """

    def __init__(self) -> None:
        self.seconds = {"clients": 0.0, SERVER: 0.0}
        self._last = time.process_time()

    def charge(self, side: str) -> None:
        now = time.process_time()
        self.seconds[side] += now - self._last
        self._last = now


def _result(
    server: Server, transcript: Transcript, clock: _Clock, roster: Sequence[str]
) -> RoundResult:
    outcome = server.result()
    return RoundResult(
        mean=outcome.mean.astype(np.float32, copy=False),
        weight=outcome.weight,
        survivors=outcome.survivors,
        max_error=outcome.max_error,
        bytes_up_per_client=transcript.bytes_up(roster),
        bytes_down_per_client=transcript.bytes_down(roster),
        client_cpu_s=clock.seconds["clients"] / len(roster),
        server_cpu_s=clock.seconds[SERVER],
        faults=server.faults,
        transcript=transcript,
    )


def _offer_all(
    clients: Mapping[str, Client],
    updates: Mapping[str, ArrayLike],
    weights: Mapping[str, SupportsIndex],
    context: bytes,
    noise: Noise | None,
) -> None:
    """Offer each client its vector; name the client in an error."""
    _check_names("weights", weights, updates)
    for name, client in clients.items():
        weight = weights.get(name, 1)
        try:
            client.offer(updates[name], weight=weight, context=context, noise=noise)
        except ParameterError as error:
            raise ParameterError(
                f"update of {name!r}: {error}", argument="updates"
            ) from error


def _policy(plan: Plan) -> Policy:
    """Accept what the caller chose: in one process, the caller is every client."""
    return Policy(
        min_clients=plan.clients,
        min_threshold=plan.threshold,
        min_sigma=plan.sigma or SIGMA,
    )


def _rng(seed: int | bytes | None, session: bytes, name: str) -> Rng:
    if seed is None:
        return os.urandom
    return simulation_rng(seed, "secagg round", session.hex(), name)


def _steps(
    vanish: Mapping[str, str], updates: Mapping[str, ArrayLike]
) -> dict[str, str]:
    _check_names("vanish", vanish, updates)
    for name, step in vanish.items():
        if step not in set(Step):
            raise ParameterError(
                f"vanish[{name!r}]={step!r} is not a step; use one of "
                f"{', '.join(Step)}.",
                argument="vanish",
            )
    return dict(vanish)


def _check_names(
    argument: str, given: Mapping[str, object], updates: Mapping[str, ArrayLike]
) -> None:
    unknown = sorted(set(given) - set(updates))
    if unknown:
        raise ParameterError(
            f"{argument} names clients without an update: {', '.join(unknown)}.",
            argument=argument,
        )


def _common_length(updates: Mapping[str, ArrayLike]) -> int:
    sizes = {name: np.size(vector) for name, vector in updates.items()}
    if len(set(sizes.values())) != 1:
        raise ParameterError(
            f"updates must have one common length, got {sizes}.", argument="updates"
        )
    return next(iter(sizes.values()))
