"""An in-memory network between real clients and a server, with a tampering hook."""

from collections import deque
from collections.abc import Callable, Mapping

import numpy as np

import secagg
from secagg.client import Client
from secagg.graph import graph_of
from secagg.invite import SERVER
from secagg.messages import step_of
from secagg.params import Plan
from secagg.policy import Policy
from secagg.server import Server
from secagg.transcript import Wire

CONTEXT = secagg.context(b"model", b"config")
Tamper = Callable[[Wire], bytes | None]


def open_policy(plan: Plan, **more: object) -> Policy:
    """Accept exactly this plan."""
    return Policy(
        min_clients=plan.clients,
        min_threshold=plan.threshold,
        min_honest=plan.honest_min,
        min_sigma=plan.sigma or 40,
        **more,
    )


def make_updates(n: int, length: int, *, seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {f"c{i}": rng.normal(size=length) for i in range(n)}


# Four clients with three neighbours each, and six with four; one may vanish.
GRAPHS = {
    "complete": secagg.plan(4, 1, 1, graph="complete"),
    "k-regular": secagg.plan(6, 1, 1, graph="k-regular"),
}


class Network:
    """Delivers messages in order; ``tamper`` may change one or drop it (None)."""

    def __init__(
        self,
        plan: Plan,
        updates: Mapping[str, np.ndarray],
        *,
        weights: Mapping[str, int] | None = None,
        contexts: Mapping[str, bytes] | None = None,
        server_class: type[Server] = Server,
        clients: Mapping[str, Client] | None = None,
        session: bytes = b"session",
        seed: int = 1,
        **server_more: object,
    ) -> None:
        length = len(next(iter(updates.values())))
        roster = sorted(updates)
        self.server = server_class(
            plan, roster, session=session, length=length, **server_more
        )
        self.clients = dict(clients or {})
        for name in roster:
            if name not in self.clients:
                self.clients[name] = Client(
                    plan,
                    open_policy(plan),
                    me=name,
                    rng=secagg.simulation_rng(seed, session.hex(), name),
                )
            self.clients[name].offer(
                updates[name],
                weight=(weights or {}).get(name, 1),
                context=(contexts or {}).get(name, CONTEXT),
            )
        self.wires: list[Wire] = []
        self.queue: deque[tuple[str, bytes]] = deque()  # (receiver, message)

    def neighbours(self, name: str) -> list[str]:
        """Return a client's neighbours, sorted."""
        roster = self.server._invite.roster
        graph = graph_of(self.server._plan, self.server._round_id)
        return sorted(roster[v] for v in graph.neighbours(roster.index(name)))

    def run(self, tamper: Tamper = lambda wire: wire.data) -> Server:
        queue = self.queue
        queue.extend(self.server.start())
        while queue or not self.server.finished:
            if not queue:
                queue.extend(self.server.timeout())
                continue
            name, data = queue.popleft()
            request = self._pass(SERVER, name, data, tamper)
            if request is None:
                continue
            for reply in self.clients[name].receive(request):
                sent = self._pass(name, SERVER, reply, tamper)
                if sent is not None:
                    queue.extend(self.server.receive(name, sent))
        return self.server

    def _pass(
        self, sender: str, receiver: str, data: bytes, tamper: Tamper
    ) -> bytes | None:
        step = str(step_of(data) or "")
        changed = tamper(Wire(step, sender, receiver, data))
        if changed is not None:
            self.wires.append(Wire(step, sender, receiver, changed))
        return changed


def flip(data: bytes, at: int) -> bytes:
    """Flip the lowest bit of one byte."""
    changed = bytearray(data)
    changed[at] ^= 1
    return bytes(changed)
