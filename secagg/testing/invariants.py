"""What a server and its colluders could read, counted in shares.

From the messages that clients sent, late and lost ones too, this module works out which
secrets ``plan.corrupt`` colluders and the server can put together, and from those which
sums of uploads they can unmask: Bonawitz et al., CCS 2017, figure 4.  It looks at every
set of colluders.  It opens no box and computes no mask: it counts shares against the
threshold, and follows who shares a mask with whom.

A client that answers an unmask request which the server did not send it is counted as
a colluder: to it, the transport has become a server that lies.  Where there are more
such clients than the plan has colluders, nothing is guaranteed, and nothing is found.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations
from math import comb
from typing import Final

from secagg.boxes import ShareKind
from secagg.dealing import ShareDelivery
from secagg.encode import layout
from secagg.errors import DecodeError, ParameterError
from secagg.graph import server_graph
from secagg.invite import Limits
from secagg.messages import ProtocolMessage, decode
from secagg.params import Plan
from secagg.reveal import UnmaskRequest, UnmaskShares
from secagg.testing.rounds import Play
from secagg.upload import MaskedInput

MAX_COLLUDER_SETS: Final = 10_000

Members = frozenset[int]


@dataclass(frozen=True, slots=True)
class _View:
    """What the messages of a round show.

    Attributes:
        revealed: By kind of share and owner: who revealed one.
        partners: By uploader: whose pairwise masks are in its upload.
        survivors: u3, as the server named it, as far as they sent an upload.
        near: Who holds shares of whom.
    """

    revealed: Mapping[tuple[ShareKind, int], Members]
    partners: Mapping[int, Members]
    survivors: Members
    near: tuple[Members, ...]


def find_leak(played: Play) -> str:
    """Return in one sentence what was given away, or "" if nothing was.

    Guarantee: on "", no client answered twice or gave two kinds of share of one client,
    and no set of ``plan.corrupt`` colluders can, with all that clients sent, put
    together both secrets of another client, the mask key of a survivor, the own mask
    of a client that dropped, or unmask any sum but the one over all survivors.

    Raises:
        ParameterError: There are too many sets of colluders to look at (caller).
    """
    sent = [
        (exchange.client, message)
        for exchange in played.exchanges
        for answer in exchange.answers
        if (message := _read(played, answer)) is not None
    ]
    view = _view(played, sent)
    twice = _answered_twice(sent) or _both_kinds(view)
    if twice:
        return twice
    for colluders in _colluder_sets(played):
        found = _read_by(played, view, colluders)
        if found:
            names = ", ".join(played.invite.roster[i] for i in sorted(colluders))
            return f"{found} (colluders: {names or 'none'})"
    return ""


def survivors_asked_for(played: Play) -> Members:
    """Return u3, as the server named it in its requests."""
    named = set[int]()
    for _, data in played.requests:
        message = _read(played, data)
        if isinstance(message, UnmaskRequest):
            named.update(message.survivors)
    return frozenset(named)


def _read(played: Play, data: bytes) -> ProtocolMessage | None:
    """Decode a message; None for one that nobody could read."""
    clients = played.plan.clients
    where = layout(played.plan.encoder, clients=clients, length=played.invite.length)
    try:
        message = decode(data, Limits(clients, where.packed_bytes))
    except DecodeError:
        return None
    return message


def _view(played: Play, sent: list[tuple[int, ProtocolMessage]]) -> _View:
    revealed: dict[tuple[ShareKind, int], set[int]] = {}
    for holder, message in sent:
        if isinstance(message, UnmaskShares):
            for share in message.shares:
                revealed.setdefault((share.kind, share.owner), set()).add(holder)
    partners: dict[int, Members] = {}
    for exchange in played.exchanges:
        request = _read(played, exchange.request)
        uploads = [_read(played, answer) for answer in exchange.answers]
        if isinstance(request, ShareDelivery) and any(
            isinstance(upload, MaskedInput) for upload in uploads
        ):
            dealers = frozenset(dealer for dealer, _ in request.boxes)
            partners[exchange.client] = dealers
    return _View(
        revealed={key: frozenset(holders) for key, holders in revealed.items()},
        partners=partners,
        survivors=survivors_asked_for(played) & partners.keys(),
        near=_near(played.plan, played.invite.round_id),
    )


def _answered_twice(sent: list[tuple[int, ProtocolMessage]]) -> str:
    for kind in (MaskedInput, UnmaskShares):
        senders = [client for client, message in sent if isinstance(message, kind)]
        for client in senders:
            if senders.count(client) > 1:
                return f"client {client} sent {kind.__name__} twice."
    return ""


def _both_kinds(view: _View) -> str:
    for (kind, owner), holders in view.revealed.items():
        if kind is ShareKind.MASK_KEY:
            both = holders & view.revealed.get((ShareKind.SELF_MASK, owner), Members())
            if both:
                return f"client {min(both)} gave both shares of client {owner}."
    return ""


def _colluder_sets(played: Play) -> Iterator[Members]:
    """Return all sets of colluders, each with every client that was deceived."""
    plan = played.plan
    if comb(plan.clients, plan.corrupt) > MAX_COLLUDER_SETS:
        raise ParameterError(
            f"{plan.clients} clients have more than {MAX_COLLUDER_SETS} sets of "
            f"{plan.corrupt} colluders; test with a smaller cohort.",
            argument="plan",
        )
    deceived = _deceived(played)
    for colluders in combinations(range(plan.clients), plan.corrupt):
        if deceived <= set(colluders):
            yield frozenset(colluders)


def _deceived(played: Play) -> Members:
    """Return the clients that answered an unmask request that nobody sent them."""
    asked = set(played.requests)
    return frozenset(
        exchange.client
        for exchange in played.exchanges
        if (exchange.client, exchange.request) not in asked
        and any(
            isinstance(_read(played, answer), UnmaskShares)
            for answer in exchange.answers
        )
    )


def _read_by(played: Play, view: _View, colluders: Members) -> str:
    """Return what the server reads with these colluders beyond its due, or ""."""
    honest = frozenset(range(played.plan.clients)) - colluders

    def opened(kind: ShareKind) -> Members:
        """Return the honest clients whose secret of a kind can be put together."""
        return frozenset(
            v
            for v in honest
            if len((view.revealed.get((kind, v), Members()) | colluders) & view.near[v])
            >= played.plan.t
        )

    own, keys = opened(ShareKind.SELF_MASK), opened(ShareKind.MASK_KEY)
    for v in sorted(own & keys):
        return f"both secrets of client {v} can be put together."
    for v in sorted(keys & view.survivors):
        return f"the mask key of client {v}, a survivor, can be put together."
    for v in sorted(own - view.survivors):
        return f"the own mask of client {v}, which dropped, can be put together."
    due = view.survivors - colluders
    for group in _groups(view, honest, keys):
        if group <= own and group <= view.partners.keys() and group != due:
            members = ", ".join(str(v) for v in sorted(group))
            return f"the sum over clients {members} alone can be unmasked."
    return ""


def _groups(view: _View, honest: Members, keys: Members) -> Iterator[Members]:
    """Return for each honest uploader the smallest sum in which its masks can cancel.

    A mask that two honest clients share stays unknown until the key of one is opened;
    it cancels only in a sum that holds both.
    """
    for uploader in sorted(honest & view.partners.keys()):
        group, fresh = set[int](), {uploader}
        while fresh:
            v = fresh.pop()
            group.add(v)
            hidden = view.partners.get(v, Members()) & honest - keys
            fresh |= set() if v in keys else hidden - group
        yield frozenset(group)


@lru_cache(maxsize=16)
def _near(plan: Plan, round_id: bytes) -> tuple[Members, ...]:
    """Return the neighbours of each client; rounds of one plan share their graph."""
    graph = server_graph(plan, round_id)
    return tuple(graph.neighbours(v) for v in range(plan.clients))
