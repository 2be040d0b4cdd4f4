"""Encrypted vectors on the wire: which coefficients, in which order, and their bytes.

BFV (Fan and Vercauteren, ePrint 2012/144) over Z_q[X] / (X^4096 + 1).  A message holds
the bare coefficients of ciphertexts and nothing of a library's own format: its size
follows from its ``Frame`` and is checked on the raw bytes, there is no count or length
in it that could be wrong, and no foreign byte reaches a library's parser.

This module encrypts nothing and holds no key.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass, field
from typing import ClassVar, Final, Self

import numpy as np
from numpy.typing import NDArray

from secagg import usage
from secagg.encode import Layout, in_units, layout
from secagg.encoder import ENCODER_BYTES, Encoder, check_integer, decode_encoder
from secagg.errors import DecodeError, ParameterError
from secagg.invite import Step
from secagg.ring import Ring
from secagg.wire import HEADER_BYTES, Reader, check_size, header, split_header

POLY_DEGREE: Final = 4096  # N, coefficients of a polynomial
_FRAME = struct.Struct("<II")  # behind the encoder
_COUNT = struct.Struct("<I")
_PACKED_AT: Final = (
    HEADER_BYTES + usage.DIGEST_BYTES + ENCODER_BYTES + _FRAME.size + _COUNT.size
)


@dataclass(frozen=True, slots=True)
class Moduli:
    """The coefficient modulus of BFV for rings of so many bits, or SEAL's most, 59.

    The special prime is used inside an encryption only.  All are the largest primes of
    their size that are 1 modulo 2 ``POLY_DEGREE``, and 109 bits long in all, the most
    that the Homomorphic Encryption Standard (2018, table 1) allows at 128 bits.
    """

    ring_bits: int
    primes: tuple[int, ...]
    special: int

    @property
    def ring(self) -> Ring:
        """Bits that one coefficient modulo one prime takes on the wire."""
        return Ring(self.primes[0].bit_length())

    @property
    def most_clients(self) -> int:
        """Ciphertexts whose sum decrypts correctly whatever their randomness.

        A fresh ciphertext has noise below N / 2 + 4: rounding after the division by
        the special prime p gives (1 + N) / 2, what is left of the encryption's own
        21 (2 N + 1) / p < 1, and rounding of the message 1.  Decryption is right while
        the noise is below q / (2 t), and half of that is left unused.
        """
        fresh = POLY_DEGREE // 2 + 4
        return math.prod(self.primes) // ((4 << self.ring_bits) * fresh)


MODULI: Final = (
    Moduli(32, (0xFFFFFFFFFFFC001,), 0x1FFFFFFFCE001),
    Moduli(46, (0x1FFFFDE001, 0x1FFFFE0001), 0x7FFFF6001),
    Moduli(59, (0xFFFFFFA2001, 0xFFFFFFFC001), 0x1F6001),
)


@dataclass(frozen=True, slots=True)
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

    def __post_init__(self) -> None:
        clients = check_integer("clients", self.clients, 1, (1 << 32) - 1)
        object.__setattr__(self, "clients", clients)
        if self.encoder.noise_bits:
            raise ParameterError(
                "an encrypted sum takes no noise from clients; use an Encoder with "
                "noise_bits=0, or PairwiseMask.",
                argument="encoder",
            )
        ring_bits = self.where.ring.bits
        if ring_bits > MODULI[-1].ring_bits:
            raise ParameterError(
                f"an encrypted sum over clients={self.clients} needs {ring_bits} bits, "
                f"more than {MODULI[-1].ring_bits}; lower value_bits or weight_max.",
                argument="encoder",
            )
        check_integer("clients", clients, 1, self.moduli.most_clients)

    @property
    def where(self) -> Layout:
        """Where values, weight and checksums lie."""
        return layout(self.encoder, clients=self.clients, length=self.length)

    @property
    def moduli(self) -> Moduli:
        """The smallest that serve the ring."""
        bits = self.where.ring.bits
        return next(moduli for moduli in MODULI if bits <= moduli.ring_bits)

    @property
    def ciphertexts(self) -> int:
        """Ciphertexts of one upload."""
        return -(-self.where.words // POLY_DEGREE)

    @property
    def shape(self) -> tuple[int, int]:
        """Primes, and coefficients: c0 of all words, then c1 of each ciphertext."""
        words = self.where.words
        return len(self.moduli.primes), words + POLY_DEGREE * self.ciphertexts

    @property
    def packed_bytes(self) -> int:
        """Bytes of all coefficients on the wire."""
        return self.moduli.ring.packed_bytes(math.prod(self.shape))

    def pack(self, residues: NDArray[np.uint64]) -> bytes:
        """Pack coefficients, shape ``self.shape``."""
        return self.moduli.ring.pack(residues.reshape(-1))

    def unpack(self, packed: bytes) -> NDArray[np.uint64]:
        """Read coefficients, shape ``self.shape``; each is below its prime.

        Raises:
            DecodeError: The bytes are no such coefficients (peer).
        """
        flat = self.moduli.ring.unpack(packed, math.prod(self.shape))
        residues = flat.astype(np.uint64, copy=False).reshape(self.shape)
        if (residues >= np.array(self.moduli.primes, dtype=np.uint64)[:, None]).any():
            raise DecodeError("a ciphertext is not reduced modulo its primes.")
        return residues

    def encode(self) -> bytes:
        """Return the canonical bytes."""
        return self.encoder.encode() + _FRAME.pack(self.clients, self.length)

    @classmethod
    def read(cls, reader: Reader) -> Frame:
        """Read what ``encode`` gives.

        Raises:
            DecodeError: It is not the encoding of a valid frame (peer).
        """
        encoder = decode_encoder(reader.take(ENCODER_BYTES))
        clients, length = _FRAME.unpack(reader.take(_FRAME.size))
        try:
            return cls(encoder, clients, length)
        except ParameterError as error:
            raise DecodeError(
                f"frame of an encrypted sum is invalid: {error}"
            ) from error


@dataclass(frozen=True, slots=True)
class _Ciphertexts:
    """What both messages hold: ``count`` inputs under one frame and context."""

    TAG: ClassVar[int]
    STEP: ClassVar[Step | None]
    IS_SUM: ClassVar[bool]
    round_id: bytes = field(repr=False)
    context: bytes = field(repr=False)
    frame: Frame
    count: int
    packed: bytes = field(repr=False)

    def __post_init__(self) -> None:
        check_size("context", self.context, usage.DIGEST_BYTES)
        check_size("ciphertexts", self.packed, self.frame.packed_bytes)
        most = self.frame.clients if self.IS_SUM else 1
        if not 1 <= self.count <= most:
            raise DecodeError(
                f"ciphertexts claim to hold {self.count} inputs, expected 1..{most}."
            )

    def residues(self) -> NDArray[np.uint64]:
        """Return the coefficients, shape ``frame.shape``.

        Raises:
            DecodeError: One is not reduced modulo its prime (peer).
        """
        return self.frame.unpack(self.packed)

    def encode(self) -> bytes:
        """Return the canonical bytes."""
        count = _COUNT.pack(self.count)
        public = header(self.TAG, self.round_id) + self.context + self.frame.encode()
        return public + count + self.packed

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
        packed = reader.take(len(data) - _PACKED_AT)
        return cls(round_id, context, frame, count, packed)


class EncryptedInput(_Ciphertexts):
    """Client to server: one client's encrypted words."""

    TAG: ClassVar[int] = 11
    STEP: ClassVar[Step | None] = Step.MASKED_INPUT
    IS_SUM: ClassVar[bool] = False

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
    """Server to clients: the encrypted sum of ``count`` inputs."""

    TAG: ClassVar[int] = 12
    STEP: ClassVar[Step | None] = Step.UNMASK
    IS_SUM: ClassVar[bool] = True
