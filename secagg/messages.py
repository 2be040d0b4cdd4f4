"""The messages of a round and their one canonical encoding.

Bonawitz et al., CCS 2017, figure 4, without the consistency round.  Every message is::

    version (1) | tag (1) | round id (32) | body

with little-endian integers, fixed-size fields, and lists sorted by roster index behind
a two-byte count.  ``decode`` checks the size of the raw bytes against a cap before it
reads them, refuses trailing bytes, and refuses any encoding but the one that ``encode``
gives.  A message checks its own invariants when it is built, on either side.  The
messages of step 0 are in ``invite``.

This module keeps no state, does no cryptography beyond the round id, and never decodes
anything but these classes.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from secagg import usage
from secagg.boxes import BOX_BYTES, COMMITMENT_BYTES, Box, ShareKind
from secagg.errors import DecodeError
from secagg.invite import Advertise, Invite, KeyList, Limits, Step
from secagg.shamir import SHARE_BYTES
from secagg.wire import (
    HEADER_BYTES,
    Reader,
    check_size,
    check_sorted,
    encode_list,
    header,
    split_header,
)

_INDEX = struct.Struct("<H")
_BOX = struct.Struct(f"<H{COMMITMENT_BYTES}s{COMMITMENT_BYTES}s{BOX_BYTES}s")
_SHARE = struct.Struct(f"<HB{SHARE_BYTES}s")


@dataclass(frozen=True, slots=True)
class SealedShares:
    """Client to server, step 1: one box for each other client of u1, and H(b_u)."""

    TAG: ClassVar[int] = 4
    STEP: ClassVar[Step | None] = Step.SHARE_KEYS
    round_id: bytes = field(repr=False)
    sender: int
    seed_commitment: bytes = field(repr=False)
    boxes: tuple[tuple[int, Box], ...]  # (holder, box), sorted by holder

    def __post_init__(self) -> None:
        check_size("seed commitment", self.seed_commitment, usage.DIGEST_BYTES)
        _check_boxes(self.sender, self.boxes)

    def encode(self) -> bytes:
        """Return the canonical bytes."""
        return b"".join(
            (
                header(self.TAG, self.round_id),
                _INDEX.pack(self.sender),
                self.seed_commitment,
                _encode_boxes(self.boxes),
            )
        )

    @classmethod
    def read(cls, round_id: bytes, reader: Reader, limits: Limits) -> SealedShares:
        """Read the body."""
        sender = reader.u16()
        commitment = reader.take(usage.DIGEST_BYTES)
        return cls(round_id, sender, commitment, _read_boxes(reader, limits))

    @staticmethod
    def cap(limits: Limits) -> int:
        """Return the largest body."""
        return 2 + usage.DIGEST_BYTES + 2 + limits.clients * _BOX.size


@dataclass(frozen=True, slots=True)
class ShareDelivery:
    """Server to client, step 2: the boxes for it; their dealers and it are u2."""

    TAG: ClassVar[int] = 5
    STEP: ClassVar[Step | None] = Step.MASKED_INPUT
    round_id: bytes = field(repr=False)
    receiver: int
    boxes: tuple[tuple[int, Box], ...]  # (dealer, box), sorted by dealer

    def __post_init__(self) -> None:
        _check_boxes(self.receiver, self.boxes)

    def encode(self) -> bytes:
        """Return the canonical bytes."""
        return b"".join(
            (
                header(self.TAG, self.round_id),
                _INDEX.pack(self.receiver),
                _encode_boxes(self.boxes),
            )
        )

    @classmethod
    def read(cls, round_id: bytes, reader: Reader, limits: Limits) -> ShareDelivery:
        """Read the body."""
        return cls(round_id, reader.u16(), _read_boxes(reader, limits))

    @staticmethod
    def cap(limits: Limits) -> int:
        """Return the largest body."""
        return 2 + 2 + limits.clients * _BOX.size


@dataclass(frozen=True, slots=True)
class MaskedInput:
    """Client to server, step 2: the packed masked vector and its context."""

    TAG: ClassVar[int] = 6
    STEP: ClassVar[Step | None] = Step.MASKED_INPUT
    round_id: bytes = field(repr=False)
    sender: int
    context: bytes = field(repr=False)
    packed: bytes = field(repr=False)

    def __post_init__(self) -> None:
        check_size("context", self.context, usage.DIGEST_BYTES)

    def encode(self) -> bytes:
        """Return the canonical bytes."""
        return b"".join(
            (
                header(self.TAG, self.round_id),
                _INDEX.pack(self.sender),
                self.context,
                self.packed,
            )
        )

    @classmethod
    def read(cls, round_id: bytes, reader: Reader, limits: Limits) -> MaskedInput:
        """Read the body."""
        sender = reader.u16()
        context = reader.take(usage.DIGEST_BYTES)
        return cls(round_id, sender, context, reader.take(limits.packed_bytes))

    @staticmethod
    def cap(limits: Limits) -> int:
        """Return the largest body."""
        return 2 + usage.DIGEST_BYTES + limits.packed_bytes


@dataclass(frozen=True, slots=True)
class UnmaskRequest:
    """Server to client, step 3: u3, the clients whose inputs are in the sum.

    The dropped clients are not listed: a client derives them as u2 without u3, so no
    request can ask for both shares of one client.
    """

    TAG: ClassVar[int] = 7
    STEP: ClassVar[Step | None] = Step.UNMASK
    round_id: bytes = field(repr=False)
    survivors: tuple[int, ...]

    def __post_init__(self) -> None:
        check_sorted(self.survivors)

    def encode(self) -> bytes:
        """Return the canonical bytes."""
        return header(self.TAG, self.round_id) + encode_list(
            _INDEX.pack(index) for index in self.survivors
        )

    @classmethod
    def read(cls, round_id: bytes, reader: Reader, limits: Limits) -> UnmaskRequest:
        """Read the body."""
        count = reader.count(limits.clients, _INDEX.size)
        return cls(round_id, tuple(reader.u16() for _ in range(count)))

    @staticmethod
    def cap(limits: Limits) -> int:
        """Return the largest body."""
        return 2 + limits.clients * _INDEX.size


@dataclass(frozen=True, slots=True)
class RevealedShare:
    """One share of one client's secret, of one kind."""

    owner: int
    kind: ShareKind
    value: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class UnmaskShares:
    """Client to server, step 3: at most one share of each other client."""

    TAG: ClassVar[int] = 8
    STEP: ClassVar[Step | None] = Step.UNMASK
    round_id: bytes = field(repr=False)
    sender: int
    shares: tuple[RevealedShare, ...]  # sorted by owner, hence one per owner

    def __post_init__(self) -> None:
        check_sorted([share.owner for share in self.shares])
        if any(share.owner == self.sender for share in self.shares):
            raise DecodeError("nobody holds a share of its own secrets.")

    def encode(self) -> bytes:
        """Return the canonical bytes."""
        return b"".join(
            (
                header(self.TAG, self.round_id),
                _INDEX.pack(self.sender),
                encode_list(
                    _SHARE.pack(share.owner, share.kind, share.value)
                    for share in self.shares
                ),
            )
        )

    @classmethod
    def read(cls, round_id: bytes, reader: Reader, limits: Limits) -> UnmaskShares:
        """Read the body."""
        sender = reader.u16()
        count = reader.count(limits.clients, _SHARE.size)
        entries = _SHARE.iter_unpack(reader.take(count * _SHARE.size))
        shares = tuple(
            RevealedShare(owner, _share_kind(kind), value)
            for owner, kind, value in entries
        )
        return cls(round_id, sender, shares)

    @staticmethod
    def cap(limits: Limits) -> int:
        """Return the largest body."""
        return 2 + 2 + limits.clients * _SHARE.size


@dataclass(frozen=True, slots=True)
class Abort:
    """Either side: the round is over for the sender; it says nothing more."""

    TAG: ClassVar[int] = 9
    STEP: ClassVar[Step | None] = None
    round_id: bytes = field(repr=False)

    def encode(self) -> bytes:
        """Return the canonical bytes."""
        return header(self.TAG, self.round_id)

    @classmethod
    def read(cls, round_id: bytes, reader: Reader, limits: Limits) -> Abort:
        """Read the empty body."""
        return cls(round_id)

    @staticmethod
    def cap(limits: Limits) -> int:
        """Return the largest body."""
        return 0


@dataclass(frozen=True, slots=True)
class PlainInput:
    """Client to server, without any protection: the baseline of ``PlainSum``."""

    TAG: ClassVar[int] = 10
    STEP: ClassVar[Step | None] = Step.MASKED_INPUT
    round_id: bytes = field(repr=False)
    weight: int
    packed: bytes = field(repr=False)  # little-endian float32

    @classmethod
    def of(
        cls, round_id: bytes, vector: NDArray[np.float32], weight: int
    ) -> PlainInput:
        """Pack a vector."""
        return cls(round_id, weight, vector.astype("<f4").tobytes())

    def values(self) -> NDArray[np.float32]:
        """Return the vector, read-only, shape (length,)."""
        return np.frombuffer(self.packed, dtype="<f4")

    def encode(self) -> bytes:
        """Return the canonical bytes."""
        weight = self.weight.to_bytes(4, "little")
        return header(self.TAG, self.round_id) + weight + self.packed

    @classmethod
    def decode(cls, data: bytes) -> PlainInput:
        """Read the message.

        Raises:
            DecodeError: The bytes are no such message (peer).
        """
        tag, round_id = split_header(data)
        reader = Reader(data, HEADER_BYTES)
        weight = reader.u32()
        packed = reader.take(len(data) - HEADER_BYTES - 4)
        if tag != cls.TAG or len(packed) % 4:
            raise DecodeError("message is not a plain float32 upload.")
        return cls(round_id, weight, packed)


ProtocolMessage = (
    Invite
    | Advertise
    | KeyList
    | SealedShares
    | ShareDelivery
    | MaskedInput
    | UnmaskRequest
    | UnmaskShares
    | Abort
)
MESSAGES: Final = (
    Invite,
    Advertise,
    KeyList,
    SealedShares,
    ShareDelivery,
    MaskedInput,
    UnmaskRequest,
    UnmaskShares,
    Abort,
)
_BY_TAG: Final = {message.TAG: message for message in MESSAGES}
_STEPS: Final = {kind.TAG: kind.STEP for kind in (*MESSAGES, PlainInput)}


def decode(data: bytes, limits: Limits) -> ProtocolMessage:
    """Read one message.

    Guarantee: for the returned message, ``message.encode() == data``.

    Args:
        data: Raw bytes, as received.
        limits: Caps, checked before anything is allocated.

    Raises:
        DecodeError: The bytes are not the canonical encoding of a message (peer).
    """
    tag, round_id = split_header(data)
    kind = _BY_TAG.get(tag)
    if kind is None:
        raise DecodeError(f"message has unknown tag {tag}.")
    cap = HEADER_BYTES + kind.cap(limits)
    if len(data) > cap:
        raise DecodeError(
            f"{kind.__name__} has {len(data)} bytes, more than the cap of {cap}."
        )
    reader = Reader(data, HEADER_BYTES)
    message = kind.read(round_id, reader, limits)
    reader.end()
    if message.encode() != data:
        raise DecodeError(f"{kind.__name__} is not in canonical encoding.")
    return message


def step_of(data: bytes) -> Step | None:
    """Return the step that a message belongs to; None for an abort.

    Raises:
        DecodeError: The header is not that of a message (peer).
    """
    tag, _ = split_header(data)
    if tag not in _STEPS:
        raise DecodeError(f"message has unknown tag {tag}.")
    return _STEPS[tag]


def _encode_boxes(boxes: Sequence[tuple[int, Box]]) -> bytes:
    return encode_list(
        _BOX.pack(peer, box.mask_key, box.self_mask, box.sealed) for peer, box in boxes
    )


def _read_boxes(reader: Reader, limits: Limits) -> tuple[tuple[int, Box], ...]:
    count = reader.count(limits.clients, _BOX.size)
    entries = _BOX.iter_unpack(reader.take(count * _BOX.size))
    return tuple((peer, Box(*parts)) for peer, *parts in entries)


def _check_boxes(own: int, boxes: Sequence[tuple[int, Box]]) -> None:
    check_sorted([peer for peer, _ in boxes])
    if any(peer == own for peer, _ in boxes):
        raise DecodeError("nobody holds a share of its own secrets.")
    for _, box in boxes:
        check_size("share commitment", box.mask_key, COMMITMENT_BYTES)
        check_size("share commitment", box.self_mask, COMMITMENT_BYTES)
        check_size("sealed shares", box.sealed, BOX_BYTES)


def _share_kind(value: int) -> ShareKind:
    try:
        return ShareKind(value)
    except ValueError as error:
        raise DecodeError(f"share kind {value} is unknown.") from error
