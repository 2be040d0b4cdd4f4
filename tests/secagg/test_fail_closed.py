"""Misuse, stale messages and hostile numbers: refused at once, and nothing lingers."""

import copy
import gc
import pickle
import traceback
import weakref
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

import secagg
from secagg.client import Client
from secagg.encoder import Encoder
from secagg.errors import (
    AbortError,
    DecodeError,
    LocalProtocolError,
    ParameterError,
    RemoteProtocolError,
)
from secagg.invite import Invite
from secagg.keylist import KeyList, NeighbourKeys, PublicKeys
from secagg.keys import AgreementKey, IdentityKey, Secret
from secagg.messages import Abort, decode
from secagg.params import Plan
from secagg.policy import Policy
from secagg.reveal import UnmaskRequest
from secagg.server import Server
from secagg.upload import MaskedInput
from tests.secagg.harness import CONTEXT, GRAPHS, Network, make_updates, open_policy

PLAN = GRAPHS["complete"]
UPDATES = make_updates(PLAN.clients, 6)
NAMES = sorted(UPDATES)


@pytest.fixture(params=GRAPHS)
def on_both_graphs(request, monkeypatch):
    """Run a test on the complete and on the k-regular graph."""
    plan = GRAPHS[request.param]
    updates = make_updates(plan.clients, 6)
    for name, value in (("PLAN", plan), ("UPDATES", updates), ("NAMES", list(updates))):
        monkeypatch.setitem(globals(), name, value)


def frames(error):
    """Count the stack frames that an error and its causes keep alive."""
    count = 0
    while error is not None:
        trace = error.__traceback__
        while trace is not None:
            count, trace = count + 1, trace.tb_next
        error = error.__cause__ or error.__context__
    return count


@pytest.mark.usefixtures("on_both_graphs")
def test_a_clients_fault_keeps_no_frame_and_so_no_secret_alive():
    # c0 fails in the midst of its work, on a low-order mask key, with shares in hand.
    network = Network(PLAN, UPDATES)
    members = []

    def tamper(wire):
        key_lists = (KeyList.TAG, NeighbourKeys.TAG)
        if wire.receiver != "c0" or wire.data[1] not in key_lists:
            return wire.data
        members.append(weakref.ref(network.clients["c0"]._member))
        message = decode(wire.data, network.server._limits)
        bad = replace(message.keys[-1], mask_public=bytes(32))
        return replace(message, keys=(*message.keys[:-1], bad)).encode()

    network.run(tamper)
    client = network.clients["c0"]
    assert client.aborted and isinstance(client.fault, RemoteProtocolError)
    assert frames(client.fault) == 0
    gc.collect()
    assert [member() for member in members] == [None]


@pytest.mark.usefixtures("on_both_graphs")
def test_a_fault_taken_while_the_caller_handles_an_error_leaves_that_error_whole():
    client = Client(PLAN, open_policy(PLAN), me="c0")
    try:
        raise KeyError("of the caller")
    except KeyError as error:
        client.receive(b"junk")
        assert error.__traceback__ is not None
    assert frames(client.fault) == 0


@pytest.mark.usefixtures("on_both_graphs")
def test_recorded_faults_and_failures_keep_no_message_alive():
    server = Server(PLAN, NAMES, session=b"s", length=6)
    server.start()
    server.receive("c0", b"junk" * 1000)
    server.receive("c1", Abort(server._round_id).encode())
    assert len(server.faults) == 2
    assert [frames(fault.error) for fault in server.faults] == [0, 0]
    server.timeout()
    assert frames(server._failure) == 0


# --- secrets -------------------------------------------------------------------------


@pytest.mark.parametrize("value", [32, "text", b"", None, [1, 2]])
def test_a_secret_is_made_of_bytes_and_never_of_a_count(value):
    # bytearray(32) would be 32 zero bytes: a key that everybody knows.
    with pytest.raises(ParameterError):
        Secret(value)


def test_a_wiped_secret_cannot_be_used_again():
    secret = Secret(b"x" * 32)
    secret.wipe()
    with pytest.raises(LocalProtocolError, match="wiped"):
        secret.expose()
    with pytest.raises(LocalProtocolError, match="wiped"):
        secagg.keys.derive(secret, b"info")


def test_a_wiped_agreement_key_agrees_no_more():
    key = AgreementKey.generate()
    key.wipe()
    for use in (key.secret, lambda: key.agree(AgreementKey.generate().public)):
        with pytest.raises(LocalProtocolError, match="wiped"):
            use()


@pytest.mark.usefixtures("on_both_graphs")
def test_a_client_cannot_be_copied_to_mask_two_vectors_alike():
    network = Network(PLAN, UPDATES)
    client = network.clients["c0"]
    for copying in (copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(LocalProtocolError, match="copied"):
            copying(client)


def test_identity_keys_do_not_pickle():
    with pytest.raises((TypeError, LocalProtocolError)):
        pickle.dumps(IdentityKey.generate())


@pytest.mark.usefixtures("on_both_graphs")
def test_private_keys_are_gone_after_their_last_use():
    network = Network(PLAN, UPDATES)
    alive = {}

    def tamper(wire):
        member = getattr(network.clients.get(wire.sender), "_member", None)
        if member is not None:
            alive.setdefault(wire.step, set()).add(
                (member._box_key._private is None, member._mask_key._private is None)
            )
        return wire.data

    network.run(tamper)
    assert alive["advertise_keys"] == {(False, False)}
    assert alive["share_keys"] == {(True, False)}
    assert alive["masked_input"] == {(True, True)}


# --- private numbers stay out of errors ----------------------------------------------


@pytest.mark.usefixtures("on_both_graphs")
def test_errors_about_an_offer_show_neither_its_norm_nor_its_weight():
    client = Client(PLAN, open_policy(PLAN), me="c0")
    with pytest.raises(ParameterError) as caught:
        client.offer(np.full(6, 1234.5), context=CONTEXT)
    assert "3023" not in str(caught.value) and "1234" not in str(caught.value)
    for weight in (70_001, 70_001.5):
        with pytest.raises(ParameterError) as caught:
            client.offer(UPDATES["c0"], weight=weight, context=CONTEXT)
        assert "70001" not in str(caught.value) and "65535" in str(caught.value)


# --- aborts and stale messages -------------------------------------------------------


@pytest.mark.usefixtures("on_both_graphs")
def test_an_abort_is_not_answered_and_blames_nobody():
    contexts = {"c1": secagg.context(b"other model")}
    network = Network(PLAN, UPDATES, contexts=contexts)
    server = network.run()
    with pytest.raises(AbortError):
        server.result()
    assert all(client.aborted for client in network.clients.values())
    assert isinstance(network.clients["c0"].fault, AbortError)
    assert server.faults == ()


@pytest.mark.usefixtures("on_both_graphs")
def test_an_abort_of_another_round_is_told_apart_from_this_rounds():
    client = Client(PLAN, open_policy(PLAN), me="c0")
    server = Server(PLAN, NAMES, session=b"s", length=6)
    client.receive(dict(server.start())["c0"])
    client.receive(Abort(b"o" * 32).encode())
    assert "another round" in str(client.fault)


@pytest.mark.usefixtures("on_both_graphs")
def test_a_replayed_unmask_request_yields_no_share():
    network = Network(PLAN, UPDATES)
    network.run()
    request = next(w.data for w in network.wires if w.data[1] == UnmaskRequest.TAG)
    for client in network.clients.values():
        (answer,) = client.receive(request)
        assert answer[1] == Abort.TAG


# --- numbers that are not what they seem ---------------------------------------------


@pytest.mark.parametrize(
    ("given", "plain"),
    [
        ({"value_bits": np.uint8(24)}, {"value_bits": 24}),
        ({"weight_max": np.int32(2**31 - 1)}, {"weight_max": 2**31 - 1}),
        ({"clip_norm_l2": np.float32(0.1)}, {"clip_norm_l2": float(np.float32(0.1))}),
        ({"clip_norm_l2": 3}, {"clip_norm_l2": 3.0}),
    ],
)
def test_numpy_scalars_give_the_encoder_of_their_python_values(given, plain):
    odd, even = Encoder(**given), Encoder(**plain)
    assert odd == even and repr(odd) == repr(even)
    assert odd.linf_bound == even.linf_bound and odd.scale == even.scale
    assert type(odd.scale) is float and odd.max_error == even.max_error
    assert odd.ring_bits(2) == even.ring_bits(2)


@pytest.mark.parametrize("value_bits", [2, 3, 16, 24, 31, 32])
@pytest.mark.parametrize("clip", [2.0**-64, 0.1, 1.0, 16.0, 2.0**64, np.float32(0.1)])
@pytest.mark.parametrize("draw", [0, 255])
def test_no_rounding_draw_takes_the_largest_value_over_the_bound(
    monkeypatch, value_bits, clip, draw
):
    from secagg import encode
    from secagg.offered import check_form
    from secagg.prg import Keystream

    # The two extremes of the rounding draw, in place of a keystream.
    monkeypatch.setattr(
        Keystream,
        "take",
        lambda self, count, bits: np.full(count, draw * 0x1010101, dtype="<u4"),
    )
    encoder = Encoder(clip_norm_l2=clip, value_bits=value_bits, weight_max=1)
    limit = encoder.norm_limit
    for value in (limit, -limit, np.nextafter(-limit, 0), 5e-324, -5e-324, 0.0):
        vector = np.array([value, 0.0])
        where = encode.layout(encoder, clients=1, length=2)
        words = encode.encode(
            encoder, where, check_form(vector), 1, context=b"", key=bytes(32)
        )
        rounded = where.ring.center(words[:2])
        assert abs(int(rounded[0])) <= encoder.linf_bound
        error = abs(
            Fraction(int(rounded[0])) / Fraction(encoder.scale) - Fraction(value)
        )
        assert error <= Fraction(encoder.max_error)


@pytest.mark.parametrize(
    "clip", [float("nan"), float("inf"), "16", True, 0, -1.0, None]
)
def test_a_clip_norm_that_is_no_positive_number_is_refused(clip):
    with pytest.raises(ParameterError, match="clip_norm_l2"):
        Encoder(clip_norm_l2=clip)


@pytest.mark.parametrize(
    "fields",
    [
        {"clients": 4.0},
        {"corrupt": 0.5},
        {"drop": 1.5},
        {"drop": True},
        {"clients": "4"},
        {"encoder": None},
    ],
)
def test_a_plan_holds_integers_however_it_is_built(fields):
    with pytest.raises(ParameterError):
        Plan(**{"clients": 4, "corrupt": 1, "drop": 1} | fields)


@pytest.mark.parametrize(
    "fields",
    [
        {"min_clients": float("nan")},
        {"min_threshold": float("nan")},
        {"min_honest": float("nan")},
        {"min_honest": 2.5},
        {"max_clip_norm_l2": float("nan")},
        {"max_clip_norm_l2": -1.0},
        {"max_weight": float("nan")},
        {"max_weight": 0},
        {"roster": {"c0": "k" * 32}},
        {"roster": {"c0": b"k" * 32, "c1": b"k" * 32}},
    ],
)
def test_a_policy_that_would_check_nothing_cannot_be_built(fields):
    # Every comparison with NaN is false, so a NaN floor would let every plan pass.
    with pytest.raises(ParameterError):
        Policy(**fields)


@pytest.mark.usefixtures("on_both_graphs")
@pytest.mark.parametrize(
    "change",
    [
        {"session": "text"},
        {"session": bytearray(b"s")},
        {"length": 6.0},
        {"length": True},
        {"roster": [0, 1, 2, 3]},
        {"identities": dict.fromkeys(NAMES, b"short")},
        {"identities": dict.fromkeys(NAMES, b"k" * 32)},
    ],
)
def test_a_server_refuses_arguments_of_the_wrong_type_or_size(change):
    given = {"roster": NAMES, "session": b"s", "length": 6} | change
    with pytest.raises(ParameterError):
        Server(PLAN, given.pop("roster"), **given)


@pytest.mark.usefixtures("on_both_graphs")
def test_a_server_keeps_its_own_copy_of_the_identities():
    key = IdentityKey.generate()
    identities = {"c0": key.public}
    server = Server(PLAN, NAMES, session=b"s", length=6, identities=identities)
    identities.clear()
    server.start()
    client = Client(PLAN, open_policy(PLAN), me="c0", key=key)
    (reply,) = client.receive(Invite(b"s", PLAN, tuple(NAMES), 6).encode())
    server.receive("c0", reply)
    assert server.faults == ()


# --- one key, one encoding -----------------------------------------------------------


@pytest.mark.parametrize("twist", ["top bit", "plus p"])
def test_a_public_key_has_one_encoding(twist):
    # X25519 ignores bit 255 and reduces modulo p, so one key would have twins that
    # pass for a second key.
    public = bytearray(AgreementKey.generate().public)
    if twist == "top bit":
        public[31] |= 0x80
    else:
        public = (9 + 2**255 - 19).to_bytes(32, "little")
    good = AgreementKey.generate().public
    for pair in ((bytes(public), good), (good, bytes(public))):
        with pytest.raises(DecodeError, match="canonical"):
            PublicKeys(0, *pair)


def test_zero_has_one_encoding_too():
    good = AgreementKey.generate().public
    with pytest.raises(DecodeError, match="canonical"):
        PublicKeys(0, good, (2**255 - 19).to_bytes(32, "little"))


@pytest.mark.usefixtures("on_both_graphs")
def test_masked_inputs_of_the_wrong_size_are_refused_before_they_are_added():
    network = Network(PLAN, UPDATES)
    network.run()
    upload = next(w.data for w in network.wires if w.data[1] == MaskedInput.TAG)
    again = Network(PLAN, UPDATES)
    queue = list(again.server.start())
    while again.server.waiting_for and again.server.state.name != "MASKING":
        name, data = queue.pop(0)
        for reply in again.clients[name].receive(data):
            queue.extend(again.server.receive(name, reply))
    name = next(iter(again.server.waiting_for))
    again.server.receive(name, upload + bytes(1 << 20))
    assert [fault.peer for fault in again.server.faults] == [name]
    assert again.server._tally.u3 == frozenset()


@pytest.mark.parametrize("graph", list(GRAPHS))
def test_a_message_that_cannot_be_decoded_is_blamed_on_its_step(graph):
    plan = GRAPHS[graph]
    network = Network(plan, make_updates(plan.clients, 4))

    def cut(wire):
        spoilt = wire.receiver == "c0" and wire.step == "share_keys"
        return wire.data[:-1] if spoilt else wire.data

    network.run(cut)
    fault = network.clients["c0"].fault
    assert isinstance(fault, secagg.RemoteProtocolError)
    assert (fault.peer, fault.step) == ("server", "share_keys")


def test_a_roster_key_of_the_wrong_size_is_refused_even_if_all_differ():
    for size in (31, 33, 0):
        roster = {"c0": b"k" * 32, "c1": b"l" * size}
        with pytest.raises(ParameterError, match="32"):
            Policy(roster=roster)


def test_a_traceback_of_a_refused_weight_does_not_show_it():
    client = Client(PLAN, open_policy(PLAN), me="c0")
    with pytest.raises(ParameterError) as caught:
        client.offer(UPDATES["c0"], weight=70_001, context=CONTEXT)
    assert "70001" not in "".join(traceback.format_exception(caught.value))
