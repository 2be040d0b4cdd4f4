"""Sealed shares on the wire: from their dealer to the server, and on to their holders.

Bonawitz et al., CCS 2017, figure 4, round 1.  The encoding is described in
``messages``.  This module opens no box; ``boxes`` says what is in one.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from secagg import usage
from secagg.boxes import BOX_BYTES, COMMITMENT_BYTES, Box
from secagg.errors import DecodeError
from secagg.invite import Limits, Step
from secagg.wire import Reader, check_size, check_sorted, encode_list, header

_INDEX = struct.Struct("<H")
_BOX = struct.Struct(f"<H{COMMITMENT_BYTES}s{COMMITMENT_BYTES}s{BOX_BYTES}s")


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
