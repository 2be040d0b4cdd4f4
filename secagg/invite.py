"""The invitation on the wire: who is to sum what, under which plan.

Bonawitz et al., CCS 2017, figure 4, round 0.  The round id is the digest of everything
in the invitation; every later message carries it.  The encoding is described in
``messages``; this module checks no signature.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import accumulate, pairwise
from typing import ClassVar, Final

from secagg import usage
from secagg.encode import MAX_LENGTH
from secagg.errors import DecodeError, ParameterError
from secagg.params import PLAN_BYTES, Plan, decode_plan, plan_bytes
from secagg.wire import Reader, count_prefix, header

SERVER: Final = "server"
MAX_NAME_BYTES: Final = 128
MAX_SESSION_BYTES: Final = 256
NO_ROUND: Final = bytes(usage.DIGEST_BYTES)
"""Round id of an abort by a client that never learnt one."""


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
    round_id: bytes = field(init=False, repr=False, compare=False)  # digest of the body

    def __post_init__(self) -> None:
        self.plan.require_runnable()
        session = self.session
        if not isinstance(session, bytes) or not 1 <= len(session) <= MAX_SESSION_BYTES:
            raise ParameterError(
                f"session must be 1..{MAX_SESSION_BYTES} bytes; encode text and hash "
                "longer names.",
                argument="session",
            )
        if type(self.length) is not int or not 1 <= self.length <= MAX_LENGTH:
            raise ParameterError(
                f"length={self.length!r} must be an int in 1..{MAX_LENGTH}.",
                argument="length",
            )
        if len(self.roster) != self.plan.clients:
            raise ParameterError(
                f"roster has {len(self.roster)} names, the plan has "
                f"clients={self.plan.clients}; invite exactly the planned cohort.",
                argument="roster",
            )
        round_id = usage.digest(usage.TAG_ROUND, self._body())
        object.__setattr__(self, "round_id", round_id)

    def encode(self) -> bytes:
        """Return the canonical bytes."""
        return header(self.TAG, self.round_id) + self._body()

    def _body(self) -> bytes:
        return b"".join(
            (
                count_prefix(len(self.session)),
                self.session,
                self.plan.encode(),
                self.length.to_bytes(4, "little"),
                count_prefix(len(self.roster)),
                _roster_bytes(self.roster),
            )
        )

    @classmethod
    def read(cls, round_id: bytes, reader: Reader, limits: Limits) -> Invite:
        """Read the body."""
        session = reader.take(reader.u16())
        start = reader.take(2)
        plan = decode_plan(start + reader.take(plan_bytes(start) - 2))
        length = reader.u32()
        count = reader.count(limits.clients, 1)
        try:
            roster = _read_roster(reader, count)
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
        return 2 + MAX_SESSION_BYTES + max(PLAN_BYTES.values()) + 4 + 2 + names


def _roster_bytes(roster: tuple[str, ...]) -> bytes:
    """Return the size of every name, then all names.

    Raises:
        ParameterError: A name is too long, empty, the server's, no text, or occurs
            twice (caller).
    """
    try:
        names = "".join(roster).encode()
        if names.isascii():  # one size for bytes and letters; almost always so
            sizes = [len(name) for name in roster]
        else:
            sizes = [len(name.encode()) for name in roster]
    except (TypeError, UnicodeEncodeError):
        sizes, names = [], b""
    if not sizes or not 1 <= min(sizes) <= max(sizes) <= MAX_NAME_BYTES:
        wrong = next((name for name in roster if not _is_name(name)), None)
        raise ParameterError(
            f"client name {wrong!r} must be text of 1..{MAX_NAME_BYTES} bytes.",
            argument="roster",
        )
    distinct = set(roster)
    if SERVER in distinct:
        raise ParameterError(
            f"client name {SERVER!r} is the server's; choose another.",
            argument="roster",
        )
    if len(distinct) != len(roster):
        raise ParameterError("roster names must be distinct.", argument="roster")
    return bytes(sizes) + names


def _is_name(name: object) -> bool:
    try:
        return isinstance(name, str) and 1 <= len(name.encode()) <= MAX_NAME_BYTES
    except UnicodeEncodeError:
        return False


def _read_roster(reader: Reader, count: int) -> tuple[str, ...]:
    """Read what ``_roster_bytes`` wrote.

    Names are interned: where many clients share a process, each is there once.
    """
    sizes = reader.take(count)
    names = reader.text(sum(sizes))
    edges = list(accumulate(sizes, initial=0))
    if names.isascii():
        return tuple(sys.intern(names[a:b]) for a, b in pairwise(edges))
    raw = names.encode()
    try:
        return tuple(sys.intern(raw[a:b].decode()) for a, b in pairwise(edges))
    except UnicodeDecodeError as error:
        raise DecodeError("a name is not UTF-8.") from error
