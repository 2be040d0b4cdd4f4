"""Lying servers, broken clients, wrong order: refused, named, and never a sum."""

from dataclasses import replace

import numpy as np
import pytest

import secagg
from secagg import boxes, masks, member
from secagg.boxes import ShareKind
from secagg.client import Client
from secagg.dealing import SealedShares, ShareDelivery
from secagg.errors import (
    AbortError,
    AuthenticationError,
    DecodeError,
    LocalProtocolError,
    ParameterError,
    RemoteProtocolError,
)
from secagg.faults import MAX_FAULTS_PER_PEER
from secagg.invite import NO_ROUND, SERVER, Invite
from secagg.keylist import Advertise, KeyList, NeighbourKeys, PublicKeys
from secagg.keys import IdentityKey, Secret
from secagg.messages import Abort, decode
from secagg.policy import Policy
from secagg.reveal import RevealedShare, UnmaskRequest, UnmaskShares
from secagg.server import Server
from secagg.shamir import Share
from secagg.states import State
from secagg.sums import UploadSum
from secagg.upload import MaskedInput
from tests.secagg.harness import (
    CONTEXT,
    GRAPHS,
    Network,
    flip,
    make_updates,
    open_policy,
)

PLAN = GRAPHS["complete"]
UPDATES = make_updates(PLAN.clients, 6)


@pytest.fixture(autouse=True, params=GRAPHS)
def on_both_graphs(request, monkeypatch):
    """Run every test of this file on the complete and on the k-regular graph."""
    plan = GRAPHS[request.param]
    monkeypatch.setitem(globals(), "PLAN", plan)
    monkeypatch.setitem(globals(), "UPDATES", make_updates(plan.clients, 6))


def limits(network):
    return network.server._limits


def is_a(kind, data):
    """Tell whether a message is of a kind; both kinds of key list are one."""
    tags = {KeyList: (KeyList.TAG, NeighbourKeys.TAG)}.get(kind, (kind.TAG,))
    return data[1] in tags


def swap_last_mask_key(key_list):
    """Put a fresh mask key in the place of the last one listed."""
    fresh = secagg.keys.AgreementKey.generate()
    other = replace(key_list.keys[-1], mask_public=fresh.public)
    return replace(key_list, keys=(*key_list.keys[:-1], other))


def survivors_mean(server):
    out = server.result()
    expected = np.mean([UPDATES[name] for name in out.survivors], axis=0)
    assert np.abs(out.mean - expected).max() <= out.max_error
    return out


def run_rewriting(kind, rewrite, *, sender=SERVER, receiver="c0", **more):
    """Run a round in which one kind of message on one route is rewritten."""
    network = Network(PLAN, UPDATES, **more)

    def tamper(wire):
        on_route = (wire.sender, wire.receiver) == (sender, receiver)
        if not on_route or not is_a(kind, wire.data):
            return wire.data
        return rewrite(decode(wire.data, limits(network)))

    network.run(tamper)
    return network


# --- what a lying server may try on a client -------------------------------------


class AsksTwice(Server):
    """Sends a second unmask request, in which one survivor has dropped."""

    def receive(self, peer, data):
        sent = super().receive(peer, data)
        second = UnmaskRequest(self._round_id, self._index[peer], frozenset({0, 1, 2}))
        return tuple(
            pair
            for name, message in sent
            for pair in (
                [(name, message), (name, second.encode())]
                if message[1] == UnmaskRequest.TAG
                else [(name, message)]
            )
        )


def test_a_second_unmask_request_is_refused_and_yields_no_share():
    network = Network(PLAN, UPDATES, server_class=AsksTwice)
    revealed = []
    network.run(
        lambda wire: (
            revealed.append((wire.sender, wire.data)) or wire.data
            if wire.data[1] == UnmaskShares.TAG
            else wire.data
        )
    )
    assert sorted(name for name, _ in revealed) == sorted(UPDATES)
    for client in network.clients.values():
        assert client.aborted and isinstance(client.fault, RemoteProtocolError)
    for _, data in revealed:
        kinds = {share.kind for share in decode(data, limits(network)).shares}
        assert kinds == {ShareKind.SELF_MASK}


@pytest.mark.parametrize(
    ("receiver", "u3", "error"),
    [
        (0, {1, 2, 3}, RemoteProtocolError),  # not me
        (0, {0, 2}, AbortError),  # below the threshold
        (0, {0, 1, 2, 9}, DecodeError),  # not of the roster
        (0, set(), RemoteProtocolError),
        (1, {0, 1, 2, 3}, RemoteProtocolError),  # for somebody else
    ],
)
def test_a_client_answers_only_requests_over_enough_clients_and_itself(
    receiver, u3, error
):
    network = run_rewriting(
        UnmaskRequest,
        lambda m: UnmaskRequest(m.round_id, receiver, frozenset(u3)).encode(),
    )
    client = network.clients["c0"]
    assert client.aborted and type(client.fault) is error
    assert not [
        w for w in network.wires if w.sender == "c0" and w.data[1] == UnmaskShares.TAG
    ]
    survivors_mean(network.server)  # the others were enough


def test_a_client_reveals_one_share_per_other_client_of_the_kind_it_derives():
    network = Network(PLAN, UPDATES)
    network.run(
        lambda wire: (
            None
            if wire.sender == "c2" and wire.data[1] == MaskedInput.TAG
            else wire.data
        )
    )
    answer = next(w for w in network.wires if w.data[1] == UnmaskShares.TAG)
    shares = decode(answer.data, limits(network)).shares
    assert answer.sender == "c0" and "c2" in network.neighbours("c0")
    assert {f"c{share.owner}": share.kind for share in shares} == {
        name: ShareKind.MASK_KEY if name == "c2" else ShareKind.SELF_MASK
        for name in network.neighbours("c0")
    }
    assert survivors_mean(network.server).survivors == set(UPDATES) - {"c2"}


def replayed(kind):
    """Record one message of another session."""
    other = Network(PLAN, UPDATES, session=b"other")
    other.run()
    return next(
        w.data for w in other.wires if w.receiver == "c0" and is_a(kind, w.data)
    )


@pytest.mark.parametrize("kind", [KeyList, ShareDelivery, UnmaskRequest])
def test_messages_of_another_session_are_refused(kind):
    old = replayed(kind)
    network = run_rewriting(kind, lambda message: old)
    assert network.clients["c0"].aborted
    assert "another round" in str(network.clients["c0"].fault)
    survivors_mean(network.server)


def change_invite(change):
    def rewrite(invite):
        fields = {
            "session": invite.session,
            "plan": invite.plan,
            "roster": invite.roster,
            "length": invite.length,
        }
        return Invite(**fields | change(invite)).encode()

    return rewrite


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda invite: {"plan": secagg.plan(invite.plan.clients, 0, 2)},
            "a plan other",
        ),
        (lambda invite: {"roster": ("x0", *invite.roster[1:])}, "does not list"),
        (lambda invite: {"length": 7}, "the vector offered has 6"),
    ],
)
def test_an_invitation_other_than_agreed_is_refused(change, message):
    network = run_rewriting(Invite, change_invite(change))
    with pytest.raises(type(network.clients["c0"].fault), match=message):
        raise network.clients["c0"].fault
    survivors_mean(network.server)


@pytest.mark.parametrize(
    "rewrite",
    [
        lambda m: replace(m, keys=m.keys[1:]),  # without me
        lambda m: replace(
            m, keys=(PublicKeys(0, m.keys[0].box_public, b"x" * 32), *m.keys[1:])
        ),
        lambda m: replace(m, keys=m.keys[:2]),  # too few
        lambda m: replace(m, keys=(*m.keys[:-1], PublicKeys(9, b"a" * 32, b"b" * 32))),
        lambda m: replace(
            m,
            keys=(*m.keys[:-1], PublicKeys(m.keys[-1].index, bytes(32), b"b" * 32)),
        ),
        # The list of the other graph.
        lambda m: (
            NeighbourKeys(m.round_id, 0, m.digest(), m.keys)
            if isinstance(m, KeyList)
            else KeyList(m.round_id, m.keys)
        ),
    ],
)
def test_a_key_list_that_is_wrong_for_this_client_is_refused(rewrite):
    network = run_rewriting(KeyList, lambda m: rewrite(m).encode())
    assert network.clients["c0"].aborted
    survivors_mean(network.server)


def test_clients_with_different_key_lists_never_add_up():
    # The server swaps one mask key towards c0 only: their masks do not cancel.
    network = run_rewriting(KeyList, lambda m: swap_last_mask_key(m).encode())
    with pytest.raises(AbortError):
        network.server.result()


@pytest.mark.parametrize(
    "rewrite",
    [
        lambda m: ShareDelivery(m.round_id, 0, m.boxes[:1]),  # too few
        lambda m: ShareDelivery(m.round_id, 0, (*m.boxes[:2], (9, m.boxes[2][1]))),
        lambda m: ShareDelivery(m.round_id, 9, m.boxes),
    ],
)
def test_a_share_delivery_that_is_wrong_is_refused(rewrite):
    network = run_rewriting(ShareDelivery, lambda m: rewrite(m).encode())
    assert network.clients["c0"].aborted
    survivors_mean(network.server)


@pytest.mark.parametrize("kind", [Advertise, SealedShares, MaskedInput, UnmaskShares])
def test_a_clients_message_sent_to_a_client_is_refused(kind):
    network = Network(PLAN, UPDATES)
    network.run()
    theirs = next(w.data for w in network.wires if is_a(kind, w.data))
    again = Network(PLAN, UPDATES)
    invite = dict(again.server.start())["c0"]
    again.clients["c0"].receive(invite)
    assert again.clients["c0"].receive(theirs)[0][1] == Abort.TAG
    assert again.clients["c0"].aborted


def test_one_bad_box_costs_its_dealer_one_share_and_not_the_round():
    def spoil(message):
        dealer, box = message.boxes[0]
        bad = type(box)(box.mask_key, box.self_mask, flip(box.sealed, 0))
        boxes = ((dealer, bad), *message.boxes[1:])
        return ShareDelivery(message.round_id, message.receiver, boxes).encode()

    network = run_rewriting(ShareDelivery, spoil)
    assert network.clients["c0"].finished
    assert survivors_mean(network.server).survivors == set(UPDATES)


def test_a_dealer_whose_boxes_do_not_open_is_named_in_the_abort():
    def spoil(message):
        boxes = tuple(
            (holder, type(box)(box.mask_key, box.self_mask, flip(box.sealed, 0)))
            for holder, box in message.boxes
        )
        return SealedShares(
            message.round_id, message.sender, message.seed_commitment, boxes
        ).encode()

    network = run_rewriting(SealedShares, spoil, sender="c1", receiver=SERVER)
    with pytest.raises(AbortError, match="c1") as caught:
        network.server.result()
    assert (caught.value.need, caught.value.have) == (2, 0)


# --- identities --------------------------------------------------------------------


def identities():
    return {
        name: IdentityKey(Secret(bytes([i + 1]) * 32)) for i, name in enumerate(UPDATES)
    }


def signed_clients(keys, roster):
    return {
        name: Client(
            PLAN,
            open_policy(PLAN, roster=roster),
            me=name,
            key=keys[name],
            rng=secagg.simulation_rng(1, name),
        )
        for name in roster
    }


def test_signed_keys_are_accepted_and_substituted_ones_are_not():
    keys = identities()
    roster = {name: key.public for name, key in keys.items()}
    network = Network(
        PLAN, UPDATES, clients=signed_clients(keys, roster), identities=roster
    )
    assert survivors_mean(network.run()).survivors == set(UPDATES)

    network = run_rewriting(
        KeyList,
        lambda m: swap_last_mask_key(m).encode(),
        clients=signed_clients(keys, roster),
    )
    fault = network.clients["c0"].fault
    assert isinstance(fault, AuthenticationError)
    last = network.neighbours("c0")[-1]
    assert (fault.peer, fault.step) == (last, "share_keys")


def test_unsigned_keys_are_refused_where_a_roster_is_given():
    keys = identities()
    roster = {name: key.public for name, key in keys.items()}

    def strip(message):
        bare = tuple(replace(keys, signature=b"") for keys in message.keys)
        return replace(message, keys=bare).encode()

    network = run_rewriting(KeyList, strip, clients=signed_clients(keys, roster))
    assert isinstance(network.clients["c0"].fault, AuthenticationError)


def test_a_server_that_knows_identities_leaves_unsigned_clients_out():
    keys = identities()
    roster = {name: key.public for name, key in keys.items()}
    clients = signed_clients(keys, roster)
    clients["c2"] = Client(PLAN, open_policy(PLAN), me="c2")
    server = Network(PLAN, UPDATES, clients=clients, identities=roster).run()
    assert survivors_mean(server).survivors == set(UPDATES) - {"c2"}
    (fault,) = [f for f in server.faults if f.step == "advertise_keys"]
    assert fault.peer == "c2" and isinstance(fault.error, AuthenticationError)


def test_a_cohort_outside_the_roster_is_refused():
    keys = identities()
    roster = {name: key.public for name, key in keys.items() if name != "c3"}
    client = Client(PLAN, open_policy(PLAN, roster=roster), me="c0", key=keys["c0"])
    client.offer(UPDATES["c0"], context=CONTEXT)
    server = Server(PLAN, sorted(UPDATES), session=b"s", length=6)
    client.receive(dict(server.start())["c0"])
    assert isinstance(client.fault, AuthenticationError) and "c3" in str(client.fault)


def test_a_policy_with_a_roster_needs_the_matching_key():
    keys = identities()
    policy = open_policy(PLAN, roster={n: k.public for n, k in keys.items()})
    for key in (None, keys["c1"]):
        with pytest.raises(ParameterError, match="identity key"):
            Client(PLAN, policy, me="c0", key=key)


def test_a_plan_below_the_policy_is_refused_at_once():
    floor = PLAN.clients + 1
    with pytest.raises(ParameterError, match=f"min_clients={floor}"):
        Client(PLAN, Policy(min_clients=floor), me="c0")


# --- what a broken client may do to the server ---------------------------------------


def tampered_answer(kind, rewrite):
    network = run_rewriting(kind, rewrite, sender="c1", receiver=SERVER)
    return network


@pytest.mark.parametrize(
    ("kind", "rewrite", "error"),
    [
        (
            Advertise,
            lambda m: Advertise(m.round_id, PublicKeys(1, bytes(32), b"b" * 32)),
            AuthenticationError,
        ),
        (
            Advertise,
            lambda m: Advertise(
                m.round_id, PublicKeys(1, m.keys.box_public, m.keys.box_public)
            ),
            RemoteProtocolError,
        ),
        (
            Advertise,
            lambda m: Advertise(
                m.round_id, PublicKeys(2, m.keys.box_public, m.keys.mask_public)
            ),
            RemoteProtocolError,
        ),
        (
            SealedShares,
            lambda m: SealedShares(m.round_id, 1, m.seed_commitment, m.boxes[1:]),
            RemoteProtocolError,
        ),
        (MaskedInput, lambda m: m.encode()[:-1], DecodeError),
        (MaskedInput, lambda m: m.encode() + b"\0", DecodeError),
        (MaskedInput, lambda m: m.encode()[:-1] + b"\xff", DecodeError),
        (
            UnmaskShares,
            lambda m: UnmaskShares(
                m.round_id,
                1,
                (
                    replace(m.shares[0], value=b"\1" + bytes(33)),
                    *m.shares[1:],
                ),
            ),
            AuthenticationError,
        ),
        (
            UnmaskShares,
            lambda m: UnmaskShares(
                m.round_id,
                1,
                (
                    replace(m.shares[0], kind=ShareKind.MASK_KEY),
                    *m.shares[1:],
                ),
            ),
            RemoteProtocolError,
        ),
        (
            UnmaskShares,
            lambda m: UnmaskShares(
                m.round_id,
                1,
                (*m.shares, RevealedShare(9, ShareKind.SELF_MASK, b"\1" + bytes(33))),
            ),
            RemoteProtocolError,
        ),
    ],
)
def test_a_client_that_breaks_a_step_is_named_and_left_out(kind, rewrite, error):
    def encoded(message):
        changed = rewrite(message)
        return changed if isinstance(changed, bytes) else changed.encode()

    network = run_rewriting(kind, encoded, sender="c1", receiver=SERVER)
    out = survivors_mean(network.server)
    assert ("c1" in out.survivors) == (kind is UnmaskShares)
    first = network.server.faults[0]
    assert first.peer == first.error.peer == "c1"
    assert first.step == kind.STEP and type(first.error) is error
    assert network.clients["c1"].aborted or kind is UnmaskShares


@pytest.mark.parametrize("dealer_drops", [False, True])
def test_shares_off_the_polynomial_end_the_round_and_name_the_dealer(
    monkeypatch, dealer_drops
):
    honest = boxes.deal_boxes

    def crooked(secrets, *, threshold, holders, rng):
        return tuple((Share(x, bytes([x]) + bytes(33)),) * 2 for x in holders)

    def deal_boxes(agreed, *, dealer, **more):
        with monkeypatch.context() as patched:
            if dealer == 1:
                patched.setattr(boxes, "deal", crooked)
            return honest(agreed, dealer=dealer, **more)

    monkeypatch.setattr(member, "deal_boxes", deal_boxes)
    server = Network(PLAN, UPDATES).run(
        lambda wire: (
            None
            if dealer_drops and wire.sender == "c1" and wire.data[1] == MaskedInput.TAG
            else wire.data
        )
    )
    with pytest.raises(AbortError, match="'c1' dealt do not give back"):
        server.result()


def test_a_copied_key_is_refused():
    network = Network(PLAN, UPDATES)
    copied = {}

    def tamper(wire):
        if wire.data[1] != Advertise.TAG:
            return wire.data
        message = decode(wire.data, limits(network))
        copied.setdefault("keys", message.keys)
        if wire.sender != "c3":
            return wire.data
        first = copied["keys"]
        keys = PublicKeys(3, message.keys.box_public, first.mask_public)
        return Advertise(message.round_id, keys).encode()

    server = network.run(tamper)
    assert survivors_mean(server).survivors == set(UPDATES) - {"c3"}
    assert server.faults[0].peer == "c3" and "twice" in str(server.faults[0].error)


@pytest.mark.parametrize("kind", [Advertise, SealedShares, MaskedInput, UnmaskShares])
def test_repeated_messages_are_recorded_and_change_nothing(kind):
    network = Network(PLAN, UPDATES)
    receive = network.server.receive

    def twice(peer, data):
        sent = receive(peer, data)
        return sent + receive(peer, data) if data[1] == kind.TAG else sent

    network.server.receive = twice
    out = survivors_mean(network.run())
    assert out.survivors == set(UPDATES)
    assert {fault.peer for fault in network.server.faults} == set(UPDATES)


def test_a_late_upload_is_refused_after_its_mask_key_may_be_revealed():
    network = Network(PLAN, UPDATES)
    late = []
    network.run(
        lambda wire: (
            late.append(wire.data)
            if wire.sender == "c2" and wire.data[1] == MaskedInput.TAG
            else wire.data
        )
    )
    assert network.server.receive("c2", late[0]) == ()
    assert network.server.faults[-1].peer == "c2"
    assert survivors_mean(network.server).survivors == set(UPDATES) - {"c2"}


def test_messages_of_another_session_change_nothing_at_the_server():
    other = Network(PLAN, UPDATES, session=b"other")
    other.run()
    network = Network(PLAN, UPDATES)
    receive = network.server.receive

    def also_old(peer, data):
        for wire in other.wires:
            if wire.sender == peer and wire.data[1] == data[1]:
                assert receive(peer, wire.data) == ()
        return receive(peer, data)

    network.server.receive = also_old
    assert survivors_mean(network.run()).survivors == set(UPDATES)
    assert len(network.server.faults) == 4 * PLAN.clients


def test_recorded_faults_are_bounded():
    server = Server(PLAN, sorted(UPDATES), session=b"s", length=6)
    server.start()
    for _ in range(1000):
        assert server.receive("c0", b"junk") == ()
    assert len(server.faults) == MAX_FAULTS_PER_PEER
    assert server.waiting_for == set(UPDATES)


def test_a_client_that_aborts_is_waited_for_no_more():
    network = Network(PLAN, UPDATES)
    server = network.server
    invites = dict(server.start())
    server.receive("c0", Abort(NO_ROUND).encode())
    others = sorted(set(UPDATES) - {"c0"})
    assert server.waiting_for == set(others)
    for name in others[:-1]:
        for reply in network.clients[name].receive(invites[name]):
            assert server.receive(name, reply) == ()
    (reply,) = network.clients[others[-1]].receive(invites[others[-1]])
    assert [name for name, _ in server.receive(others[-1], reply)] == others


# --- the caller's own mistakes -------------------------------------------------------


def test_a_server_whose_own_work_fails_ends_the_round_with_a_typed_error(monkeypatch):
    def full(*args, **kwargs):
        raise MemoryError

    monkeypatch.setattr(masks, "add_streams", full)
    network = Network(PLAN, UPDATES)
    monkeypatch.setattr(masks, "add_masks", lambda *args, **kwargs: None)
    with pytest.raises(MemoryError):
        network.run()
    assert network.server.finished
    assert not network.server.waiting_for
    with pytest.raises(AbortError, match="the server failed"):
        network.server.result()


def test_a_server_interrupted_while_it_adds_a_vector_ends_the_round(monkeypatch):
    def halfway(self, packed):
        self._held = self._ring.zeros(self._count)
        raise KeyboardInterrupt

    monkeypatch.setattr(UploadSum, "add", halfway)
    network = Network(PLAN, UPDATES)
    with pytest.raises(KeyboardInterrupt):
        network.run()
    assert network.server.state is State.ABORTED
    with pytest.raises(AbortError, match="the server failed"):
        network.server.result()


def test_the_server_tells_its_caller_what_is_out_of_order():
    server = Server(PLAN, sorted(UPDATES), session=b"s", length=6)
    for call in (
        lambda: server.receive("c0", b""),
        server.timeout,
        server.result,
    ):
        with pytest.raises(LocalProtocolError):
            call()
    server.start()
    with pytest.raises(LocalProtocolError):
        server.start()
    with pytest.raises(ParameterError, match="stranger"):
        server.receive("stranger", b"")
    with pytest.raises(ParameterError, match="bytes"):
        server.receive("c0", bytearray(3))
    server.timeout()
    with pytest.raises(AbortError) as caught:
        server.result()
    assert (caught.value.need, caught.value.have) == (PLAN.threshold, 0)
    with pytest.raises(LocalProtocolError):
        server.timeout()


@pytest.mark.parametrize("when", ["new", "advertised", "shared", "ready"])
def test_a_vector_may_be_offered_at_any_time_before_the_upload(when):
    network = Network(PLAN, UPDATES)
    client = Client(PLAN, open_policy(PLAN), me="c0", rng=secagg.simulation_rng(9))
    network.clients["c0"] = client
    offered = {
        "new": State.NEW,
        "advertised": State.ADVERTISED,
        "shared": State.SHARED,
        "ready": State.READY,
    }[when]
    received = client.receive

    def offer():
        with pytest.raises(ParameterError, match="norm"):
            client.offer(np.full(6, 1e3), context=CONTEXT)
        return client.offer(UPDATES["c0"], context=CONTEXT)

    def receive(data):
        replies = received(data)
        return replies + offer() if client.state is offered else replies

    if when == "new":
        offer()
    else:
        object.__setattr__(client, "receive", receive)
    assert survivors_mean(network.run()).survivors == set(UPDATES)
    with pytest.raises(LocalProtocolError):
        client.offer(UPDATES["c0"], context=CONTEXT)
    assert client.finished


def test_a_wrong_length_raises_before_anything_is_sent_and_can_be_repaired():
    client = Client(PLAN, open_policy(PLAN), me="c0")
    server = Server(PLAN, sorted(UPDATES), session=b"s", length=6)
    client.receive(dict(server.start())["c0"])
    with pytest.raises(ParameterError, match="the round sums 6"):
        client.offer(np.ones(5), context=CONTEXT)
    assert client.offer(np.ones(6), context=CONTEXT) == ()
    assert client.state is State.ADVERTISED_OFFERED


def test_a_second_offer_is_the_callers_fault_and_ends_the_client():
    client = Client(PLAN, open_policy(PLAN), me="c0")
    client.offer(np.ones(6), context=CONTEXT)
    with pytest.raises(LocalProtocolError):
        client.offer(np.ones(6), context=CONTEXT)
    assert client.aborted and client.receive(b"anything") == ()


def test_the_offered_array_may_be_changed_afterwards():
    updates = {name: vector.copy() for name, vector in UPDATES.items()}
    network = Network(PLAN, updates)
    for vector in updates.values():
        vector[:] = 1e9
    survivors_mean(network.run())


def test_a_broken_rng_is_the_callers_fault_and_fails_closed():
    client = Client(PLAN, open_policy(PLAN), me="c0", rng=lambda count: b"")
    server = Server(PLAN, sorted(UPDATES), session=b"s", length=6)
    with pytest.raises(ParameterError, match="rng"):
        client.receive(dict(server.start())["c0"])
    assert client.aborted
    with pytest.raises(ParameterError, match="bytes"):
        client.receive("text")


def test_garbage_aborts_a_client_for_good():
    for junk in (b"", b"junk", bytes(34), bytes(100_000)):
        client = Client(PLAN, open_policy(PLAN), me="c0")
        (answer,) = client.receive(junk)
        assert answer[1] == Abort.TAG and client.aborted
        assert isinstance(client.fault, DecodeError) and client.fault.peer == SERVER
        assert client.receive(junk) == ()


def test_a_finished_or_aborted_client_holds_no_round():
    network = Network(PLAN, UPDATES)
    network.run()
    for client in network.clients.values():
        assert client.finished
        assert (client._offer, client._member) == (None, None)


def test_no_public_object_prints_a_secret():
    network = Network(PLAN, UPDATES)
    drawn = []
    rng = secagg.simulation_rng(4)

    def recording(count):
        drawn.append(rng(count))
        return drawn[-1]

    client = Client(PLAN, open_policy(PLAN), me="c0", rng=recording)
    client.offer(UPDATES["c0"], context=CONTEXT)
    network.clients["c0"] = client
    shown = []
    received = client.receive

    def receive(data):
        replies = received(data)
        shown.append(repr((client, client._member, client._offer)))
        shown.extend(repr(decode(reply, limits(network))) for reply in replies)
        return replies

    client.receive = receive
    server = network.run()
    shown += [repr(server), repr(server.result()), repr(server.faults)]
    text = "".join(shown)
    assert len(drawn) >= 5 and "Client(me='c0'" in text
    for secret in drawn:
        assert repr(secret)[2:-1] not in text and secret.hex() not in text


def test_a_client_that_aborts_after_its_upload_counts_but_is_not_asked():
    network = Network(PLAN, UPDATES)
    receive = network.server.receive

    def then_abort(peer, data):
        sent = receive(peer, data)
        if peer == "c0" and data[1] == MaskedInput.TAG:
            sent += receive(peer, Abort(data[2:34]).encode())
        return sent

    network.server.receive = then_abort
    assert survivors_mean(network.run()).survivors == set(UPDATES)
    assert not [
        w
        for w in network.wires
        if w.receiver == "c0" and w.data[1] == UnmaskRequest.TAG
    ]


def test_mask_secrets_are_gone_once_the_upload_is_sent():
    network = Network(PLAN, UPDATES)
    checked = []

    def tamper(wire):
        if wire.data[1] == MaskedInput.TAG:
            member = network.clients[wire.sender]._member
            secrets = [member._seed, *member._mask_secrets.values()]
            checked.extend(len(secret) for secret in secrets)
        return wire.data

    network.run(tamper)
    assert checked == [0] * (PLAN.clients * (1 + PLAN.k))


def test_a_server_answers_nothing_after_the_end_of_the_round():
    network = Network(PLAN, UPDATES)
    server = network.run()
    upload = next(w.data for w in network.wires if w.data[1] == MaskedInput.TAG)
    for late in (Abort(server._round_id).encode(), Abort(NO_ROUND).encode(), upload):
        assert server.receive("c0", late) == ()
        assert "after the end of the round" in str(server.faults[-1].error)
    assert survivors_mean(server).survivors == set(UPDATES)


def test_what_crossed_the_wire_does_not_print():
    network = Network(PLAN, UPDATES)
    network.run()
    uploads = [w for w in network.wires if w.data[1] == MaskedInput.TAG]
    assert len(uploads) == PLAN.clients
    for wire in uploads:
        assert len(repr(wire)) < 120 and wire.sender in repr(wire)


@pytest.mark.parametrize("named", ["this round", "no round"])
def test_a_client_that_aborts_again_is_not_answered(named):
    server = Server(PLAN, sorted(UPDATES), session=b"s", length=6)
    server.start()
    abort = Abort(server._round_id if named == "this round" else NO_ROUND).encode()
    assert server.receive("c0", abort) and "c0" not in server.waiting_for
    assert server.receive("c0", abort) == ()
    assert [fault.peer for fault in server.faults] == ["c0", "c0"]


def test_a_replayed_abort_of_another_round_puts_nobody_out():
    server = Server(PLAN, sorted(UPDATES), session=b"s", length=6)
    server.start()
    assert server.receive("c0", Abort(b"o" * 32).encode()) == ()
    assert "c0" in server.waiting_for
    assert "another round" in str(server.faults[0].error)


@pytest.mark.parametrize("context", [b"", b"c" * 31, b"c" * 33, "c" * 32, None])
def test_an_offer_under_no_digest_is_refused_and_can_be_repaired(context):
    client = Client(PLAN, open_policy(PLAN), me="c0")
    with pytest.raises(ParameterError, match="32 bytes"):
        client.offer(UPDATES["c0"], context=context)
    assert client.offer(UPDATES["c0"], context=CONTEXT) == ()


def test_a_vector_is_gone_once_it_is_uploaded():
    network = Network(PLAN, UPDATES)
    kept = []

    def tamper(wire):
        if wire.data[1] == MaskedInput.TAG:
            kept.append(network.clients[wire.sender]._offer)
        return wire.data

    network.run(tamper)
    assert kept == [None] * PLAN.clients


def test_a_client_reads_no_message_above_its_cap():
    client = Client(PLAN, open_policy(PLAN), me="c0")
    client.receive(bytes([secagg.usage.VERSION, Invite.TAG]) + bytes(1 << 14))
    assert "more than the cap" in str(client.fault)


@pytest.mark.parametrize("ending", ["sum", "abort"])
def test_a_server_that_is_done_keeps_neither_shares_nor_vectors(ending):
    network = Network(PLAN, UPDATES)
    network.run(
        lambda wire: (
            None
            if ending == "abort" and wire.data[1] == UnmaskShares.TAG
            else wire.data
        )
    )
    assert network.server.finished
    assert (network.server._failure is None) == (ending == "sum")
    tally = network.server._tally
    assert not tally._revealed and not tally._dealt and not len(tally._total)


def test_a_client_whose_upload_was_lost_is_not_asked_for_shares():
    network = Network(PLAN, UPDATES)
    network.run(
        lambda wire: (
            None
            if wire.sender == "c2" and wire.data[1] == MaskedInput.TAG
            else wire.data
        )
    )
    asked = {w.receiver for w in network.wires if w.data[1] == UnmaskRequest.TAG}
    assert asked == set(UPDATES) - {"c2"}


def test_what_a_step_has_used_up_is_overwritten(monkeypatch):
    dealt, offers, boxed = [], {}, []
    secret = member.AgreementKey.secret

    def watched(key):
        dealt.append(secret(key))
        return dealt[-1]

    monkeypatch.setattr(member.AgreementKey, "secret", watched)
    network = Network(PLAN, UPDATES)

    def tamper(wire):
        if wire.data[1] == SealedShares.TAG:
            draft = network.clients[wire.sender]._offer.draft
            offers[wire.sender] = draft, draft.words, draft.words.copy()
        elif wire.data[1] == MaskedInput.TAG:
            draft, now, was = offers[wire.sender]
            assert not (was == now).any()  # every word was masked over
            with pytest.raises(LocalProtocolError, match="one message"):
                _ = draft.words
            secrets = network.clients[wire.sender]._member._box_secrets.values()
            boxed.extend(len(one) for one in secrets)
        return wire.data

    network.run(tamper)
    # The dealers' mask keys, and no other private key, were taken out of their objects.
    assert [len(key) for key in dealt] == [0] * PLAN.clients
    assert boxed == [0] * (PLAN.clients * PLAN.k)


@pytest.mark.parametrize("last", [KeyList, ShareDelivery, UnmaskRequest])
def test_a_member_forgets_everything_wherever_its_round_ends(last):
    network = Network(PLAN, UPDATES)
    members = []

    def tamper(wire):
        if wire.receiver != "c0" or not is_a(last, wire.data):
            return wire.data
        members.append(network.clients["c0"]._member)
        # The last message is the server's abort, or what ends the round in order.
        return wire.data if last is UnmaskRequest else Abort(wire.data[2:34]).encode()

    network.run(tamper)
    (held,) = members
    secrets = [held._seed, *held._box_secrets.values(), *held._mask_secrets.values()]
    assert [len(secret) for secret in secrets] == [0] * len(secrets)
    assert held._box_key._private is None and held._mask_key._private is None
    assert not held._held


def test_a_survivor_that_dealt_no_shares_is_refused():
    network = Network(PLAN, UPDATES)
    gone = network.neighbours("c0")[0]

    def tamper(wire):
        if wire.sender == gone and wire.data[1] == SealedShares.TAG:
            return None
        if wire.receiver == "c0" and wire.data[1] == UnmaskRequest.TAG:
            everybody = frozenset(range(PLAN.clients))
            return UnmaskRequest(wire.data[2:34], 0, everybody).encode()
        return wire.data

    network.run(tamper)
    assert "not in u2" in str(network.clients["c0"].fault)


def test_a_client_opens_no_sum_over_fewer_clients_than_the_plan_promises():
    network = Network(PLAN, UPDATES)
    near = [int(name[1:]) for name in network.neighbours("c0")]
    few = frozenset([0, *near][: PLAN.threshold - 1])

    def tamper(wire):
        if wire.receiver == "c0" and wire.data[1] == UnmaskRequest.TAG:
            return UnmaskRequest(wire.data[2:34], 0, few).encode()
        return wire.data

    network.run(tamper)
    fault = network.clients["c0"].fault
    assert isinstance(fault, AbortError) and "would be in the sum" in str(fault)
    assert (fault.need, fault.have) == (PLAN.threshold, PLAN.threshold - 1)


def test_a_client_without_a_known_identity_is_left_out():
    key = IdentityKey.generate()
    server = Server(
        PLAN, sorted(UPDATES), session=b"s", length=6, identities={"c0": key.public}
    )
    invitations = dict(server.start())
    for name, own in (("c0", key), ("c1", IdentityKey.generate())):
        client = Client(PLAN, open_policy(PLAN), me=name, key=own)
        (keys,) = client.receive(invitations[name])
        server.receive(name, keys)
    assert [fault.peer for fault in server.faults] == ["c1"]
    assert "no known identity" in str(server.faults[0].error)


def test_a_refused_answer_leaves_none_of_its_shares_behind():
    network = Network(PLAN, UPDATES)
    kept = []

    def tamper(wire):
        if wire.data[1] != UnmaskShares.TAG:
            return wire.data
        revealed = network.server._tally._revealed.values()
        kept.append({share.x for shares in revealed for share in shares})
        return flip(wire.data, -1) if wire.sender == "c0" else wire.data

    network.run(tamper)
    assert [fault.peer for fault in network.server.faults] == ["c0"]
    assert len(kept) == PLAN.clients and kept[0] == kept[1] == set()
    assert all(1 not in holders for holders in kept)  # x = index + 1
