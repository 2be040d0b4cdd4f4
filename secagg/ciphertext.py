"""Encrypted vectors on the wire: which coefficients, in which order, and their bytes.

A message holds the bare coefficients of BFV ciphertexts (``moduli``) and nothing of a
library's own format: its size follows from its ``Frame`` and is checked on the raw
bytes, there is no count or length in it that could be wrong, and no foreign byte
reaches a library's parser.  Each message ends in tags, by which the other side knows
whom it is from (``he.channel``).

This module encrypts nothing and holds no key.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass, field
from functools import cached_property
from typing import ClassVar, Final, Self

import numpy as np
from numpy.typing import NDArray

from secagg import usage
from secagg.encode import Layout, in_units, layout
from secagg.encoder import ENCODER_BYTES, Encoder, check_integer, decode_encoder
from secagg.errors import DecodeError, ParameterError
from secagg.invite import Step
from secagg.moduli import Moduli, Scheme, choose
from secagg.wire import HEADER_BYTES, Reader, check_size, header, split_header

SEED_BYTES: Final = 64  # of the generator that c1 comes from, as SEAL stores it
TAG_BYTES: Final = 32
_FRAME = struct.Struct("<IIB")  # behind the encoder
_COUNT = struct.Struct("<I")
_BODY_AT: Final = (
    HEADER_BYTES + usage.DIGEST_BYTES + ENCODER_BYTES + _FRAME.size + _COUNT.size
)


@dataclass(frozen=True)
class Frame:
    """What all parties of an encrypted sum agree on; gives every size on the wire.

    The words of ``encode`` are the coefficients of the plaintexts, whose modulus 2^r is
    that of the ring: sums wrap in both alike.  Of a ciphertext (c0, c1) only those
    coefficients of c0 are sent that carry a word.

    Raises:
        ParameterError: No modulus leaves room for such sums (caller).
    """

    encoder: Encoder
    clients: int
    length: int
    scheme: Scheme = Scheme.PUBLIC

    def __post_init__(self) -> None:
        clients = check_integer("clients", self.clients, 1, (1 << 32) - 1)
        object.__setattr__(self, "clients", clients)
        if self.encoder.noise_bits:
            raise ParameterError(
                "an encrypted sum takes no noise from clients; use an Encoder with "
                "noise_bits=0, or PairwiseMask.",
                argument="encoder",
            )
        _ = self.moduli

    @cached_property
    def where(self) -> Layout:
        """Where values, weight and checksums lie."""
        return layout(self.encoder, clients=self.clients, length=self.length)

    @cached_property
    def moduli(self) -> Moduli:
        """Those of fewest bytes that serve ring and clients."""
        return choose(self.scheme, self.where.ring.bits, self.clients)

    @property
    def ciphertexts(self) -> int:
        """Ciphertexts of one upload."""
        return -(-self.where.words // self.moduli.degree)

    @property
    def shape(self) -> tuple[int, int]:
        """Primes, and coefficients: c0 of all words, then c1 of each ciphertext."""
        words = self.where.words
        return len(self.moduli.primes), words + self.moduli.degree * self.ciphertexts

    @property
    def input_shape(self) -> tuple[int, int]:
        """The same of an upload; where a seed stands for c1, it has c0 only."""
        compact = self.scheme is Scheme.COMPACT
        return (self.shape[0], self.where.words) if compact else self.shape

    @property
    def input_bytes(self) -> int:
        """Bytes of an upload's coefficients, and of its seeds."""
        seeds = self.ciphertexts if self.scheme is Scheme.COMPACT else 0
        return self.bytes_of(self.input_shape) + SEED_BYTES * seeds

    @property
    def total_bytes(self) -> int:
        """Bytes of the coefficients of a sum."""
        return self.bytes_of(self.shape)

    def pack(self, residues: NDArray[np.uint64]) -> bytes:
        """Pack coefficients."""
        return self.moduli.ring.pack(residues.reshape(-1))

    def unpack(
        self, packed: bytes | memoryview, shape: tuple[int, int]
    ) -> NDArray[np.uint64]:
        """Read coefficients of this shape; each is below its prime.

        Raises:
            DecodeError: The bytes are no such coefficients (peer).
        """
        flat = self.moduli.ring.unpack(packed, math.prod(shape))
        residues = flat.astype(np.uint64, copy=False).reshape(shape)
        if (residues >= np.array(self.moduli.primes, dtype=np.uint64)[:, None]).any():
            raise DecodeError("a ciphertext is not reduced modulo its primes.")
        return residues

    def bytes_of(self, shape: tuple[int, int]) -> int:
        """Return the bytes of packed coefficients."""
        return self.moduli.ring.packed_bytes(math.prod(shape))

    def encode(self) -> bytes:
        """Return the canonical bytes."""
        return self.encoder.encode() + _FRAME.pack(
            self.clients, self.length, self.scheme
        )

    @classmethod
    def read(cls, reader: Reader) -> Frame:
        """Read what ``encode`` gives.

        Raises:
            DecodeError: It is not the encoding of a valid frame (peer).
        """
        encoder = decode_encoder(reader.take(ENCODER_BYTES))
        clients, length, scheme = _FRAME.unpack(reader.take(_FRAME.size))
        try:
            return cls(encoder, clients, length, Scheme(scheme))
        except ValueError as error:  # a ParameterError is one
            raise DecodeError(
                f"frame of an encrypted sum is invalid: {error}"
            ) from error


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
    frame: Frame
    count: int
    packed: bytes | memoryview = field(repr=False)
    tags: bytes = field(repr=False)

    def __post_init__(self) -> None:
        check_size("context", self.context, usage.DIGEST_BYTES)
        most = self.frame.clients if self.IS_SUM else 1
        if not 1 <= self.count <= most:
            raise DecodeError(
                f"ciphertexts claim to hold {self.count} inputs, expected 1..{most}."
            )
        frame = self.frame
        size = frame.total_bytes if self.IS_SUM else frame.input_bytes
        if len(self.packed) != size:
            raise DecodeError(
                f"ciphertexts have {len(self.packed)} bytes, expected {size}."
            )
        check_size("tags", self.tags, self.count * TAG_BYTES)

    @property
    def _shape(self) -> tuple[int, int]:
        return self.frame.shape if self.IS_SUM else self.frame.input_shape

    def residues(self) -> NDArray[np.uint64]:
        """Return the coefficients, shape ``frame.shape``, of an upload ``input_shape``.

        Raises:
            DecodeError: One is not reduced modulo its prime (peer).
        """
        end = self.frame.bytes_of(self._shape)
        return self.frame.unpack(memoryview(self.packed)[:end], self._shape)

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
        frame, count = Frame.read(reader), reader.u32()
        rest = len(data) - _BODY_AT - count * TAG_BYTES
        if rest < 0:
            raise DecodeError(f"message has no room for {count} tags.")
        packed = reader.view(rest)
        return cls(
            round_id, context, frame, count, packed, reader.take(count * TAG_BYTES)
        )


class EncryptedInput(_Ciphertexts):
    """Client to server: one client's encrypted words, and its tag."""

    TAG: ClassVar[int] = 11
    STEP: ClassVar[Step | None] = Step.MASKED_INPUT
    IS_SUM: ClassVar[bool] = False

    def seeds(self) -> list[bytes]:
        """Return the seed of each ciphertext; none where c1 is sent."""
        rest = bytes(memoryview(self.packed)[self.frame.bytes_of(self._shape) :])
        return [rest[i : i + SEED_BYTES] for i in range(0, len(rest), SEED_BYTES)]

    def legible(self) -> NDArray[np.float64]:
        """Read it as an unprotected vector, which is all one can do without the key.

        c0 is spread over the ring's range and brought to units, as if the key were
        zero; it is uniform, and says nothing of the input to whoever lacks the key.

        Returns:
            shape (length,), in the units of the input.
        """
        prime, where = self.frame.moduli.primes[0], self.frame.where
        words = self.residues()[0, : where.length].astype(np.int64)
        centred = np.where(words > prime // 2, words - prime, words)
        spread = centred * (2.0**where.ring.bits / prime)
        return in_units(self.frame.encoder, spread, self.context)


class EncryptedTotal(_Ciphertexts):
    """Server to clients: the encrypted sum of ``count`` inputs, a tag for each."""

    TAG: ClassVar[int] = 12
    STEP: ClassVar[Step | None] = Step.UNMASK
    IS_SUM: ClassVar[bool] = True
