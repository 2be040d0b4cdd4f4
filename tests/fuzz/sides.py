"""A client, a server and an adder of ciphertexts, each in every state, under fire.

Each is rebuilt for a case, gets the hostile message, then what it would have got
anyway; what it did is checked against what it has promised.
"""

from collections.abc import Sequence

import numpy as np

from secagg.ciphertext import EncryptedInput, EncryptedTotal
from secagg.client import Client
from secagg.errors import (
    AbortError,
    DecodeError,
    LocalProtocolError,
    ParameterError,
    RemoteProtocolError,
)
from secagg.invite import SERVER, Step
from secagg.messages import decode, step_of
from secagg.reveal import UnmaskShares
from secagg.server import Server
from secagg.states import FINAL_STATES, State
from secagg.upload import MaskedInput
from tests.fuzz import corpus
from tests.fuzz.corpus import Round
from tests.fuzz.layers import Layer, walk, walk_alone

STEPS = {str(step) for step in Step}


# --- the server of an encrypted sum --------------------------------------------------


def feed_summer(data: bytes) -> Layer:
    """Offer a second upload; the sum changes exactly if it is accepted."""
    data = corpus.tagged("c1", data)  # or nothing would get further
    server = corpus.summer()
    before = server._total.copy()
    layer, _ = walk_alone(data, EncryptedInput.TAG, EncryptedInput.decode)
    try:
        server.add("c1", data)
    except RemoteProtocolError as error:
        assert (error.peer, error.step) == ("c1", Step.MASKED_INPUT)
        assert np.array_equal(server._total, before) and len(server.added) == 1
        return layer
    assert layer is Layer.CANONICAL and server.added == {"c0", "c1"}
    assert EncryptedTotal.decode(server.total()).count == 2
    return Layer.HANDLED


# --- a client ------------------------------------------------------------------------


def feed_client(round_: Round, requests: int, offered: bool, data: bytes) -> Layer:
    """Send a client one hostile message, then all that it would have received."""
    client = round_.client(requests, offered=offered)
    layer = walk(data, client._limits)
    replies = client.receive(data)
    if client.aborted:
        _check_fault(client, data)
    handled = not client.aborted
    sent = [*_honest_replies(round_, requests, offered=offered), *replies]
    if not offered:
        sent += _offer_late(round_, client)
    for genuine in round_.requests[requests:]:
        was_aborted = client.aborted
        more = client.receive(genuine)
        assert not (was_aborted and more), "an aborted client answered"
        sent += more
    _check_sent(round_, sent)
    if client.aborted:
        assert client.receive(data) == () and client._member is None
    return Layer.HANDLED if handled else layer


def _honest_replies(round_: Round, requests: int, *, offered: bool) -> list[bytes]:
    """Return what the client answered before, uploads only if it had a vector."""
    tags = [wire.data for wire in round_.answers if wire.sender == corpus.ONE]
    sent = tags[:requests]
    return [data for data in sent if offered or data[1] != MaskedInput.TAG]


def _offer_late(round_: Round, client: Client) -> tuple[bytes, ...]:
    over = client.state in FINAL_STATES
    try:
        sent = round_.offer(client)
    except LocalProtocolError:
        assert over
        return ()
    except ParameterError as error:  # the server proposed a sum of another length
        assert error.argument == "vector" and client.state is State.ADVERTISED
        return ()
    assert not over and len(sent) <= 1
    return sent


def _check_fault(client: Client, data: bytes) -> None:
    """An aborted client says whose fault it is, and in which step if that is known."""
    fault = client.fault
    assert isinstance(fault, RemoteProtocolError | AbortError) and str(fault)
    if not isinstance(fault, RemoteProtocolError):
        return
    peers = {SERVER, *corpus.ROUNDS["k-regular"].updates}
    assert fault.peer in peers, f"names {fault.peer!r}"
    assert fault.step in STEPS or (fault.step == "" and not _readable(data, client))


def _readable(data: bytes, client: Client) -> bool:
    try:
        return decode(data, client._limits).STEP is not None
    except DecodeError:
        return False


def _check_sent(round_: Round, sent: Sequence[bytes]) -> None:
    """Nobody answers one kind of request twice or reveals two shares of one peer."""
    tags = [data[1] for data in sent]
    assert len(set(tags)) == len(tags), f"answered twice: tags {tags}"
    for data in sent:
        message = decode(data, round_.limits)
        if isinstance(message, UnmaskShares):
            owners = [share.owner for share in message.shares]
            assert len(set(owners)) == len(owners) and message.sender not in owners


# --- a server ------------------------------------------------------------------------


def feed_server(round_: Round, answers: int, data: bytes) -> Layer:
    """Send the server one hostile message in a client's name, then end the round."""
    server = round_.server(answers)
    peer = round_.answers[answers].sender  # one whose answer is waited for
    layer = walk(data, server._limits)
    before = (server.state, server.waiting_for)
    sent = server.receive(peer, data)
    for name, message in sent:
        assert name in round_.updates and step_of(message) in {None, *Step}
    faults = server.faults
    if not faults:
        assert layer is Layer.CANONICAL or server.finished
    for fault in faults:
        assert (fault.peer, fault.error.peer) == (peer, peer)
        assert fault.step in STEPS and str(fault.error)
    if faults and (server.state, server.waiting_for) != before:
        # Refused for its body: that client is out, and the round may go on.
        assert peer not in server.waiting_for or server.state is not before[0]
    if data[-1:] < b"\x40":  # a quarter of the cases: it costs as much as the rest
        _end(round_, server, answers)
    return Layer.HANDLED if not faults else layer


def _end(round_: Round, server: Server, answers: int) -> None:
    """Deliver the recorded answers that are left: the exact sum, or a typed error."""
    for wire in round_.answers[answers + 1 :]:
        corpus.answer(server, wire)
    while not server.finished:
        server.timeout()
    assert not server.waiting_for
    try:
        out = server.result()
    except AbortError as error:
        assert str(error)
        return
    updates = round_.updates
    expected = np.mean([updates[name] for name in out.survivors], axis=0)
    assert np.abs(out.mean - expected).max() <= out.max_error
