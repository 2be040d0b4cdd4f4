"""The last step on the wire: who survived, and one share of each other client.

Bonawitz et al., CCS 2017, figure 4, round 4.  The encoding is described in
``messages``.  This module does not decide which kind of share may be revealed.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from functools import lru_cache
from typing import ClassVar

import numpy as np

from secagg.boxes import ShareKind
from secagg.errors import DecodeError
from secagg.invite import Limits, Step
from secagg.shamir import SHARE_BYTES
from secagg.wire import Reader, check_sorted, count_prefix, encode_list, header

_INDEX = struct.Struct("<H")
_SHARE = struct.Struct(f"<HB{SHARE_BYTES}s")


@dataclass(frozen=True, slots=True)
class UnmaskRequest:
    """Server to one client, step 3: u3, all clients whose inputs are in the sum.

    The dropped clients are not listed: a client derives them as u2 without u3, so no
    request can ask for both shares of one client.
    """

    TAG: ClassVar[int] = 7
    STEP: ClassVar[Step | None] = Step.UNMASK
    round_id: bytes = field(repr=False)
    receiver: int
    survivors: frozenset[int]

    def encode(self) -> bytes:
        """Return the canonical bytes."""
        members = _set_bytes(self.survivors)
        return b"".join(
            (
                header(self.TAG, self.round_id),
                _INDEX.pack(self.receiver),
                count_prefix(len(members)),
                members,
            )
        )

    @classmethod
    def read(cls, round_id: bytes, reader: Reader, limits: Limits) -> UnmaskRequest:
        """Read the body."""
        receiver = reader.u16()
        members = reader.take(reader.count(-(-limits.clients // 8), 1))
        bits = np.unpackbits(np.frombuffer(members, np.uint8), bitorder="little")
        survivors = np.flatnonzero(bits).tolist()
        if survivors and survivors[-1] >= limits.clients:
            raise DecodeError("a set names a client beyond the end of the roster.")
        return cls(round_id, receiver, frozenset(survivors))

    @staticmethod
    def cap(limits: Limits) -> int:
        """Return the largest body."""
        return _INDEX.size + 2 + -(-limits.clients // 8)


@lru_cache(maxsize=2)  # a server tells all clients of the same set
def _set_bytes(members: frozenset[int]) -> bytes:
    """Return bit i mod 8 of byte i div 8 set for each member i, without a tail of 0."""
    bits = np.zeros(max(members, default=-1) + 1, dtype=bool)
    bits[list(members)] = True
    return np.packbits(bits, bitorder="little").tobytes()


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
