"""What a round makes each role compute in each step, as counts of unit operations.

Steps and sets are those of Bonawitz et al., CCS 2017, figure 4, on the graph of the
plan.  ``work`` counts; ``cpu_seconds`` prices the counts with unit costs that the
caller measured.  Guarantee: the counts of cryptographic operations, list entries, words
and keystream bytes are those of the code, not of the paper; the tests play rounds and
compare them one by one.

This module measures nothing and has no clock.  It counts what grows with clients,
neighbours or vector; what happens once per message is one ``MESSAGE``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from enum import StrEnum
from typing import Final, TypeAlias

from secagg.encode import layout
from secagg.invite import Step
from secagg.params import Plan
from secagg.states import Role
from secagg.turnout import Turnout


class Operation(StrEnum):
    """What is counted; the value says what one is."""

    MESSAGE = "message handled"
    NAME = "roster name read"
    NEIGHBOURHOOD = "neighbourhood found by a client"
    PLACE = "place in the ring found by the server"
    KEY_PAIR = "X25519 key pair"
    AGREEMENT = "X25519 agreement"
    KEY_WRITTEN = "client's keys put on a list"
    KEY_READ = "client's keys read off a list"
    SIGNATURE = "Ed25519 signature"
    VERIFICATION = "Ed25519 verification"
    DEALING = "dealing of two secrets"
    BOX_SEALED = "box of shares sealed"
    BOX_OPENED = "box of shares opened"
    BOX_WRITTEN = "box put on a list"
    BOX_READ = "box read off a list"
    KEY_DERIVED = "mask key derived"
    VALUE_ENCODED = "value encoded"
    MASK_BYTE = "keystream byte added by a client"
    WORD_PACKED = "word packed"
    WORD_SUMMED = "word unpacked and summed"
    SURVIVOR_READ = "survivor read off u3"
    SHARE_WRITTEN = "share put on a list"
    SHARE_CHECKED = "share read off a list and checked"
    SECRET_RECOVERED = "secret recovered from shares"
    UNMASK_BYTE = "keystream byte taken off by the server"
    VALUE_DECODED = "value decoded"


VECTOR_OPERATIONS: Final = frozenset(
    {
        Operation.VALUE_ENCODED,
        Operation.MASK_BYTE,
        Operation.WORD_PACKED,
        Operation.WORD_SUMMED,
        Operation.UNMASK_BYTE,
        Operation.VALUE_DECODED,
    }
)
"""Work along the vector: it splits by range, over cores or over machines."""

Part: TypeAlias = tuple[Role, Step]
Work: TypeAlias = Counter[Operation]


def work(
    plan: Plan, turnout: Turnout, *, length: int, signed: bool = False
) -> dict[Part, Work]:
    """Count the operations of a round by role and step, all clients together.

    Args:
        plan: May be one that can be planned only.
        turnout: Who answers.  A client that vanishes in a step has done its work.
        length: Values in a vector.
        signed: Whether clients sign their keys, and check each other's.

    Returns:
        At the server, what follows the last answer of a step, up to the requests that
        open the next one, belongs to that step.
    """
    parts = {
        **_client_parts(plan, turnout, length, signed),
        **_server_parts(plan, turnout, length, signed),
    }
    return {
        part: Counter({op: n for op, n in parts[part].items() if n}) for part in parts
    }


def cpu_seconds(counts: Work, unit_seconds: Mapping[Operation, float]) -> float:
    """Return the CPU seconds of some operations at given seconds for each."""
    return sum(count * unit_seconds[operation] for operation, count in counts.items())


def mask_bytes(plan: Plan, *, length: int) -> int:
    """Return the keystream bytes of one mask: a native word for each word."""
    where = layout(plan.encoder, clients=plan.clients, length=length)
    return where.words * where.ring.word // 8


def _client_parts(
    plan: Plan, t: Turnout, length: int, signed: bool
) -> dict[Part, Work]:
    op, n = Operation, t.clients
    words = layout(plan.encoder, clients=n, length=length).words
    masks = t.delivered + t.u2  # pairwise ones, and the own
    return {
        (Role.CLIENT, Step.ADVERTISE_KEYS): Counter(
            {
                op.MESSAGE: n,
                op.NAME: n * n,
                op.NEIGHBOURHOOD: n * (not plan.complete),
                op.KEY_PAIR: 2 * n,
                op.SIGNATURE: n * signed,
            }
        ),
        (Role.CLIENT, Step.SHARE_KEYS): Counter(
            {
                op.MESSAGE: t.u1,
                op.KEY_READ: t.listed + t.u1,
                op.KEY_WRITTEN: (t.listed + t.u1) * plan.complete,  # to hash the list
                op.VERIFICATION: t.listed * signed,
                op.AGREEMENT: t.listed,  # of box keys
                op.DEALING: t.u1,
                op.BOX_SEALED: t.listed,
                op.BOX_WRITTEN: t.listed,
            }
        ),
        (Role.CLIENT, Step.MASKED_INPUT): Counter(
            {
                op.MESSAGE: t.u2,
                op.BOX_READ: t.delivered,
                op.BOX_OPENED: t.delivered,
                op.AGREEMENT: t.delivered,  # of mask keys
                op.KEY_DERIVED: masks,
                op.VALUE_ENCODED: t.u2 * length,
                op.MASK_BYTE: masks * mask_bytes(plan, length=length),
                op.WORD_PACKED: t.u2 * words,
            }
        ),
        (Role.CLIENT, Step.UNMASK): Counter(
            {op.MESSAGE: t.u3, op.SURVIVOR_READ: t.u3 * t.u3, op.SHARE_WRITTEN: t.asked}
        ),
    }


def _server_parts(
    plan: Plan, t: Turnout, length: int, signed: bool
) -> dict[Part, Work]:
    op, n = Operation, t.clients
    words = layout(plan.encoder, clients=n, length=length).words
    lists = 1 if plan.complete else t.u1  # one for all, or each client its own
    # Besides, the list of all is written to be hashed.
    written = t.u1 + (t.u1 if plan.complete else t.listed + t.u1)
    return {
        (Role.SERVER, Step.ADVERTISE_KEYS): Counter(
            {
                op.MESSAGE: t.u1 + lists,
                op.NAME: 2 * n,  # hashed, and put into the invitation
                op.PLACE: n * (not plan.complete),
                op.KEY_READ: t.u1,
                op.VERIFICATION: t.u1 * signed,
                op.KEY_WRITTEN: written,
            }
        ),
        (Role.SERVER, Step.SHARE_KEYS): Counter(
            {
                op.MESSAGE: 2 * t.u2,
                op.BOX_READ: t.dealt,
                op.BOX_WRITTEN: t.delivered,
            }
        ),
        (Role.SERVER, Step.MASKED_INPUT): Counter(
            {op.MESSAGE: 2 * t.u3, op.WORD_SUMMED: t.u3 * words}
        ),
        (Role.SERVER, Step.UNMASK): Counter(
            {
                op.MESSAGE: t.u5,
                op.SHARE_CHECKED: t.revealed,
                op.SECRET_RECOVERED: t.u2,
                op.KEY_PAIR: t.u2 - t.u3,
                op.AGREEMENT: t.orphaned,
                op.KEY_DERIVED: t.u3 + t.orphaned,
                op.UNMASK_BYTE: (t.u3 + t.orphaned) * mask_bytes(plan, length=length),
                op.VALUE_DECODED: length,
            }
        ),
    }
