"""Valid messages to start from: two recorded rounds on either graph, and more.

One client vanishes before its upload, so that both kinds of shares are revealed.  All
randomness is simulated; clients and servers can be rebuilt in every state.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256

import numpy as np

import secagg
from secagg.ciphertext import TAG_BYTES, EncryptedInput, EncryptedTotal, Frame
from secagg.client import Client
from secagg.encoder import Encoder
from secagg.graph import Harary
from secagg.he.channel import Channel
from secagg.he.summer import EncryptedSummer, round_id
from secagg.invite import NO_ROUND, SERVER, Limits, Step
from secagg.keys import Secret
from secagg.messages import Abort
from secagg.prg import KEY_BYTES
from secagg.server import Server
from secagg.states import State
from secagg.transcript import Wire
from secagg.upload import PlainInput
from tests.secagg.harness import CONTEXT, GRAPHS, Network, make_updates, open_policy

LENGTH = 6
SEED = 1
ONE = "c0"
GONE = "c1"  # vanishes before its upload
UPDATES = {graph: make_updates(plan.clients, LENGTH) for graph, plan in GRAPHS.items()}
_OPEN = {
    State.ADVERTISING: Step.ADVERTISE_KEYS,
    State.SHARING: Step.SHARE_KEYS,
    State.MASKING: Step.MASKED_INPUT,
    State.UNMASKING: Step.UNMASK,
}


@dataclass(frozen=True)
class Round:
    """One recorded round, and how to rebuild either side of it."""

    graph: str
    session: bytes
    wires: tuple[Wire, ...]
    limits: Limits

    @property
    def updates(self) -> dict[str, np.ndarray]:
        return UPDATES[self.graph]

    @property
    def requests(self) -> list[bytes]:
        """Return what the server sent to ``ONE``."""
        return [wire.data for wire in self.wires if wire.receiver == ONE]

    @property
    def answers(self) -> list[Wire]:
        """Return what clients sent to the server."""
        return [wire for wire in self.wires if wire.receiver == SERVER]

    def client(self, requests: int, *, offered: bool) -> Client:
        """Rebuild ``ONE`` as it was after so many requests."""
        plan = GRAPHS[self.graph]
        rng = secagg.simulation_rng(SEED, self.session.hex(), ONE)
        client = Client(plan, open_policy(plan), me=ONE, rng=rng)
        if offered:
            self.offer(client)
        else:
            rng(KEY_BYTES)  # what an offer draws, so that the keys are those recorded
        for data in self.requests[:requests]:
            client.receive(data)
        assert not client.aborted
        return client

    def offer(self, client: Client) -> tuple[bytes, ...]:
        return client.offer(self.updates[ONE], context=CONTEXT)

    def server(self, answers: int) -> Server:
        """Rebuild the server as it was when it waited for answer number ``answers``."""
        roster = sorted(self.updates)
        plan = GRAPHS[self.graph]
        server = Server(plan, roster, session=self.session, length=LENGTH)
        server.start()
        for wire in self.answers[:answers]:
            answer(server, wire)
        advance_to(server, self.answers[answers].step)
        assert not server.faults
        return server


def answer(server: Server, wire: Wire) -> None:
    """Give the server one recorded answer; whoever it still waits for has vanished."""
    advance_to(server, wire.step)
    server.receive(wire.sender, wire.data)


def advance_to(server: Server, step: str) -> None:
    """Let time run out until a step is open, or the round is over."""
    order = [str(one) for one in Step]
    while server.state in _OPEN and order.index(_OPEN[server.state]) < order.index(
        step
    ):
        server.timeout()


@contextmanager
def remembered_graphs() -> Iterator[None]:
    """Compute each neighbourhood once; a case then costs a tenth."""
    kept = Harary.neighbours, Harary.tabulated
    Harary.neighbours = lru_cache(1 << 12)(Harary.neighbours)
    Harary.tabulated = lru_cache(1 << 8)(Harary.tabulated)
    try:
        yield
    finally:
        Harary.neighbours, Harary.tabulated = kept


def _record(graph: str, session: bytes) -> Round:
    updates = UPDATES[graph]
    network = Network(GRAPHS[graph], updates, session=session, seed=SEED)

    def lose(wire: Wire) -> bytes | None:
        lost = wire.sender == GONE and wire.step == Step.MASKED_INPUT
        return None if lost else wire.data

    out = network.run(lose).result()
    assert GONE not in out.survivors
    return Round(graph, session, tuple(network.wires), network.server._limits)


ROUNDS = {graph: _record(graph, b"session") for graph in GRAPHS}
OTHERS = {graph: _record(graph, b"another session") for graph in GRAPHS}

FRAME = Frame(Encoder(clip_norm_l2=1.0, value_bits=8, weight_max=1), 4, 5)
ENCRYPTED_SESSION = b"encrypted"


def _encrypted(kind: type, fill: int) -> bytes:
    """Return ciphertexts of nothing: uniform coefficients, as genuine ones look."""
    rng = np.random.default_rng(fill)
    primes = np.array(FRAME.moduli.primes, dtype=np.uint64)[:, None]
    residues = rng.integers(0, primes, FRAME.shape, dtype=np.uint64)
    named = round_id(FRAME, ENCRYPTED_SESSION)
    message = kind(named, CONTEXT, FRAME, 1, FRAME.pack(residues), bytes(TAG_BYTES))
    return tagged("c0", message.encode())


def tagged(name: str, data: bytes) -> bytes:
    """Return bytes that end in a client's tag, as a client that lies can send them."""
    covered = data[:-TAG_BYTES]
    return covered + CHANNELS[name].tag(sha256(covered).digest())


def summer() -> EncryptedSummer:
    """Return a server of an encrypted sum that has one of four uploads."""
    server = EncryptedSummer(
        FRAME, session=ENCRYPTED_SESSION, context=CONTEXT, channels=CHANNELS
    )
    server.add("c0", ENCRYPTED[0])
    return server


CHANNELS = {name: Channel(name, Secret(bytes(32))) for name in ("c0", "c1")}
ENCRYPTED = [_encrypted(EncryptedInput, 1), _encrypted(EncryptedInput, 2)]
TOTALS = [_encrypted(EncryptedTotal, 3)]
PLAIN = [PlainInput.of(NO_ROUND, np.ones(3, dtype=np.float32), 2).encode()]
PLANS = [plan.encode() for plan in GRAPHS.values()]
MESSAGES = sorted(
    {w.data for r in (*ROUNDS.values(), *OTHERS.values()) for w in r.wires}
    | {Abort(r.server(0)._round_id).encode() for r in ROUNDS.values()}
    | {Abort(NO_ROUND).encode()}
)
EVERYTHING = [*MESSAGES, *PLAIN, *ENCRYPTED, *TOTALS]
