"""Who may do what, when: one table of transitions for both roles.

A state says what a side waits for; an event is a message that arrives or a call by the
caller.  Whatever is not in the table is illegal: a caller gets ``LocalProtocolError``,
a peer's message becomes ``RemoteProtocolError``.  Aborting is legal in every state that
is not final and is therefore not in the table.

This module holds no data of a round and does not know what the messages carry.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from types import MappingProxyType
from typing import Final

from secagg.errors import LocalProtocolError, RemoteProtocolError


class Role(Enum):
    """The two sides."""

    CLIENT = "client"
    SERVER = "server"


class State(Enum):
    """What a side waits for; a client's states also say if it holds a vector."""

    # Client, without and with a vector offered.
    NEW = "new"
    NEW_OFFERED = "new, vector offered"
    ADVERTISED = "keys advertised"
    ADVERTISED_OFFERED = "keys advertised, vector offered"
    SHARED = "shares sent"
    SHARED_OFFERED = "shares sent, vector offered"
    READY = "ready to upload"
    PREPARED = "ready to upload, masks prepared"
    UPLOADED = "masked input sent"
    # Server.
    CREATED = "created"
    ADVERTISING = "collecting keys"
    SHARING = "collecting shares"
    MASKING = "collecting masked inputs"
    UNMASKING = "collecting unmask shares"
    # Both; these two are final.
    FINISHED = "finished"
    ABORTED = "aborted"


class Event(Enum):
    """What moves a side."""

    # Messages to a client.
    INVITE = "an invitation"
    KEY_LIST = "a key list"
    SHARE_DELIVERY = "a share delivery"
    UNMASK_REQUEST = "an unmask request"
    # Messages to the server.
    ADVERTISE = "advertised keys"
    SEALED_SHARES = "sealed shares"
    MASKED_INPUT = "a masked input"
    UNMASK_SHARES = "unmask shares"
    # Calls by the caller.
    OFFER = "offer()"
    PREPARE = "prepare()"
    START = "start()"
    CLOSE = "timeout()"  # also fired when the last expected answer is in


LOCAL_EVENTS: Final = frozenset({Event.OFFER, Event.PREPARE, Event.START, Event.CLOSE})
FINAL_STATES: Final = frozenset({State.FINISHED, State.ABORTED})

TRANSITIONS: Final[Mapping[tuple[Role, State, Event], State]] = MappingProxyType(
    {
        (Role.CLIENT, State.NEW, Event.OFFER): State.NEW_OFFERED,
        (Role.CLIENT, State.NEW, Event.INVITE): State.ADVERTISED,
        (Role.CLIENT, State.NEW_OFFERED, Event.INVITE): State.ADVERTISED_OFFERED,
        (Role.CLIENT, State.ADVERTISED, Event.OFFER): State.ADVERTISED_OFFERED,
        (Role.CLIENT, State.ADVERTISED, Event.KEY_LIST): State.SHARED,
        (Role.CLIENT, State.ADVERTISED_OFFERED, Event.KEY_LIST): State.SHARED_OFFERED,
        (Role.CLIENT, State.SHARED, Event.OFFER): State.SHARED_OFFERED,
        (Role.CLIENT, State.SHARED, Event.SHARE_DELIVERY): State.READY,
        (Role.CLIENT, State.SHARED_OFFERED, Event.SHARE_DELIVERY): State.UPLOADED,
        (Role.CLIENT, State.READY, Event.OFFER): State.UPLOADED,
        (Role.CLIENT, State.READY, Event.PREPARE): State.PREPARED,
        (Role.CLIENT, State.PREPARED, Event.OFFER): State.UPLOADED,
        (Role.CLIENT, State.UPLOADED, Event.UNMASK_REQUEST): State.FINISHED,
        (Role.SERVER, State.CREATED, Event.START): State.ADVERTISING,
        (Role.SERVER, State.ADVERTISING, Event.ADVERTISE): State.ADVERTISING,
        (Role.SERVER, State.ADVERTISING, Event.CLOSE): State.SHARING,
        (Role.SERVER, State.SHARING, Event.SEALED_SHARES): State.SHARING,
        (Role.SERVER, State.SHARING, Event.CLOSE): State.MASKING,
        (Role.SERVER, State.MASKING, Event.MASKED_INPUT): State.MASKING,
        (Role.SERVER, State.MASKING, Event.CLOSE): State.UNMASKING,
        (Role.SERVER, State.UNMASKING, Event.UNMASK_SHARES): State.UNMASKING,
        (Role.SERVER, State.UNMASKING, Event.CLOSE): State.FINISHED,
    }
)


def advance(role: Role, state: State, event: Event) -> State:
    """Return the state after an event.

    Raises:
        LocalProtocolError: The event is a call that is illegal now (caller).
        RemoteProtocolError: The event is a message that is illegal now (peer).
    """
    following = TRANSITIONS.get((role, state, event))
    if following is not None:
        return following
    legal = [e.value for r, s, e in TRANSITIONS if (r, s) == (role, state)]
    expected = " or ".join(legal) if legal else "nothing more"
    sentence = (
        f"{role.value} in state {state.value!r} got {event.value}, expected {expected}."
    )
    if event in LOCAL_EVENTS:
        raise LocalProtocolError(sentence)
    raise RemoteProtocolError(sentence)
