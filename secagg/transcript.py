"""What the server saw in a round, and what it can read off a single upload.

A ``Transcript`` is self-describing: the uploads are decoded from the very bytes that
crossed the wire, with the parameters found in the invitations.  For a masked upload
this is what a server gets that treats it as an unprotected vector.  This module decides
nothing about privacy; it only hands the server's view to whoever audits it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from secagg import encode
from secagg.approximate import ApproximateInput
from secagg.ciphertext import EncryptedInput
from secagg.feasibility import MAX_SPARSE_CLIENTS
from secagg.invite import SERVER, Invite, Limits
from secagg.messages import decode, step_of
from secagg.upload import MaskedInput, PlainInput
from secagg.wire import split_header


@dataclass(frozen=True, slots=True)
class Wire:
    """One message as it crossed the wire; the server's name is ``"server"``."""

    step: str
    sender: str
    receiver: str
    data: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, eq=False)
class Upload:
    """One client's upload, read as an unprotected vector.

    Attributes:
        vector: shape (length,), in the units of the input.
        weight: The weight, if it can be read.
        known: Which coordinates are known to be of the input, shape (length,), where
            only a part of it can be read; None where all are taken at face value.
    """

    vector: NDArray[np.float64] = field(repr=False)
    weight: float | None
    known: NDArray[np.bool_] | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Transcript:
    """Every message to and from the server, in order."""

    messages: tuple[Wire, ...] = field(repr=False)

    def bytes_up(self, clients: Iterable[str]) -> dict[str, int]:
        """Return the bytes that each client sent."""
        sent = Counter[str]()
        for wire in self.messages:
            sent[wire.sender] += len(wire.data)
        return {client: sent[client] for client in clients}

    def bytes_down(self, clients: Iterable[str]) -> dict[str, int]:
        """Return the bytes that were sent to each client."""
        received = Counter[str]()
        for wire in self.messages:
            received[wire.receiver] += len(wire.data)
        return {client: received[client] for client in clients}

    def uploads(self) -> dict[str, Upload]:
        """Read each client's upload as an unprotected vector.

        For ``PlainSum`` this is the client's vector and weight.  For ``PairwiseMask``
        it is the masked words, centred and brought to units, and for an encrypted
        sum the coefficients of the ciphertext alike; no weight is legible.
        """
        invite: Invite | None = None
        read = b""  # the same invitation goes to all, and each is as long as the roster
        uploads: dict[str, Upload] = {}
        for wire in self.messages:
            if wire.receiver == SERVER and step_of(wire.data) == "masked_input":
                uploads[wire.sender] = _read(wire.data, invite)
            elif (
                wire.sender == SERVER
                and wire.data != read
                and split_header(wire.data)[0] == Invite.TAG
            ):
                message = decode(wire.data, Limits(MAX_SPARSE_CLIENTS))
                invite = message if isinstance(message, Invite) else invite
                read = wire.data
        return uploads


def _read(data: bytes, invite: Invite | None) -> Upload:
    """Read an upload with the parameters of the last invitation."""
    if data[1] == EncryptedInput.TAG:
        return Upload(EncryptedInput.decode(data).legible(), None)
    if data[1] == ApproximateInput.TAG:
        return Upload(ApproximateInput.decode(data).legible(), None)
    if data[1] == PlainInput.TAG or invite is None:
        plain = PlainInput.decode(data)
        return Upload(plain.values().astype(np.float64), float(plain.weight))
    encoder = invite.plan.encoder
    where = encode.layout(encoder, clients=invite.plan.clients, length=invite.length)
    limits = Limits(invite.plan.clients, where.packed_bytes)
    message = decode(data, limits)
    packed: bytes | memoryview = b""
    context = b""
    if isinstance(message, MaskedInput):
        packed, context = message.packed, message.context
    words = where.ring.unpack(packed, where.words)[: where.length]
    values = where.ring.center(words).astype(np.float64)
    return Upload(encode.in_units(encoder, values, context), None)
