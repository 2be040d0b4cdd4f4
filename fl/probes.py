"""Pieces of a round to time: each calls what ``Client`` and ``Server`` call.

A probe stands for a number of operations of one kind, at the sizes of the plan.  What
would take too long at that size is made smaller: lists of names, dealings among
thousands, vectors (``vector_probes``).  Everything drawn here is thrown away.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count, cycle
from typing import Final

import numpy as np

import secagg
from fl.probe import Probe
from fl.vector_probes import vector_probes
from secagg import masks
from secagg.boxes import (
    Box,
    HeldShares,
    Route,
    ShareKind,
    check_share,
    close_box,
    open_box,
    seed_commitment,
)
from secagg.cost import Operation
from secagg.dealing import SealedShares, ShareDelivery
from secagg.graph import Harary, graph_of
from secagg.invite import Invite, Limits
from secagg.keylist import KeyList, NeighbourKeys, PublicKeys
from secagg.keys import AgreementKey, IdentityKey, Secret, verify
from secagg.messages import decode
from secagg.reveal import RevealedShare, UnmaskRequest, UnmaskShares
from secagg.shamir import MAX_HOLDERS, Share, deal, interpolate, limbs_to_secret

ID: Final = bytes(range(32))
_MOST_NAMES: Final = 1024
_MOST_ENTRIES: Final = 128
_MOST_PLACES: Final = 512
_MOST_HOLDERS: Final = 1024
_RECOVERED_POINTS: Final = 1 << 18


def probes(plan: secagg.Plan, *, length: int) -> list[Probe]:
    """Return a probe for each operation but ``MESSAGE``.

    Args:
        plan: May be one that can be planned only.
        length: Values in a vector.
    """
    return [*_keys(), *_lists(plan), *_shares(plan), *vector_probes(plan, length)]


def _keys() -> Iterator[Probe]:
    op = Operation
    own, peer = AgreementKey.generate(), AgreementKey.generate()
    agreed = own.agree(peer.public)
    binding = masks.Binding(ID, ID)
    identity = IdentityKey.generate()
    signed = identity.sign(ID)
    yield Probe(op.KEY_PAIR, AgreementKey.generate)
    yield Probe(op.AGREEMENT, lambda: own.agree(peer.public).wipe())
    yield Probe(
        op.KEY_DERIVED,
        lambda: masks.pair_key(agreed, pair=(1, 2), binding=binding, context=ID).wipe(),
    )
    yield Probe(op.SIGNATURE, lambda: identity.sign(ID))
    yield Probe(op.VERIFICATION, lambda: verify(identity.public, ID, signed))


def _lists(plan: secagg.Plan) -> Iterator[Probe]:
    """Messages that hold one entry per client or neighbour, and who is a neighbour."""
    op = Operation
    entries = min(plan.k, _MOST_ENTRIES)
    limits = Limits(max(entries + 1, min(plan.clients, _MOST_NAMES)))
    yield _names(plan, limits)
    keys = tuple(
        PublicKeys(i, AgreementKey.generate().public, AgreementKey.generate().public)
        for i in range(entries + 1)
    )

    def key_list() -> bytes:
        if plan.complete:
            return KeyList(ID, keys).encode()
        return NeighbourKeys(ID, 0, ID, keys).encode()

    listed = key_list()
    yield Probe(op.KEY_WRITTEN, key_list, len(keys))
    yield Probe(op.KEY_READ, lambda: decode(listed, limits), len(keys))
    box = Box(bytes(16), bytes(16), bytes(84))
    boxes = tuple((i + 1, box) for i in range(entries))
    sealed = SealedShares(ID, 0, ID, boxes).encode()
    yield Probe(
        op.BOX_WRITTEN, lambda: ShareDelivery(ID, 0, boxes).encode(), len(boxes)
    )
    yield Probe(op.BOX_READ, lambda: decode(sealed, limits), len(boxes))
    survivors = frozenset(range(limits.clients))
    request = UnmaskRequest(ID, 0, survivors).encode()
    names = [f"client-{i:06d}" for i in range(limits.clients)]

    def read_survivors() -> frozenset[str]:
        read = decode(request, limits)
        assert isinstance(read, UnmaskRequest)
        return frozenset(names[index] for index in read.survivors)

    yield Probe(op.SURVIVOR_READ, read_survivors, limits.clients)
    graph = graph_of(plan, ID)
    if isinstance(graph, Harary):
        turn = count()
        some = range(min(plan.clients, _MOST_PLACES))
        yield Probe(
            op.NEIGHBOURHOOD, lambda: graph.neighbours(next(turn) % plan.clients)
        )
        yield Probe(op.PLACE, lambda: _places(graph, some), len(some))


def _names(plan: secagg.Plan, limits: Limits) -> Probe:
    few = limits.clients
    small = secagg.plan(few, 1, 0, graph="complete")
    names = tuple(f"client-{i:06d}" for i in range(few))
    invite = Invite(b"session", small, names, 1).encode()

    def read() -> int:
        read = decode(invite, limits)
        assert isinstance(read, Invite)
        return read.roster.index(names[few // 2])

    return Probe(Operation.NAME, read, few)


def _places(graph: Harary, some: range) -> list[frozenset[int]]:
    """Do what ``tabulated`` does, for some places."""
    ring = graph.order.points(some)
    near = range(1, graph.degree + 1)
    return [frozenset(ring[(at + away) % len(ring)] for away in near) for at in some]


def _shares(plan: secagg.Plan) -> Iterator[Probe]:
    op = Operation
    agreed, secrets = Secret(ID), (Secret(ID), Secret(ID))
    k = min(plan.k, _MOST_HOLDERS)
    t = max(1, plan.t * k // plan.k)
    turn = count(1)

    def dealing() -> list[tuple[Share, ...]]:
        first = next(turn) % 1000  # other holders each time, as for each client
        return list(deal(secrets, threshold=t, holders=range(first, first + k)))

    # The matrix product grows with the square of the neighbourhood.
    yield Probe(op.DEALING, dealing, (k / plan.k) ** 2 if k < plan.k else 1)
    dealt = next(iter(deal(secrets, threshold=1, holders=[3])))
    route, held = Route(ID, 1, 2), HeldShares(*dealt)
    box = close_box(agreed, route, held)
    yield Probe(op.BOX_SEALED, lambda: close_box(agreed, Route(ID, 1, 2), held))
    yield Probe(op.BOX_OPENED, lambda: open_box(agreed, Route(ID, 1, 2), box))
    entries = min(plan.k, _MOST_ENTRIES)
    limits = Limits(entries + 1)
    kept = {owner + 1: held for owner in range(entries)}

    def write() -> bytes:
        revealed = []
        for owner, shares in sorted(kept.items()):
            kind = ShareKind.SELF_MASK if owner in kept else ShareKind.MASK_KEY
            revealed.append(RevealedShare(owner, kind, shares.of(kind).value))
        return UnmaskShares(ID, 0, tuple(revealed)).encode()

    written = write()

    def check() -> list[tuple[int, Share]]:
        read = decode(written, limits)
        assert isinstance(read, UnmaskShares)
        accepted = []
        for one in read.shares:
            share = Share(3, one.value)
            check_share(Route(ID, 1, 2), one.kind, share, box.commitment(one.kind))
            accepted.append((one.owner, share))
        return accepted

    yield Probe(op.SHARE_WRITTEN, write, entries)
    yield Probe(op.SHARE_CHECKED, check, entries)
    yield _recovery(plan, t, k)


def _recovery(plan: secagg.Plan, t: int, k: int) -> Probe:
    """Recover for a part of the owners, with holders as different as theirs."""
    owners = min(plan.clients, max(8, _RECOVERED_POINTS // t**2))
    step = max(1, plan.clients // owners)
    value = next(iter(deal([Secret(ID)], threshold=1, holders=[1])))[0].value

    def holders(owner: int) -> range | list[int]:
        if plan.complete:  # the lowest that are not the owner
            return [x for x in range(t + 1) if x != owner * step][:t]
        first = owner % (MAX_HOLDERS - 2 * t)
        return range(first, first + t)

    def some(turn: int) -> list[list[Share]]:
        return [
            [Share(turn + x, value) for x in holders(owner)] for owner in range(owners)
        ]

    # More sets of holders, in turn, than there are cached weights.
    turns = cycle([some(turn) for turn in range(1, 7)])

    def recover() -> None:
        lowest = [
            sorted(shares, key=lambda share: share.x)[:t] for shares in next(turns)
        ]
        for limbs in interpolate(lowest):
            seed_commitment(ID, 1, limbs_to_secret(np.minimum(limbs, 1)))

    return Probe(Operation.SECRET_RECOVERED, recover, owners * (t / plan.t) ** 2)
