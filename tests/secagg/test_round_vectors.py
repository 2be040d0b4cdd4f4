"""End-to-end vectors: seed -> digest of every message -> sum; and tampered twins.

``python -m tests.secagg.test_round_vectors complete`` (or ``k-regular``) prints a fresh
file; a change of the wire format raises ``usage.VERSION`` and adds files, and the old
ones stay.  On the k-regular graph the file also holds the ring, every neighbourhood and
all that one client receives and answers, in full.  A twin is one of these messages with
a few bytes changed, and what becomes of it.
"""

import hashlib
import json
import sys
from pathlib import Path

import numpy as np
import pytest

import secagg
from secagg import usage
from secagg.encoder import Encoder
from secagg.graph import Harary, graph_of
from secagg.invite import SERVER, Step
from secagg.transcript import Wire
from tests.secagg.harness import Network, open_policy

FOLDER = Path(__file__).parents[1] / "vectors"
FILE = FOLDER / f"secagg_round_v{usage.VERSION}.json"
SPARSE_FILE = FOLDER / f"secagg_round_v{usage.VERSION}_k_regular.json"
ONE = "client-0"
CONTEXT = secagg.context(b"vector")

CASES = [
    {
        "clients": 4,
        "corrupt": 1,
        "drop": 1,
        "length": 6,
        "seed": 1,
        "vanish": {"client-2": "masked_input"},
        "encoder": {"clip_norm_l2": 16.0, "value_bits": 24, "weight_max": 65535},
    },
    {
        "clients": 3,
        "corrupt": 0,
        "drop": 0,
        "length": 3,
        "seed": 2,
        "vanish": {},
        "encoder": {"clip_norm_l2": 4.0, "value_bits": 12, "weight_max": 1},
    },
    {
        "clients": 6,
        "corrupt": 2,
        "drop": 2,
        "length": 40,
        "seed": 3,
        "vanish": {"client-0": "share_keys", "client-5": "unmask"},
        "encoder": {"clip_norm_l2": 8.0, "value_bits": 32, "weight_max": 100},
    },
    {
        "clients": 4,
        "corrupt": 1,
        "drop": 1,
        "cipher": "chacha20",
        "length": 6,
        "seed": 1,
        "vanish": {"client-2": "masked_input"},
        "encoder": {"clip_norm_l2": 16.0, "value_bits": 24, "weight_max": 65535},
    },
    {
        "clients": 7,
        "corrupt": 1,
        "drop": 2,
        "graph": "k-regular",
        "cipher": "chacha20",
        "length": 5,
        "seed": 4,
        "vanish": {"client-2": "masked_input", "client-5": "share_keys"},
        "encoder": {"clip_norm_l2": 8.0, "value_bits": 20, "weight_max": 50},
    },
]


SPARSE_CASE = {
    "clients": 7,
    "corrupt": 1,
    "drop": 2,
    "graph": "k-regular",
    "length": 5,
    "seed": 4,
    "vanish": {"client-2": "masked_input", "client-5": "share_keys"},
    # The norm makes client-0 the neighbour of those that the twins below speak of.
    "encoder": {"clip_norm_l2": 9.3125, "value_bits": 20, "weight_max": 50},
}

# Receiver, which of the messages from or to client-0, byte, bits flipped, what follows.
TWINS = [
    (ONE, 0, 0, 0xFF, "DecodeError"),  # version
    (ONE, 0, 2, 1, "DecodeError"),  # round id, which is a digest of the rest
    (ONE, 0, 43, 3, "DecodeError"),  # suite: the plan would be of another size
    (ONE, 0, 56, 2, "DecodeError"),  # k
    (ONE, 1, 2, 1, "RemoteProtocolError"),  # round id
    (ONE, 1, 34, 1, "RemoteProtocolError"),  # receiver
    (ONE, 1, 36, 1, "IntegrityError"),  # digest of all keys: masks do not cancel
    (ONE, 1, 70, 0x40, "DecodeError"),  # index, out of order
    (ONE, 1, 271, 7, "RemoteProtocolError"),  # index, of no neighbour
    (ONE, 1, 338, 0x40, "RemoteProtocolError"),  # index, of nobody
    (ONE, 1, 72, 1, "RemoteProtocolError"),  # a box key that is not its own
    (ONE, 2, 34, 4, "RemoteProtocolError"),  # receiver
    (ONE, 2, 274, 8, "RemoteProtocolError"),  # dealer, of nobody
    (ONE, 2, 279, 1, "sum"),  # hash of a share: it is lost, enough others are left
    (ONE, 2, 314, 1, "sum"),  # sealed shares, likewise
    (ONE, 3, 34, 1, "RemoteProtocolError"),  # receiver
    (ONE, 3, 36, 1, "DecodeError"),  # size of the set
    (ONE, 3, 38, 0x80, "DecodeError"),  # survivor, of nobody
    (ONE, 3, 38, 1, "RemoteProtocolError"),  # not a survivor itself
    (ONE, 3, 38, 0x20, "RemoteProtocolError"),  # survivor, of a neighbour outside u2
    (ONE, 3, 38, 2, "AbortError"),  # fewer survivors than the plan promises
    (SERVER, 0, 34, 1, "RemoteProtocolError"),  # another client's index
    (SERVER, 0, 100, 1, "DecodeError"),  # says that a signature follows
    (SERVER, 1, 36, 1, "AbortError"),  # H(b_u): its dealer is named
    (SERVER, 1, 70, 0x40, "DecodeError"),  # holder, out of order
    (SERVER, 1, 424, 8, "RemoteProtocolError"),  # holder, of nobody
    (SERVER, 2, 36, 1, "IntegrityError"),  # context
    (SERVER, 2, 70, 1, "IntegrityError"),  # a masked word
    (SERVER, 2, -1, 0x80, "DecodeError"),  # padding
    (SERVER, 3, 112, 7, "RemoteProtocolError"),  # owner, of no neighbour
    (SERVER, 3, 40, 3, "RemoteProtocolError"),  # the other kind of share
    (SERVER, 3, 41, 1, "AuthenticationError"),  # a share
]


def plan_of(case: dict) -> secagg.Plan:
    return secagg.plan(
        clients=case["clients"],
        corrupt=case["corrupt"],
        drop=case["drop"],
        graph=case.get("graph", "complete"),
        cipher=case.get("cipher", usage.AES_256_CTR),
        encoder=Encoder(**case["encoder"]),
    )


def inputs_of(case: dict) -> tuple[dict, dict]:
    """Return exact binary fractions, so that any implementation reads the same."""
    updates = {
        f"client-{i}": (np.arange(case["length"]) % 7 - 3) * (i + 1) / 64
        for i in range(case["clients"])
    }
    most = case["encoder"]["weight_max"]
    return updates, {name: min(i + 1, most) for i, name in enumerate(updates)}


def play(case: dict) -> secagg.RoundResult:
    updates, weights = inputs_of(case)
    return secagg.run_round(
        plan_of(case),
        updates,
        weights=weights,
        vanish=case["vanish"],
        session=b"vector",
        context=CONTEXT,
        seed=case["seed"],
    )


def run_case(case: dict) -> dict:
    """Run one round from public parameters and describe all that crossed the wire."""
    plan, out = plan_of(case), play(case)
    return {
        **case,
        "plan": plan.encode().hex(),
        "messages": [
            {
                "step": wire.step,
                "sender": wire.sender,
                "receiver": wire.receiver,
                "bytes": len(wire.data),
                "sha256": hashlib.sha256(wire.data).hexdigest(),
            }
            for wire in out.transcript.messages
        ],
        "first_invitation": out.transcript.messages[0].data.hex(),
        "survivors": sorted(out.survivors),
        "weight": out.weight,
        "mean_float32": [float(value).hex() for value in out.mean],
    }


def run_sparse_case() -> dict:
    """Describe a round on the k-regular graph, its graph and one client."""
    out = play(SPARSE_CASE)
    messages = out.transcript.messages
    round_id = messages[0].data[2:34]
    graph = graph_of(plan_of(SPARSE_CASE), round_id)
    assert isinstance(graph, Harary)
    everybody = range(SPARSE_CASE["clients"])
    return {
        **run_case(SPARSE_CASE),
        "permutation_rounds": graph.order.rounds,
        "place_of_client": graph.order.images(everybody),
        "neighbours": [sorted(graph.neighbours(client)) for client in everybody],
        f"{ONE}_receives": [w.data.hex() for w in messages if w.receiver == ONE],
        f"{ONE}_answers": [w.data.hex() for w in messages if w.sender == ONE],
    }


def replay(tamper) -> Network:
    """Play the k-regular case message by message."""
    plan, (updates, weights) = plan_of(SPARSE_CASE), inputs_of(SPARSE_CASE)
    seed, session = SPARSE_CASE["seed"], b"vector"

    def client(name: str) -> secagg.Client:
        rng = secagg.simulation_rng(seed, "secagg round", session.hex(), name)
        return secagg.Client(plan, open_policy(plan), me=name, rng=rng)

    network = Network(
        plan,
        updates,
        weights=weights,
        contexts=dict.fromkeys(updates, CONTEXT),
        clients={name: client(name) for name in updates},
        session=session,
    )
    steps = list(Step)

    def pass_on(wire: Wire) -> bytes | None:
        last = SPARSE_CASE["vanish"].get(wire.sender)
        gone = last is not None and steps.index(wire.step) >= steps.index(last)
        return None if gone else tamper(wire)

    network.run(pass_on)
    return network


def outcome_of_twin(receiver: str, at: int, byte: int, flip: int) -> str:
    """Change one message to or from client-0; say who fails how, or "sum"."""
    seen = []

    def tamper(wire: Wire) -> bytes:
        data = bytearray(wire.data)
        route = (SERVER, ONE) if receiver == ONE else (ONE, SERVER)
        if (wire.sender, wire.receiver) == route:
            seen.append(wire)
            if len(seen) == at + 1:
                data[byte] ^= flip
        return bytes(data)

    network = replay(tamper)
    fault = network.clients[ONE].fault
    if receiver == ONE and isinstance(fault, secagg.RemoteProtocolError):
        return type(fault).__name__
    if receiver == SERVER and network.server.faults:
        return type(network.server.faults[0].error).__name__
    try:
        mean = network.server.result().mean
    except secagg.AbortError as error:
        return type(error).__name__
    honest = play(SPARSE_CASE).mean
    return "sum" if np.array_equal(mean, honest) else "another sum"


@pytest.mark.parametrize("index", range(len(CASES)))
def test_rounds_match_the_published_vectors(index):
    published = json.loads(FILE.read_text())
    assert published["version"] == usage.VERSION
    assert len(published["cases"]) == len(CASES)
    assert run_case(CASES[index]) == published["cases"][index]


def test_the_round_on_the_k_regular_graph_matches_the_published_vector():
    published = json.loads(SPARSE_FILE.read_text())
    published.pop("tampered")
    assert published == {"version": usage.VERSION, **run_sparse_case()}


def test_the_network_of_the_twins_gives_the_published_messages():
    published = json.loads(SPARSE_FILE.read_text())
    network = replay(lambda wire: wire.data)
    sent = [w.data.hex() for w in network.wires if w.receiver == ONE]
    answered = [w.data.hex() for w in network.wires if w.sender == ONE]
    assert sent == published[f"{ONE}_receives"]
    assert answered == published[f"{ONE}_answers"]
    mean = network.server.result().mean
    assert [float(x).hex() for x in mean] == published["mean_float32"]


@pytest.mark.parametrize(("receiver", "at", "byte", "flip", "outcome"), TWINS)
def test_tampered_twins_end_as_published(receiver, at, byte, flip, outcome):
    twin = {"receiver": receiver, "message": at, "byte": byte, "flip": flip}
    published = json.loads(SPARSE_FILE.read_text())["tampered"]
    assert twin | {"outcome": outcome} in published and len(published) == len(TWINS)
    assert outcome_of_twin(receiver, at, byte, flip) == outcome


def twins() -> list[dict]:
    names = ("receiver", "message", "byte", "flip", "outcome")
    return [dict(zip(names, twin, strict=True)) for twin in TWINS]


if __name__ == "__main__":
    fresh: dict = {"version": usage.VERSION}
    if sys.argv[1:] == ["k-regular"]:
        fresh |= run_sparse_case() | {"tampered": twins()}
    else:
        fresh |= {"cases": [run_case(case) for case in CASES]}
    print(json.dumps(fresh, indent=1))
