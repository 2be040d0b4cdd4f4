"""A round between real clients and a real server in which every primitive is counted.

The oracle of ``secagg.cost`` and ``secagg.traffic``: it knows no formula.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import pytest

import secagg
from secagg.client import Client
from secagg.cost import Operation as Op
from secagg.graph import Harary, graph_of
from secagg.invite import Step
from secagg.keylist import KeyList, NeighbourKeys
from secagg.keys import AgreementKey, IdentityKey
from secagg.messages import step_of
from secagg.params import Plan
from secagg.ring import Ring
from secagg.server import Server
from secagg.states import Role
from secagg.sums import UploadSum
from secagg.turnout import Turnout, turnout_of
from tests.secagg.harness import CONTEXT, open_policy


@dataclass
class Count:
    """What happened, by role and step; bytes by direction and step."""

    work: dict[tuple[Role, Step], Counter[Op]] = field(default_factory=dict)
    down: Counter[Step] = field(default_factory=Counter)
    up: Counter[Step] = field(default_factory=Counter)
    turnout: Turnout | None = None
    part: tuple[Role, Step] = (Role.SERVER, Step.ADVERTISE_KEYS)
    decoding: bool = False

    def add(self, operation: Op, count: int = 1) -> None:
        if count:
            self.work.setdefault(self.part, Counter())[operation] += count


def play_counted(
    monkeypatch: pytest.MonkeyPatch,
    plan: Plan,
    length: int,
    gone: Mapping[int, Step],
    *,
    signed: bool = False,
) -> Count:
    """Play a round; the answer of client i to the step ``gone[i]`` is lost."""
    count = Count()
    names = [f"c{i}" for i in range(plan.clients)]
    keys = {name: IdentityKey.generate() for name in names} if signed else {}
    publics = {name: key.public for name, key in keys.items()} or None
    policy = open_policy(plan, roster=publics)
    with monkeypatch.context() as patch:
        _count_calls(patch, count)
        server = Server(
            plan, names, session=b"session", length=length, identities=publics
        )
        clients = [Client(plan, policy, me=name, key=keys.get(name)) for name in names]
        requests = list(server.start())
        silent: set[int] = set()
        while not server.finished:
            if not requests:
                requests = list(_at(count, Role.SERVER, count.part[1], server.timeout))
            following = []
            for name, request in requests:
                step, who = step_of(request), names.index(name)
                count.down[step] += len(request)
                if who in silent:
                    continue
                if step is Step.MASKED_INPUT:
                    count.part = (Role.CLIENT, step)
                    clients[who].offer(np.zeros(length), context=CONTEXT)
                answers = _at(count, Role.CLIENT, step, clients[who].receive, request)
                if gone.get(who) is step:
                    silent.add(who)
                    continue
                for answer in answers:
                    count.up[step] += len(answer)
                    following += _at(
                        count, Role.SERVER, step, server.receive, name, answer
                    )
            requests = following
        assert server.result().survivors
    count.turnout = _turnout(plan, server, gone)
    return count


def _at(count: Count, role: Role, step: Step, call: Callable, *arguments):
    count.part = (role, step)
    return call(*arguments)


def _turnout(plan: Plan, server: Server, gone: Mapping[int, Step]) -> Turnout:
    order = list(Step)
    left = [
        {i for i in range(plan.clients) if i not in gone or order.index(gone[i]) > at}
        for at in range(4)
    ]
    u1, u2, u3, u5 = left
    graph = graph_of(plan, server._round_id)
    return turnout_of(graph, clients=plan.clients, u1=u1, u2=u2, u3=u3, u5=u5)


def _count_calls(patch: pytest.MonkeyPatch, count: Count) -> None:
    """Wrap every primitive where it is looked up."""

    def after(
        owner: object, name: str, operation: Op, size: Callable = lambda *a, **k: 1
    ) -> None:
        real = getattr(owner, name)

        def wrapped(*arguments, **named):
            count.add(operation, size(*arguments, **named))
            return real(*arguments, **named)

        patch.setattr(owner, name, wrapped)

    def by_role(at_client: Op, at_server: Op) -> Callable[[int], None]:
        return lambda n: count.add(
            at_client if count.part[0] is Role.CLIENT else at_server, n
        )

    after(AgreementKey, "__init__", Op.KEY_PAIR)
    after(AgreementKey, "agree", Op.AGREEMENT)
    after(IdentityKey, "sign", Op.SIGNATURE)
    for module in (secagg.member, secagg.tally):
        after(module, "verify", Op.VERIFICATION)
    after(secagg.boxes, "deal", Op.DEALING)
    after(secagg.boxes, "close_box", Op.BOX_SEALED)
    after(secagg.member, "open_box", Op.BOX_OPENED)
    after(secagg.masks, "pair_key", Op.KEY_DERIVED)
    after(secagg.masks, "self_key", Op.KEY_DERIVED)
    after(secagg.recovery, "interpolate", Op.SECRET_RECOVERED, len)
    after(secagg.tally, "check_share", Op.SHARE_CHECKED)
    of_shares = secagg.shamir._RING
    after(
        Ring,
        "pack_into",
        Op.WORD_PACKED,
        lambda ring, words, view: len(words) * (ring is not of_shares),
    )
    after(UploadSum, "add", Op.WORD_SUMMED, lambda total, data: total._count)
    after(Harary, "neighbours", Op.NEIGHBOURHOOD)
    after(Harary, "tabulated", Op.PLACE, lambda graph: graph.order.size)
    after(secagg.invite, "_read_roster", Op.NAME, lambda reader, n: n)
    after(secagg.invite, "_roster_bytes", Op.NAME, lambda names: _built(count, names))
    _count_vectors(after, by_role(Op.MASK_BYTE, Op.UNMASK_BYTE), patch)
    _count_lists(patch, count)
    after(Client, "receive", Op.MESSAGE)
    after(Server, "receive", Op.MESSAGE)
    real_next = Server._next

    def following(server: Server, closing):
        sent = real_next(server, closing)
        count.add(Op.MESSAGE, len(set(data for _, data in sent)))
        return sent

    patch.setattr(Server, "_next", following)


def _built(count: Count, names) -> int:
    """Count names that a server puts into an invitation, not what a client rebuilds."""
    return 0 if count.decoding else len(names)


def _count_vectors(after, mask_bytes, patch: pytest.MonkeyPatch) -> None:
    after(
        secagg.encode,
        "encode",
        Op.VALUE_ENCODED,
        lambda e, where, *a, **k: where.length,
    )
    after(
        secagg.encode,
        "decode_sum",
        Op.VALUE_DECODED,
        lambda e, where, *a, **k: where.length,
    )
    real = secagg.masks.add_streams

    def add(total, keys, **more):
        mask_bytes(total.nbytes * len(keys))
        real(total, keys, **more)

    patch.setattr(secagg.masks, "add_streams", add)


def _count_lists(patch: pytest.MonkeyPatch, count: Count) -> None:
    """Count entries of lists that are read, or written but for a check of what was."""

    @contextmanager
    def reading() -> Iterator[None]:
        count.decoding = True
        try:
            yield
        finally:
            count.decoding = False

    entries = {
        "SealedShares": (Op.BOX_READ, Op.BOX_WRITTEN, lambda m: len(m.boxes)),
        "ShareDelivery": (Op.BOX_READ, Op.BOX_WRITTEN, lambda m: len(m.boxes)),
        "UnmaskRequest": (Op.SURVIVOR_READ, None, lambda m: len(m.survivors)),
        "UnmaskShares": (None, Op.SHARE_WRITTEN, lambda m: len(m.shares)),
        "KeyList": (Op.KEY_READ, Op.KEY_WRITTEN, lambda m: len(m.keys)),
        "NeighbourKeys": (Op.KEY_READ, Op.KEY_WRITTEN, lambda m: len(m.keys)),
        "Advertise": (Op.KEY_READ, None, lambda m: 1),
    }
    for module in (secagg.client, secagg.server):
        real = module.decode

        def decode(data, limits, real=real):
            with reading():
                message = real(data, limits)
            read, _, size = entries.get(type(message).__name__, (None, None, len))
            if read:
                count.add(read, size(message))
            return message

        patch.setattr(module, "decode", decode)
    for kind in (
        secagg.dealing.SealedShares,
        secagg.dealing.ShareDelivery,
        secagg.reveal.UnmaskShares,
        KeyList,
        NeighbourKeys,
    ):
        real = kind.encode

        def encode(message, real=real, entry=entries[kind.__name__]):
            if not count.decoding:
                count.add(entry[1], entry[2](message))
            return real(message)

        patch.setattr(kind, "encode", encode)
