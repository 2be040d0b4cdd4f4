"""Hostile bytes at every decoder and both sides: a typed error, an abort, or no harm.

The quick versions run by default, the long ones among the slow tests.  Here hypothesis
chooses the cases and shrinks them, for the parts that messages are made of and for
whole rounds; ``tests.fuzz`` feeds every message to its decoder and to either side.
"""

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

import secagg
from secagg import keys
from secagg.boxes import Box, Route, open_box
from secagg.client import Client
from secagg.errors import AbortError, RemoteProtocolError
from secagg.invite import NO_ROUND, SERVER, Step
from secagg.keys import Secret
from secagg.messages import Abort, PlainInput, decode, step_of
from secagg.reveal import UnmaskShares
from secagg.ring import Ring
from secagg.shamir import Share, reconstruct
from secagg.transcript import Transcript, Wire
from secagg.wire import split_header
from tests.secagg.harness import CONTEXT, GRAPHS, Network, make_updates, open_policy

pytestmark = pytest.mark.fuzz

SEED = 1  # of the network below, so that a client can be rebuilt in any state


def updates_of(graph):
    return make_updates(GRAPHS[graph].clients, 6)


def network_of(graph, session=b"session"):
    return Network(GRAPHS[graph], updates_of(graph), session=session, seed=SEED)


def record(graph, session):
    """Run one honest round and return all that crossed the wire."""
    network = network_of(graph, session)
    network.run()
    return tuple(network.wires)


HONEST = {graph: record(graph, b"session") for graph in GRAPHS}
OTHER = {graph: record(graph, b"another session") for graph in GRAPHS}
PLAIN = PlainInput.of(NO_ROUND, np.ones(3, dtype=np.float32), 2).encode()
GENUINE = sorted(
    {w.data for wires in (*HONEST.values(), *OTHER.values()) for w in wires}
    | {Abort(NO_ROUND).encode()}
)


@st.composite
def mutations(draw, sources):
    """Take genuine bytes and damage them in one to four places."""
    data = bytearray(draw(st.sampled_from(sources)))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(data)))
        end = min(len(data), at + draw(st.integers(1, 40)))
        match draw(st.sampled_from(["flip", "cut", "insert", "extreme", "splice"])):
            case "flip" if at < len(data):
                data[at] ^= 1 << draw(st.integers(0, 7))
            case "cut":
                del data[at:end]
            case "insert":
                data[at:at] = draw(st.binary(min_size=1, max_size=40))
            case "extreme":
                data[at:end] = draw(st.sampled_from([b"\0", b"\xff"])) * (end - at)
            case "splice":
                other = draw(st.sampled_from(sources))
                data[at:end] = other[at:end]
    return bytes(data)


HOSTILE = st.one_of(
    st.binary(max_size=600),
    mutations([*GENUINE, PLAIN]),
    st.sampled_from(GENUINE),  # replays, of this session and of another
)


def effort(quick, long):
    """Run a property on few examples by default and on many among the slow tests."""
    return pytest.mark.parametrize(
        "examples", [quick, pytest.param(long, marks=pytest.mark.slow)]
    )


def holds(examples, check, **strategies):
    """Check a property on examples drawn from strategies."""
    limited = settings(
        max_examples=examples,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    limited(given(**strategies)(check))()


# --- decoders ------------------------------------------------------------------------

KEY = Secret(bytes(range(32)))
RING = Ring(42)


def box_of(data):
    return open_box(KEY, Route(NO_ROUND, 0, 1), Box(data[:16], data[16:32], data[32:]))


def shares_of(data):
    parts = [data[i : i + 35] for i in range(0, len(data), 35)]
    return reconstruct([Share(part[0], part[1:]) for part in parts])


def uploads_of(data):
    """Read a transcript that holds these bytes on the way up and on the way down."""
    invite = next(wire for wire in HONEST["complete"] if wire.sender == SERVER)
    down = Transcript((invite, Wire("", SERVER, "c0", data))).uploads()
    return down, Transcript((invite, Wire("", "c0", SERVER, data))).uploads()


DECODERS = {
    "step": step_of,
    "header": split_header,
    "packed vector": lambda data: RING.unpack(data, len(data) * 8 // 42),
    "packed vector of a fixed size": lambda data: RING.unpack(data, 9),
    "shares": shares_of,
    "box": box_of,
    "sealed": lambda data: keys.unseal(KEY, data, b""),
    "public key": keys.check_public,
    "canonical key": keys.check_canonical,
    "signature": lambda data: keys.verify(data[:32], b"message", data[32:]),
    "transcript": uploads_of,
}


@effort(quick=60, long=3000)
@pytest.mark.parametrize("name", DECODERS)
def test_a_decoder_raises_only_the_typed_error(name, examples):
    def check(data):
        try:
            DECODERS[name](data)
        except RemoteProtocolError as error:
            assert str(error)

    short = st.one_of(st.binary(max_size=80), mutations([bytes(34)]))
    holds(examples, check, data=st.one_of(HOSTILE, short))


# --- the client ----------------------------------------------------------------------


def client_in_state(graph, requests, *, offered):
    """Rebuild c0 after so many requests; return it and the requests to come."""
    rng = secagg.simulation_rng(SEED, b"session".hex(), "c0")
    plan = GRAPHS[graph]
    client = Client(plan, open_policy(plan), me="c0", rng=rng)
    if offered:
        client.offer(updates_of(graph)["c0"], context=CONTEXT)
    received = [w.data for w in HONEST[graph] if w.receiver == "c0"]
    for data in received[:requests]:
        client.receive(data)
    return client, received[requests:]


@effort(quick=60, long=3000)
@pytest.mark.parametrize("graph", GRAPHS)
def test_a_client_never_raises_and_never_reveals_two_shares_of_one_peer(
    graph, examples
):
    limits = network_of(graph).server._limits

    def check(requests, offered, hostile):
        client, rest = client_in_state(graph, requests, offered=offered)
        assume(not client.aborted)
        revealed = []
        for data in (*hostile, *rest):
            was_aborted = client.aborted
            replies = client.receive(data)
            assert isinstance(replies, tuple) and len(replies) <= 1
            assert not (was_aborted and replies)
            for reply in replies:
                message = decode(reply, limits)
                if isinstance(message, UnmaskShares):
                    revealed.extend(share.owner for share in message.shares)
        assert len(revealed) == len(set(revealed))
        if client.aborted:
            assert client.fault is not None and client._member is None

    holds(
        examples,
        check,
        requests=st.integers(0, 4),
        offered=st.booleans(),
        hostile=st.lists(HOSTILE, min_size=1, max_size=2),
    )


# --- the server ----------------------------------------------------------------------


@effort(quick=40, long=1500)
@pytest.mark.parametrize("graph", GRAPHS)
def test_a_round_under_fire_gives_the_exact_sum_or_a_typed_abort(graph, examples):
    updates = updates_of(graph)

    def check(shots, peer, step, replaces):
        network = network_of(graph)
        fired = []

        def tamper(wire):
            if fired or wire.receiver != SERVER or wire.step != step:
                return wire.data
            fired.append(True)
            # Any invited client may send anything, in its own name only.
            for data in shots:
                sent = network.server.receive(peer, data)
                assert all(name in updates and data for name, data in sent)
                network.queue.extend(sent)
            return None if replaces else wire.data

        try:
            out = network.run(tamper).result()
        except AbortError as error:
            assert str(error)
            return
        expected = np.mean([updates[name] for name in out.survivors], axis=0)
        assert len(out.survivors) >= GRAPHS[graph].threshold
        assert out.weight == len(out.survivors)
        assert np.abs(out.mean - expected).max() <= out.max_error

    holds(
        examples,
        check,
        shots=st.lists(HOSTILE, min_size=1, max_size=3),
        peer=st.sampled_from(sorted(updates)),
        step=st.sampled_from([str(step) for step in Step]),
        replaces=st.booleans(),
    )
