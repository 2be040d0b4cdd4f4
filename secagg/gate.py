"""The server's gate: is a message an answer to the open step, by its header alone?

Whatever does not pass is recorded and changes nothing, so that a late, repeated or
stray message costs nobody a place in the round.  This module reads no body and does not
know what the answers so far were.
"""

from __future__ import annotations

from secagg.dealing import SealedShares
from secagg.errors import RemoteProtocolError
from secagg.invite import NO_ROUND
from secagg.keylist import Advertise
from secagg.messages import Abort
from secagg.reveal import UnmaskShares
from secagg.states import FINAL_STATES, Event, Role, State, advance
from secagg.upload import MaskedInput
from secagg.wire import split_header

_EVENTS = {
    Advertise.TAG: Event.ADVERTISE,
    SealedShares.TAG: Event.SEALED_SHARES,
    MaskedInput.TAG: Event.MASKED_INPUT,
    UnmaskShares.TAG: Event.UNMASK_SHARES,
}


def check_expected(
    data: bytes, *, round_id: bytes, state: State, waiting: bool, gone: bool
) -> None:
    """Let pass an answer that is waited for, and one abort per client.

    Args:
        data: The message, as received.
        round_id: Of the server's round.
        state: What the server waits for.
        waiting: Whether this client's answer is still out.
        gone: Whether this client was left out before.

    Raises:
        RemoteProtocolError: It is neither (peer).
    """
    if state in FINAL_STATES:
        raise RemoteProtocolError("a message came after the end of the round.")
    tag, named = split_header(data)
    if tag == Abort.TAG and named == NO_ROUND and not gone:
        return  # the client could not read the invitation
    if named != round_id:
        raise RemoteProtocolError("a message belongs to another round.")
    if tag == Abort.TAG and not gone:
        return
    event = _EVENTS.get(tag)
    if event is None:
        raise RemoteProtocolError(f"a client sent a message with tag {tag}.")
    advance(Role.SERVER, state, event)
    if not waiting:
        raise RemoteProtocolError("a message was repeated or came too late.")
