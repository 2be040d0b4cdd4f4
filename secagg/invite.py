"""Step 0 on the wire: who is invited to what, and with which public keys.

Bonawitz et al., CCS 2017, figure 4, round 0.  The round id is the digest of everything
in the invitation; every later message carries it.  The encoding is described in
``messages``; this module checks no signature.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from enum import StrEnum
from typing import ClassVar, Final

from secagg import usage
from secagg.encode import MAX_LENGTH
from secagg.errors import DecodeError, ParameterError
from secagg.keys import PUBLIC_BYTES, SIGNATURE_BYTES
from secagg.params import PLAN_BYTES, Plan, decode_plan
from secagg.wire import (
    Reader,
    check_size,
    check_sorted,
    count_prefix,
    encode_list,
    header,
)

SERVER: Final = "server"
MAX_NAME_BYTES: Final = 128
MAX_SESSION_BYTES: Final = 256
NO_ROUND: Final = bytes(usage.DIGEST_BYTES)
"""Round id of an abort by a client that never learnt one."""

_KEYS = struct.Struct(f"<H{PUBLIC_BYTES}s{PUBLIC_BYTES}s")


class Step(StrEnum):
    """The four steps of a round: a request by the server and the clients' answers."""

    ADVERTISE_KEYS = "advertise_keys"
    SHARE_KEYS = "share_keys"
    MASKED_INPUT = "masked_input"
    UNMASK = "unmask"


@dataclass(frozen=True, slots=True)
class Limits:
    """What bounds the messages of a round.

    Attributes:
        clients: Size of the cohort.
        packed_bytes: Size of one masked vector; 0 while it is not known.
    """

    clients: int
    packed_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Invite:
    """Server to client, step 0: what the round is about.

    Raises:
        ParameterError: Session, roster or length is outside its range.
    """

    TAG: ClassVar[int] = 1
    STEP: ClassVar[Step | None] = Step.ADVERTISE_KEYS
    session: bytes
    plan: Plan
    roster: tuple[str, ...]
    length: int

    def __post_init__(self) -> None:
        if not 1 <= len(self.session) <= MAX_SESSION_BYTES:
            raise ParameterError(
                f"session has {len(self.session)} bytes, expected "
                f"1..{MAX_SESSION_BYTES}; hash longer names.",
                argument="session",
            )
        if not 1 <= self.length <= MAX_LENGTH:
            raise ParameterError(
                f"length={self.length} must lie in 1..{MAX_LENGTH}.", argument="length"
            )
        if len(self.roster) != self.plan.clients:
            raise ParameterError(
                f"roster has {len(self.roster)} names, the plan has "
                f"clients={self.plan.clients}; invite exactly the planned cohort.",
                argument="roster",
            )
        for name in self.roster:
            if name == SERVER or not 1 <= _name_bytes(name) <= MAX_NAME_BYTES:
                raise ParameterError(
                    f"client name {name!r} must have 1..{MAX_NAME_BYTES} bytes and "
                    f"not be {SERVER!r}.",
                    argument="roster",
                )
        if len(set(self.roster)) != len(self.roster):
            raise ParameterError("roster names must be distinct.", argument="roster")

    @property
    def round_id(self) -> bytes:
        """Digest of everything in the invitation."""
        return usage.digest(usage.TAG_ROUND, self._body())

    def encode(self) -> bytes:
        """Return the canonical bytes."""
        return header(self.TAG, self.round_id) + self._body()

    def _body(self) -> bytes:
        names = b"".join(
            len(name.encode()).to_bytes(1, "little") + name.encode()
            for name in self.roster
        )
        return b"".join(
            (
                count_prefix(len(self.session)),
                self.session,
                self.plan.encode(),
                self.length.to_bytes(4, "little"),
                count_prefix(len(self.roster)),
                names,
            )
        )

    @classmethod
    def read(cls, round_id: bytes, reader: Reader, limits: Limits) -> Invite:
        """Read the body."""
        session = reader.take(reader.u16())
        plan = decode_plan(reader.take(PLAN_BYTES))
        length = reader.u32()
        count = reader.count(limits.clients, 1)
        roster = tuple(reader.text(reader.u8()) for _ in range(count))
        try:
            invite = cls(session, plan, roster, length)
        except ParameterError as error:
            raise DecodeError(f"received invitation is invalid: {error}") from error
        if invite.round_id != round_id:
            raise DecodeError("invitation carries the round id of another round.")
        return invite

    @staticmethod
    def cap(limits: Limits) -> int:
        """Return the largest body."""
        names = limits.clients * (1 + MAX_NAME_BYTES)
        return 2 + MAX_SESSION_BYTES + PLAN_BYTES + 4 + 2 + names


@dataclass(frozen=True, slots=True)
class PublicKeys:
    """One client's two public keys, with the signature of its identity or none."""

    index: int
    box_public: bytes = field(repr=False)
    mask_public: bytes = field(repr=False)
    signature: bytes = field(default=b"", repr=False)

    def __post_init__(self) -> None:
        check_size("public key", self.box_public, PUBLIC_BYTES)
        check_size("public key", self.mask_public, PUBLIC_BYTES)
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


_MAX_KEYS_BYTES: Final = _KEYS.size + 1 + SIGNATURE_BYTES


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
        check_sorted([keys.index for keys in self.keys])
        publics = {k.box_public for k in self.keys} | {k.mask_public for k in self.keys}
        if len(publics) != 2 * len(self.keys):
            raise DecodeError("a key list holds one public key twice.")

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
        count = reader.count(limits.clients, _KEYS.size + 1)
        return cls(round_id, tuple(PublicKeys.read(reader) for _ in range(count)))

    @staticmethod
    def cap(limits: Limits) -> int:
        """Return the largest body."""
        return 2 + limits.clients * _MAX_KEYS_BYTES


def _name_bytes(name: str) -> int:
    """Return the size of a name in UTF-8; 0 if it cannot be encoded."""
    try:
        return len(name.encode())
    except UnicodeEncodeError:
        return 0
