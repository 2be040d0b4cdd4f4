"""The bytes of a round, from the encodings of its messages.

docs/protocol.md, "Every byte", has the encodings.  Guarantee: for a round that can run,
the totals equal those of the bytes that ``Server`` and ``Client`` exchange, aborts
excepted.  Beyond 65,535 clients, where roster indices and counts no longer fit their
two bytes, they are taken to have four.

This module encodes nothing and knows no transport: framing and encryption of the
connection come on top.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from secagg import usage
from secagg.boxes import BOX_BYTES, COMMITMENT_BYTES
from secagg.encode import layout
from secagg.feasibility import check_range
from secagg.invite import MAX_NAME_BYTES, MAX_SESSION_BYTES, Step
from secagg.keys import PUBLIC_BYTES, SIGNATURE_BYTES
from secagg.params import PLAN_BYTES, Plan
from secagg.shamir import SHARE_BYTES
from secagg.turnout import Turnout
from secagg.wire import HEADER_BYTES

MAX_INDEXED: Final = (1 << 16) - 1
"""Clients whose count and indices fit the two bytes that messages have for them."""

_LENGTH_BYTES: Final = 4
_FLAG_BYTES: Final = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Wiring:
    """What sizes of messages depend on, beside plan and length.

    Attributes:
        session_bytes: Of the session's name.
        name_bytes: Of all clients' names together, in UTF-8.
        signed: Whether clients sign their keys.

    Raises:
        ParameterError: The session's name has an impossible size (caller).
    """

    session_bytes: int
    name_bytes: int
    signed: bool = False

    def __post_init__(self) -> None:
        check_range("session_bytes", self.session_bytes, 1, MAX_SESSION_BYTES)


@dataclass(frozen=True, slots=True)
class Traffic:
    """Bytes of one step, all clients together.

    Attributes:
        down: Sent by the server, to whoever the step asks.
        up: Received by the server.
    """

    down: int
    up: int


def traffic(
    plan: Plan, turnout: Turnout, *, length: int, wiring: Wiring
) -> dict[Step, Traffic]:
    """Return the bytes of each step.

    Args:
        plan: May be one that can be planned only.
        turnout: Who answers.
        length: Values in a vector.
        wiring: Names and signatures.

    Raises:
        ParameterError: The names do not fit the clients (caller).
    """
    n = plan.clients
    check_range("name_bytes", wiring.name_bytes, n, n * MAX_NAME_BYTES)
    index = 2 if n <= MAX_INDEXED else 4
    entry_keys = index + 2 * PUBLIC_BYTES + _FLAG_BYTES
    entry_keys += SIGNATURE_BYTES if wiring.signed else 0
    entry_box = index + 2 * COMMITMENT_BYTES + BOX_BYTES
    entry_share = index + 1 + SHARE_BYTES
    plan_bytes = (
        max(PLAN_BYTES.values()) if not plan.complete else min(PLAN_BYTES.values())
    )
    invite = HEADER_BYTES + 2 + wiring.session_bytes + plan_bytes + _LENGTH_BYTES
    invite += index + n + wiring.name_bytes
    words = layout(plan.encoder, clients=n, length=length)
    t = turnout
    if plan.complete:
        keys = t.u1 * (HEADER_BYTES + index) + (t.listed + t.u1) * entry_keys
    else:
        head = HEADER_BYTES + index + usage.DIGEST_BYTES + index
        keys = t.u1 * head + (t.listed + t.u1) * entry_keys
    dealing = HEADER_BYTES + index + usage.DIGEST_BYTES + index
    upload = HEADER_BYTES + index + usage.DIGEST_BYTES + words.packed_bytes
    lists = HEADER_BYTES + 2 * index
    return {
        Step.ADVERTISE_KEYS: Traffic(n * invite, t.u1 * (HEADER_BYTES + entry_keys)),
        Step.SHARE_KEYS: Traffic(keys, t.u2 * dealing + t.dealt * entry_box),
        Step.MASKED_INPUT: Traffic(
            t.u2 * lists + t.delivered * entry_box, t.u3 * upload
        ),
        Step.UNMASK: Traffic(
            t.u3 * (lists + -(-t.reach // 8)), t.u5 * lists + t.revealed * entry_share
        ),
    }
