"""How far hostile bytes get before they are refused."""

from collections.abc import Callable
from enum import IntEnum
from typing import Protocol

from secagg.errors import DecodeError
from secagg.invite import Limits
from secagg.messages import MESSAGES, decode
from secagg.wire import HEADER_BYTES, Reader, split_header

_BY_TAG = {message.TAG: message for message in MESSAGES}


class Layer(IntEnum):
    """The last check that a case passed, in the order in which a decoder makes them."""

    NOTHING = 0
    HEADER = 1  # long enough, and of this version
    TAG = 2  # of a message there is
    CAP = 3  # no longer than the message may be
    BODY = 4  # every field reads, and the message holds its own invariants
    CANONICAL = 5  # encodes to the same bytes again
    HANDLED = 6  # kept by the client, the server or the adder of ciphertexts


class Encodable(Protocol):
    """What a decoder returns."""

    def encode(self) -> bytes:
        """Return the canonical bytes."""


def walk(data: bytes, limits: Limits) -> Layer:
    """Return how far a message of a round gets, and check that ``decode`` agrees.

    The walk makes the checks one by one; ``decode`` has to accept exactly what passes
    all of them, and to refuse the rest with a ``DecodeError`` that says why.
    """
    layer = _walk(data, limits)
    try:
        message = decode(data, limits)
    except DecodeError as error:
        assert layer < Layer.CANONICAL, f"decode refused a canonical message: {error}"
        assert str(error).endswith("."), f"no sentence: {error}"
        return layer
    assert layer is Layer.CANONICAL, f"decode accepted what got to {layer.name}"
    assert message.encode() == data, "re-encodes to other bytes"
    return layer


def _walk(data: bytes, limits: Limits) -> Layer:
    try:
        tag, round_id = split_header(data)
    except DecodeError:
        return Layer.NOTHING
    kind = _BY_TAG.get(tag)
    if kind is None:
        return Layer.HEADER
    if len(data) > HEADER_BYTES + kind.cap(limits):
        return Layer.TAG
    reader = Reader(data, HEADER_BYTES)
    try:
        message = kind.read(round_id, reader, limits)
        reader.end()
    except DecodeError:
        return Layer.CAP
    return Layer.CANONICAL if message.encode() == data else Layer.BODY


def walk_alone(
    data: bytes, tag: int, read: Callable[[bytes], Encodable]
) -> tuple[Layer, Encodable | None]:
    """Return how far a message gets that its class decodes alone, and the message.

    Its size follows from its fields, so the cap and the body are one check.
    """
    try:
        found, _ = split_header(data)
        layer = Layer.TAG if found == tag else Layer.HEADER
    except DecodeError:
        layer = Layer.NOTHING
    try:
        message = read(data)
    except DecodeError as error:
        assert str(error).endswith("."), f"no sentence: {error}"
        return layer, None
    assert layer is Layer.TAG, f"decoded a message that got to {layer.name}"
    assert message.encode() == data, "re-encodes to other bytes"
    return Layer.CANONICAL, message
