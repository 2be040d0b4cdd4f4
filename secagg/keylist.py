"""The public keys of a round on the wire: what a client advertises, what it receives.

Bonawitz et al., CCS 2017, figure 4, round 0.  On the complete graph all receive all
keys; on a k-regular one a client receives those of its neighbours and its own, and a
digest of all.  The encoding is described in
``messages``.  This module checks sizes, order and that no key occurs twice; it checks
no signature and no agreement.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Final

from secagg import usage
from secagg.errors import DecodeError
from secagg.invite import Limits, Step
from secagg.keys import PUBLIC_BYTES, SIGNATURE_BYTES, check_canonical
from secagg.wire import Reader, check_size, check_sorted, encode_list, header

_INDEX = struct.Struct("<H")
_KEYS = struct.Struct(f"<H{PUBLIC_BYTES}s{PUBLIC_BYTES}s")
_MAX_KEYS_BYTES: Final = _KEYS.size + 1 + SIGNATURE_BYTES


@dataclass(frozen=True, slots=True)
class PublicKeys:
    """One client's two public keys, with the signature of its identity or none."""

    index: int
    box_public: bytes = field(repr=False)
    mask_public: bytes = field(repr=False)
    signature: bytes = field(default=b"", repr=False)

    def __post_init__(self) -> None:
        check_canonical(self.box_public)
        check_canonical(self.mask_public)
        if self.signature:
            check_size("signature", self.signature, SIGNATURE_BYTES)

    def signed_bytes(self, round_id: bytes, name: str) -> bytes:
        """Return what the identity of ``name`` signs."""
        return usage.join(
            usage.TAG_ADVERTISE_SIGNATURE,
            round_id,
            name.encode(),
            self.box_public,
            self.mask_public,
        )

    def encode(self) -> bytes:
        """Return index, both keys, and whether a signature follows."""
        keys = _KEYS.pack(self.index, self.box_public, self.mask_public)
        return keys + bytes([bool(self.signature)]) + self.signature

    @classmethod
    def read(cls, reader: Reader) -> PublicKeys:
        """Read one client's keys."""
        index, box_public, mask_public = _KEYS.unpack(reader.take(_KEYS.size))
        signature = reader.take(SIGNATURE_BYTES) if reader.flag() else b""
        return cls(index, box_public, mask_public, signature)


@dataclass(frozen=True, slots=True)
class Advertise:
    """Client to server, step 0: its public keys."""

    TAG: ClassVar[int] = 2
    STEP: ClassVar[Step | None] = Step.ADVERTISE_KEYS
    round_id: bytes = field(repr=False)
    keys: PublicKeys

    @property
    def sender(self) -> int:
        """Roster index of the client."""
        return self.keys.index

    def encode(self) -> bytes:
        """Return the canonical bytes."""
        return header(self.TAG, self.round_id) + self.keys.encode()

    @classmethod
    def read(cls, round_id: bytes, reader: Reader, limits: Limits) -> Advertise:
        """Read the body."""
        return cls(round_id, PublicKeys.read(reader))

    @staticmethod
    def cap(limits: Limits) -> int:
        """Return the largest body."""
        return _MAX_KEYS_BYTES


@dataclass(frozen=True, slots=True)
class KeyList:
    """Server to client, step 1: the public keys of u1, sorted by index."""

    TAG: ClassVar[int] = 3
    STEP: ClassVar[Step | None] = Step.SHARE_KEYS
    round_id: bytes = field(repr=False)
    keys: tuple[PublicKeys, ...]

    def __post_init__(self) -> None:
        _check_keys(self.keys)

    def encode(self) -> bytes:
        """Return the canonical bytes."""
        return header(self.TAG, self.round_id) + encode_list(
            keys.encode() for keys in self.keys
        )

    def digest(self) -> bytes:
        """Hash the list: all clients whose masks shall cancel must have the same."""
        return usage.digest(usage.TAG_KEY_LIST, self.encode())

    @classmethod
    def read(cls, round_id: bytes, reader: Reader, limits: Limits) -> KeyList:
        """Read the body."""
        return cls(round_id, _read_keys(reader, limits))

    @staticmethod
    def cap(limits: Limits) -> int:
        """Return the largest body."""
        return 2 + limits.clients * _MAX_KEYS_BYTES


@dataclass(frozen=True, slots=True)
class NeighbourKeys:
    """Server to one client, step 1: the keys of u1 near it, and its own.

    ``key_list`` is the digest of the ``KeyList`` of u1, which binds the masks of all.
    """

    TAG: ClassVar[int] = 13
    STEP: ClassVar[Step | None] = Step.SHARE_KEYS
    round_id: bytes = field(repr=False)
    receiver: int
    key_list: bytes = field(repr=False)
    keys: tuple[PublicKeys, ...]

    def __post_init__(self) -> None:
        check_size("key list digest", self.key_list, usage.DIGEST_BYTES)
        _check_keys(self.keys)

    def encode(self) -> bytes:
        """Return the canonical bytes."""
        return b"".join(
            (
                header(self.TAG, self.round_id),
                _INDEX.pack(self.receiver),
                self.key_list,
                encode_list(keys.encode() for keys in self.keys),
            )
        )

    def digest(self) -> bytes:
        """Return the digest of the list of all, as the server gave it."""
        return self.key_list

    @classmethod
    def read(cls, round_id: bytes, reader: Reader, limits: Limits) -> NeighbourKeys:
        """Read the body."""
        receiver = reader.u16()
        key_list = reader.take(usage.DIGEST_BYTES)
        return cls(round_id, receiver, key_list, _read_keys(reader, limits))

    @staticmethod
    def cap(limits: Limits) -> int:
        """Return the largest body."""
        return _INDEX.size + usage.DIGEST_BYTES + 2 + limits.clients * _MAX_KEYS_BYTES


def _read_keys(reader: Reader, limits: Limits) -> tuple[PublicKeys, ...]:
    count = reader.count(limits.clients, _KEYS.size + 1)
    return tuple(PublicKeys.read(reader) for _ in range(count))


def _check_keys(keys: Sequence[PublicKeys]) -> None:
    check_sorted([one.index for one in keys])
    publics = {one.box_public for one in keys} | {one.mask_public for one in keys}
    if len(publics) != 2 * len(keys):
        raise DecodeError("a key list holds one public key twice.")
