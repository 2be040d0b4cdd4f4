"""The last step on the wire: who survived, and one share of each other client.

Bonawitz et al., CCS 2017, figure 4, round 4.  The encoding is described in
``messages``.  This module does not decide which kind of share may be revealed.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import ClassVar

from secagg.boxes import ShareKind
from secagg.errors import DecodeError
from secagg.invite import Limits, Step
from secagg.shamir import SHARE_BYTES
from secagg.wire import Reader, check_sorted, encode_list, header

_INDEX = struct.Struct("<H")
_SHARE = struct.Struct(f"<HB{SHARE_BYTES}s")


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


def _share_kind(value: int) -> ShareKind:
    try:
        return ShareKind(value)
    except ValueError as error:
        raise DecodeError(f"share kind {value} is unknown.") from error
