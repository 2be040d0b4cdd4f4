"""What a server that lies would read: the limit of the guarantee, measured.

The guarantee is against a server that follows the protocol.  docs/protocol.md says what
one that does not could do; these tests do it, so that the page neither hides it nor
exaggerates it.  The first defence, a step in which clients compare u2 and u3 under
signatures, is not part of this version.
"""

import numpy as np
import pytest

import secagg
from secagg import encode, masks
from secagg.boxes import ShareKind
from secagg.client import Client
from secagg.dealing import ShareDelivery
from secagg.graph import graph_of
from secagg.invite import Invite
from secagg.keylist import KeyList, NeighbourKeys
from secagg.keys import AgreementKey, IdentityKey, Secret
from secagg.messages import Abort, Limits, decode
from secagg.reveal import UnmaskRequest
from secagg.shamir import Share, reconstruct
from tests.secagg.harness import CONTEXT, make_updates, open_policy

N, LENGTH = 10, 5
PLAN = secagg.plan(clients=N, corrupt=2, drop=3)  # 6 shares of 9
SPARSE = secagg.plan(clients=N, corrupt=2, drop=3, graph="k-regular")
UPDATES = make_updates(N, LENGTH)
NAMES = sorted(UPDATES)
VICTIM, COLLUDERS = 0, (8, 9)
PEERS = (1, 2, 3, 4)  # with the colluders, the u2 that the victim is told of
EVERYBODY = frozenset(range(N))


class Liar:
    """Runs the honest steps up to the deliveries, with signed keys throughout."""

    def __init__(self, plan=PLAN):
        self.plan = plan
        keys = [IdentityKey(Secret(bytes([i + 1]) * 32)) for i in range(N)]
        roster = {name: key.public for name, key in zip(NAMES, keys, strict=True)}
        policy = open_policy(plan, roster=roster)
        self.clients = [
            Client(
                plan, policy, me=name, key=key, rng=secagg.simulation_rng(5, "lie", i)
            )
            for i, (name, key) in enumerate(zip(NAMES, keys, strict=True))
        ]
        for name, client in zip(NAMES, self.clients, strict=True):
            client.offer(UPDATES[name], weight=3, context=CONTEXT)
        invite = Invite(b"lie", plan, tuple(NAMES), LENGTH)
        self.round_id = invite.round_id
        self.where = encode.layout(plan.encoder, clients=N, length=LENGTH)
        self.limits = Limits(N, self.where.packed_bytes)
        adverts = [self.ask(i, invite) for i in range(N)]
        self.publics = {a.keys.index: a.keys.mask_public for a in adverts}
        # Colluders hand over their keys, and below the shares they hold.
        self.known = {i: self.clients[i]._member._mask_key.secret() for i in COLLUDERS}
        key_list = KeyList(self.round_id, tuple(a.keys for a in adverts))
        self.binding = masks.Binding(self.round_id, key_list.digest())
        graph = graph_of(plan, self.round_id)
        self.near = [graph.neighbours(i) for i in range(N)]
        self.boxes = {
            i: dict(self.ask(i, self.keys_for(i, key_list)).boxes) for i in range(N)
        }
        self.shares = {}  # (owner, kind) -> shares

    def keys_for(self, index, key_list):
        if self.plan.complete:
            return key_list
        around = self.near[index] | {index}
        keys = tuple(k for k in key_list.keys if k.index in around)
        return NeighbourKeys(self.round_id, index, key_list.digest(), keys)

    def ask(self, index, message):
        (reply,) = self.clients[index].receive(message.encode())
        return decode(reply, self.limits)

    def deliver(self, index, u2):
        boxes = tuple((v, self.boxes[v][index]) for v in sorted(u2 & self.near[index]))
        upload = self.ask(index, ShareDelivery(self.round_id, index, boxes))
        if index in COLLUDERS:
            for owner, held in self.clients[index]._member._held.items():
                for kind in ShareKind:
                    self.keep(owner, kind, held.of(kind))
        return upload

    def request(self, index, u3):
        strangers = set(range(N)) - self.near[index] - {index}  # nobody can check them
        told = frozenset(u3 | strangers)
        answer = self.ask(index, UnmaskRequest(self.round_id, index, told))
        if not isinstance(answer, Abort):
            for share in answer.shares:
                self.keep(share.owner, share.kind, Share(index + 1, share.value))
        return answer

    def keep(self, owner, kind, share):
        self.shares.setdefault((owner, kind), []).append(share)

    def secret(self, owner, kind):
        """Return a client's secret, if enough shares came together."""
        if owner in self.known and kind is ShareKind.MASK_KEY:
            return self.known[owner]
        shares = self.shares.get((owner, kind), [])
        if len(shares) < self.plan.t:
            return None
        return reconstruct(shares[: self.plan.t])

    def strip(self, upload, u2):
        """Take all masks off one upload; None if a secret is missing."""
        seed = self.secret(VICTIM, ShareKind.SELF_MASK)
        pairs = u2 & self.near[VICTIM]
        others = {v: self.secret(v, ShareKind.MASK_KEY) for v in pairs}
        if seed is None or None in others.values():
            return None
        words = self.where.ring.unpack(upload.packed, self.where.words)
        bound = {"binding": self.binding, "context": CONTEXT}
        held = [(masks.self_key(seed, owner=VICTIM, **bound), 1)]
        for v, secret in others.items():
            agreed = AgreementKey(secret).agree(self.publics[VICTIM])
            key = masks.pair_key(agreed, pair=(VICTIM, v), **bound)
            held.append((key, masks.sign(VICTIM, v)))
        masks.remove_all(words, held)
        return encode.decode_sum(
            self.plan.encoder, self.where, words, self.round_id, CONTEXT, clients=1
        )


def test_a_server_that_tells_each_client_other_dropouts_reads_one_clients_input():
    liar = Liar()
    told = frozenset((VICTIM, *PEERS, *COLLUDERS))
    upload = liar.deliver(VICTIM, told)
    for index in EVERYBODY - {VICTIM}:
        liar.deliver(index, EVERYBODY)
    gone = {1: {2, 3, 4}, 2: {1, 3, 4}, 3: {1, 2, 4}, 4: {1, 2, 3}}
    gone |= {5: {1, 2, 3}, 6: {2, 3, 4}, 7: {1, 3, 4}}
    for index, dropped in gone.items():
        liar.request(index, EVERYBODY - dropped)
    single = liar.strip(upload, told)
    # All ten followed the protocol, every key was signed, every request was over at
    # least t clients; still this is c0's vector and weight, checksums and all.
    assert single is not None and single.weight == 3
    error = np.abs(single.mean - UPDATES[NAMES[VICTIM]]).max()
    assert error <= PLAN.encoder.max_error


@pytest.mark.parametrize("plan", [PLAN, SPARSE], ids=["complete", "k-regular"])
def test_the_same_requests_told_alike_to_everybody_read_nobodys_input(plan):
    # The tampered twin: u3 differs from client to client in the test above only.
    liar = Liar(plan)
    upload = liar.deliver(VICTIM, EVERYBODY)
    for index in EVERYBODY - {VICTIM}:
        liar.deliver(index, EVERYBODY)
    u3 = EVERYBODY - {1, 2, 3}
    for index in sorted(u3 - set(COLLUDERS)):
        liar.request(index, u3)
    assert liar.strip(upload, EVERYBODY) is None
    both = [
        v
        for v in EVERYBODY - set(COLLUDERS)
        if liar.secret(v, ShareKind.SELF_MASK) and liar.secret(v, ShareKind.MASK_KEY)
    ]
    assert both == []


@pytest.mark.parametrize("plan", [PLAN, SPARSE], ids=["complete", "k-regular"])
@pytest.mark.parametrize("again", ["the same", "another u3", "another round"])
def test_a_second_request_adds_no_share_to_the_first(plan, again):
    liar = Liar(plan)
    for index in EVERYBODY:
        liar.deliver(index, EVERYBODY)
    honest = EVERYBODY - set(COLLUDERS)
    for index in honest:
        liar.request(index, EVERYBODY)
    before = {key: len(shares) for key, shares in liar.shares.items()}
    u3 = EVERYBODY if again == "the same" else EVERYBODY - {VICTIM}
    if again == "another round":
        liar.round_id = bytes(range(32))
    for index in honest:
        assert isinstance(liar.request(index, u3), Abort)
    assert {key: len(shares) for key, shares in liar.shares.items()} == before
    assert liar.secret(VICTIM, ShareKind.MASK_KEY) is None


@pytest.mark.parametrize("drop", [1, 2, 3, 4])
def test_a_lie_about_u3_alone_gives_both_shares_up_to_the_stated_bound(drop):
    plan = secagg.plan(clients=N, corrupt=2, drop=drop)
    needed = plan.t - len(COLLUDERS)  # honest answers, twice
    liar = Liar(plan)
    for index in EVERYBODY:
        liar.deliver(index, EVERYBODY)
    others = sorted(EVERYBODY - {VICTIM, *COLLUDERS})
    for at, index in enumerate(others):
        liar.request(index, EVERYBODY if at < needed else EVERYBODY - {VICTIM})
    got = [liar.secret(VICTIM, kind) is not None for kind in ShareKind]
    assert all(got) == (2 * needed <= len(others))
    assert (2 * needed <= len(others)) == (drop == 4)


@pytest.mark.parametrize("plan", [SPARSE, secagg.plan(N, 2, 1, graph="k-regular")])
@pytest.mark.parametrize("victim", range(8))
def test_on_the_k_regular_graph_both_shares_fall_where_the_plans_bound_says(
    plan, victim
):
    liar = Liar(plan)
    for index in EVERYBODY:
        liar.deliver(index, EVERYBODY)
    colluding = liar.near[victim] & set(COLLUDERS)
    honest = sorted(liar.near[victim] - colluding)
    for at, index in enumerate(honest):
        told = EVERYBODY if at < plan.t - len(colluding) else EVERYBODY - {victim}
        liar.request(index, told)
    got = [liar.secret(victim, kind) is not None for kind in ShareKind]
    assert all(got) == (2 * plan.t <= plan.k + len(colluding))
