"""Approximately encrypted vectors on the wire, under ``approximate_frame``.

As in ``ciphertext``, a message holds bare coefficients, in the form in which products
are pointwise: its size follows from its frame and is checked on the raw bytes, and no
foreign byte reaches a library's parser; it ends in tags (``he.channel``).

This module encrypts nothing and holds no key.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import ClassVar, Final, Self

import numpy as np
from numpy.typing import NDArray

from secagg import usage
from secagg.approximate_frame import (
    FRAME_BYTES,
    PRIMES,
    SCALE,
    SLOTS,
    ApproximateFrame,
)
from secagg.ciphertext import TAG_BYTES
from secagg.errors import DecodeError
from secagg.invite import Step
from secagg.wire import HEADER_BYTES, Reader, check_size, header, split_header

_COUNT: Final = struct.Struct("<I")
_PACKED_AT: Final = HEADER_BYTES + usage.DIGEST_BYTES + FRAME_BYTES + _COUNT.size


@dataclass(frozen=True, slots=True)
class _Ciphertexts:
    """What both messages hold: ``count`` inputs under one frame and context.

    Attributes:
        tags: One of 32 bytes for each input: of its sender, or for its sender.
    """

    TAG: ClassVar[int]
    STEP: ClassVar[Step | None]
    IS_SUM: ClassVar[bool]
    round_id: bytes = field(repr=False)
    context: bytes = field(repr=False)
    frame: ApproximateFrame
    count: int
    packed: bytes | memoryview = field(repr=False)
    tags: bytes = field(repr=False)

    def __post_init__(self) -> None:
        check_size("context", self.context, usage.DIGEST_BYTES)
        if len(self.packed) != self.frame.packed_bytes:
            raise DecodeError(
                f"ciphertexts have {len(self.packed)} bytes, expected "
                f"{self.frame.packed_bytes}."
            )
        most = self.frame.clients if self.IS_SUM else 1
        if not 1 <= self.count <= most:
            raise DecodeError(
                f"ciphertexts claim to hold {self.count} inputs, expected 1..{most}."
            )
        check_size("tags", self.tags, self.count * TAG_BYTES)

    def residues(self) -> NDArray[np.uint64]:
        """Return the coefficients, shape ``frame.shape``.

        Raises:
            DecodeError: One is not reduced modulo its prime (peer).
        """
        return self.frame.unpack(self.packed)

    def head(self) -> bytes:
        """Return the canonical bytes before the ciphertexts."""
        public = header(self.TAG, self.round_id) + self.context + self.frame.encode()
        return public + _COUNT.pack(self.count)

    def encode(self) -> bytes:
        """Return the canonical bytes."""
        return b"".join((self.head(), self.packed, self.tags))

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Read the message; its size is checked before anything is unpacked.

        Raises:
            DecodeError: The bytes are no such message (peer).
        """
        tag, round_id = split_header(data)
        if tag != cls.TAG:
            raise DecodeError(f"message has tag {tag}, expected {cls.TAG}.")
        reader = Reader(data, HEADER_BYTES)
        context = reader.take(usage.DIGEST_BYTES)
        frame, count = ApproximateFrame.read(reader), reader.u32()
        rest = len(data) - _PACKED_AT - count * TAG_BYTES
        if rest < 0:
            raise DecodeError(f"message has no room for {count} tags.")
        packed, tags = reader.view(rest), reader.take(count * TAG_BYTES)
        return cls(round_id, context, frame, count, packed, tags)


class ApproximateInput(_Ciphertexts):
    """Client to server: one client's encrypted slots, and its tag."""

    TAG: ClassVar[int] = 14
    STEP: ClassVar[Step | None] = Step.MASKED_INPUT
    IS_SUM: ClassVar[bool] = False

    def legible(self) -> NDArray[np.float64]:
        """Read it as an unprotected vector, which is all one can do without the key.

        Points of c0 are brought to units, as if the key were zero; they are uniform,
        and say nothing of the input to whoever lacks the key.

        Returns:
            shape (length,), in the units of the input.
        """
        prime = PRIMES[0]
        points = self.residues()[0, :, 0, :SLOTS].reshape(-1).astype(np.int64)
        centred = np.where(points > prime // 2, points - prime, points)
        return centred[: self.frame.length] / SCALE


class ApproximateTotal(_Ciphertexts):
    """Server to clients: the encrypted sum of ``count`` inputs, a tag for each."""

    TAG: ClassVar[int] = 15
    STEP: ClassVar[Step | None] = Step.UNMASK
    IS_SUM: ClassVar[bool] = True
