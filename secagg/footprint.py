"""What each role holds in memory at once in a round, as counts of pieces and bytes.

The counts follow ``Member`` and ``Tally``: what they keep from step to step, the
messages that are in hand, and, along the vector, the most that is alive at one time.
``bytes_held`` prices them with sizes that the caller measured.  The server builds all
requests that open a step before the first leaves; they are counted in the step before.

This module measures nothing.  The caller's own vector and the interpreter are not in
its numbers.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from secagg.cost import Part, mask_bytes
from secagg.encode import layout
from secagg.invite import Step
from secagg.params import Plan
from secagg.states import Role
from secagg.traffic import Traffic
from secagg.turnout import Turnout


class Piece(StrEnum):
    """What is held; the value says what one is."""

    NAME = "roster name"
    KEYS = "public keys of a client"
    BOX = "box with its hashes"
    HELD = "opened shares and agreed secrets of a neighbour"
    SURVIVOR = "client in u3"
    SHARE = "revealed share"
    NEIGHBOUR = "neighbour in the server's table"
    UPLOAD_WORD = "word, at the peak of an upload"
    SUM_WORD = "word, at the peak of adding an upload to the sum"
    OPEN_WORD = "word, at the peak of unmasking and decoding"


@dataclass(frozen=True, slots=True)
class Held:
    """What one party holds: pieces, and bytes that need no measuring."""

    pieces: Counter[Piece]
    octets: int


def held(
    plan: Plan, turnout: Turnout, traffic: Mapping[Step, Traffic], *, length: int
) -> dict[Part, Held]:
    """Return what one client, and the server, hold at the peak of each step.

    Args:
        plan: May be one that can be planned only.
        turnout: Who answers; a client's neighbours are taken for the mean, rounded up.
        traffic: The bytes of the same round.
        length: Values in a vector.
    """
    return {
        **_client(plan, turnout, traffic, length),
        **_server(plan, turnout, traffic, length),
    }


def bytes_held(what: Held, piece_bytes: Mapping[Piece, float]) -> float:
    """Return the bytes of what is held, at given bytes for each piece."""
    pieces = sum(count * piece_bytes[piece] for piece, count in what.pieces.items())
    return what.octets + pieces


def _client(
    plan: Plan, t: Turnout, traffic: Mapping[Step, Traffic], length: int
) -> dict[Part, Held]:
    words = layout(plan.encoder, clients=plan.clients, length=length).words
    roster = Counter({Piece.NAME: t.clients})
    listed = Counter({Piece.KEYS: -(-t.listed // t.u1) + 1})
    dealt = Counter({Piece.BOX: -(-t.listed // t.u1)})
    near = -(-t.delivered // t.u2)
    opened = Counter({Piece.HELD: near})

    def messages(step: Step) -> int:
        asked, answered = t.answering(step)
        both = traffic[step]
        return -(-both.down // asked) + -(-both.up // answered)

    steps = {
        Step.ADVERTISE_KEYS: roster,
        Step.SHARE_KEYS: roster + listed + dealt,
        Step.MASKED_INPUT: roster
        + listed
        + opened
        + Counter({Piece.BOX: near, Piece.UPLOAD_WORD: words}),
        Step.UNMASK: roster + listed + opened + Counter({Piece.SURVIVOR: t.u3}),
    }
    return {
        (Role.CLIENT, step): Held(
            pieces, 0 if step is Step.MASKED_INPUT else messages(step)
        )
        for step, pieces in steps.items()
    }


def _server(
    plan: Plan, t: Turnout, traffic: Mapping[Step, Traffic], length: int
) -> dict[Part, Held]:
    words = layout(plan.encoder, clients=plan.clients, length=length).words
    total = mask_bytes(plan, length=length)
    table = 0 if plan.complete else t.clients * plan.k
    known = Counter({Piece.NAME: t.clients, Piece.KEYS: t.u1, Piece.NEIGHBOUR: table})
    boxes = known + Counter({Piece.BOX: t.dealt})
    lists = traffic[Step.SHARE_KEYS].down
    lists = lists // t.u1 if plan.complete else lists  # one for all
    steps = {
        Step.ADVERTISE_KEYS: Held(known, lists),
        Step.SHARE_KEYS: Held(boxes, traffic[Step.MASKED_INPUT].down),
        Step.MASKED_INPUT: Held(
            boxes + Counter({Piece.SUM_WORD: words}),
            total + traffic[Step.UNMASK].down,
        ),
        Step.UNMASK: Held(
            boxes + Counter({Piece.SHARE: t.revealed, Piece.OPEN_WORD: words}), total
        ),
    }
    return {(Role.SERVER, step): what for step, what in steps.items()}
