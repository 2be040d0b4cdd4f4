"""A client's vector on the wire: masked, or plain for the baseline.

Bonawitz et al., CCS 2017, figure 4, round 2.  The encoding is described in
``messages``.  This module adds no mask and reads no float out of a masked vector.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from secagg import usage
from secagg.errors import DecodeError
from secagg.invite import Limits, Step
from secagg.wire import HEADER_BYTES, Reader, check_size, header, split_header

_INDEX = struct.Struct("<H")
MASKED_HEAD_BYTES: Final = HEADER_BYTES + _INDEX.size + usage.DIGEST_BYTES
"""Size of ``MaskedInput.head``."""


@dataclass(frozen=True, slots=True)
class MaskedInput:
    """Client to server, step 2: the packed masked vector and its context."""

    TAG: ClassVar[int] = 6
    STEP: ClassVar[Step | None] = Step.MASKED_INPUT
    round_id: bytes = field(repr=False)
    sender: int
    context: bytes = field(repr=False)
    packed: bytes | memoryview = field(repr=False)  # of the bytes received: no copy

    def __post_init__(self) -> None:
        check_size("context", self.context, usage.DIGEST_BYTES)

    def head(self) -> bytes:
        """Return the canonical bytes before the vector."""
        sender = _INDEX.pack(self.sender)
        return header(self.TAG, self.round_id) + sender + self.context

    def encode(self) -> bytes:
        """Return the canonical bytes."""
        return b"".join((self.head(), self.packed))

    @classmethod
    def read(cls, round_id: bytes, reader: Reader, limits: Limits) -> MaskedInput:
        """Read the body."""
        sender = reader.u16()
        context = reader.take(usage.DIGEST_BYTES)
        return cls(round_id, sender, context, reader.view(limits.packed_bytes))

    @staticmethod
    def cap(limits: Limits) -> int:
        """Return the largest body."""
        return 2 + usage.DIGEST_BYTES + limits.packed_bytes


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
        if tag != cls.TAG or len(packed) % 4 or not weight:
            raise DecodeError("message is not a plain float32 upload with a weight.")
        plain = cls(round_id, weight, packed)
        if not np.isfinite(plain.values()).all():
            raise DecodeError("plain upload holds a value that is not finite.")
        return plain
