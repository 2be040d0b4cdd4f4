"""Approximately encrypted vectors on the wire: CKKS as common deployments set it up.

Cheon, Kim, Kim, Song, ASIACRYPT 2017 (ePrint 2016/421), over Z_q[X] / (X^8192 + 1) with
primes of 60, 40 and 40 bits and a scale of 2^40: 4096 real slots a ciphertext.  As in
``ciphertext``, a message holds bare coefficients, in the form in which products are
pointwise: its size follows from its frame and is checked on the raw bytes, and no
foreign byte reaches a library's parser; it ends in tags (``he.channel``).

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
from secagg.ciphertext import TAG_BYTES
from secagg.encode import MAX_LENGTH
from secagg.encoder import Encoder, check_integer
from secagg.errors import DecodeError, ParameterError
from secagg.invite import Step
from secagg.ring import Ring
from secagg.wire import HEADER_BYTES, Reader, check_size, header, split_header

DEGREE: Final = 8192  # N, coefficients of a polynomial
SLOTS: Final = DEGREE // 2
PRIMES: Final = (0xFFFFFFFFFFFC001, 0xFFFFF4C001)
SPECIAL: Final = 0xFFFFFDC001
"""The largest primes of 60, 40, 40 bits that are 1 modulo 2 N, as SEAL takes them; the
special one is part of keys alone.  140 bits of 218 that the Homomorphic Encryption
Standard (2018, table 1) allows at 128 bits."""
SCALE: Final = 2.0**40
CHECKS: Final = 4

PARAMETERS: Final = usage.digest(
    usage.TAG_CKKS, *(b"%d" % n for n in (DEGREE, *PRIMES, SPECIAL, int(SCALE), CHECKS))
)
"""Pins the parameters: both sides refuse messages that were made under others."""

_NOISE: Final = 21  # SEAL's centred binomial draws no larger ones
_FRESH: Final = DEGREE * (_NOISE + 0.5) / SCALE
_TRANSFORMS: Final = 2.0**-43
_DOTS: Final = 2.0**-38
_RINGS: Final = tuple(Ring(prime.bit_length()) for prime in PRIMES)
_FRAME = struct.Struct("<dIII")
_COUNT = struct.Struct("<I")
_PACKED_AT: Final = HEADER_BYTES + 2 * usage.DIGEST_BYTES + _FRAME.size + _COUNT.size


@dataclass(frozen=True, slots=True)
class ApproximateFrame:
    """What all parties of such a sum agree on; gives every size and every bound.

    The slots of a client are its values times its weight, the weight, and checks.

    Attributes:
        clip_norm_l2: Largest L2 norm of a vector.
        weight_max: Largest weight.
        clients: The most clients of one sum.
        length: Values of a vector.

    Raises:
        ParameterError: An attribute is out of range, or the total weight of such a sum
            could not be told exactly (caller).
    """

    clip_norm_l2: float
    weight_max: int
    clients: int
    length: int

    def __post_init__(self) -> None:
        checked = self.limits  # checks norm and weight
        object.__setattr__(self, "clip_norm_l2", checked.clip_norm_l2)
        object.__setattr__(self, "weight_max", checked.weight_max)
        for name, most in (("clients", (1 << 32) - 1), ("length", MAX_LENGTH)):
            value = check_integer(name, getattr(self, name), 1, most)
            object.__setattr__(self, name, value)
        if self.sum_error(self.clients, self.clients * self.weight_max) >= 0.25:
            raise ParameterError(
                f"a sum over clients={self.clients} of weight_max={self.weight_max} "
                f"and clip_norm_l2={self.clip_norm_l2:.8g} is too large for the "
                "precision of CKKS with a scale of 2^40; lower one of them.",
                argument="clients",
            )

    @property
    def limits(self) -> Encoder:
        """What a client's vector and weight are checked against."""
        return Encoder(clip_norm_l2=self.clip_norm_l2, weight_max=self.weight_max)

    @property
    def reach(self) -> float:
        """Bound on a slot per unit of weight, that of the weight itself included."""
        return max(1.0, self.limits.norm_limit)

    @property
    def covered(self) -> int:
        """Slots of values and weight, which the checks cover."""
        return self.length + 1

    @property
    def ciphertexts(self) -> int:
        """Ciphertexts of one upload, and of a sum."""
        return -(-(self.covered + CHECKS) // SLOTS)

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Primes; ciphertexts; c0 and c1; points of a polynomial."""
        return len(PRIMES), self.ciphertexts, 2, DEGREE

    @property
    def packed_bytes(self) -> int:
        """Bytes of all coefficients on the wire."""
        count = math.prod(self.shape[1:])
        return sum(ring.packed_bytes(count) for ring in _RINGS)

    def sum_error(self, count: int, weight: int) -> float:
        """Return the bound on the error of one slot of a decrypted sum.

        A fresh symmetric ciphertext decrypts to the rounded message plus its noise:
        off by 1/2 + 21 at most in each coefficient, whatever its randomness.  A slot is
        the sum of N coefficients times roots of unity, over the scale.

        To that come two transforms in floating point, whose relative error in the L2
        norm is below 13 (1 + 4 sqrt(2)) 2^-53 each (Higham, Accuracy and Stability of
        Numerical Algorithms, chapter 24), and the slots of a ciphertext, conjugates
        included, have a norm below 5 weight reach: that of the vector, which is
        clipped, of the weight, and of the checks.

        Args:
            count: Clients in the sum.
            weight: Their total weight.
        """
        return count * _FRESH + _TRANSFORMS * weight * self.reach

    def check_error(self, count: int, weight: int) -> float:
        """Return the bound on how far a check of such a sum is from what it covers.

        A check is the sum of all m covered slots with signs, over sqrt(m), so it is no
        larger than their norm, and its own sums, of 2^13 slots at a time, are off by
        less than 2^-40 of that at each end.
        """
        slots = 1 + math.sqrt(self.covered)
        return slots * self.sum_error(count, weight) + _DOTS * weight * self.reach

    def pack(self, residues: NDArray[np.uint64]) -> bytes:
        """Pack coefficients, shape ``self.shape``."""
        pairs = zip(_RINGS, residues, strict=True)
        return b"".join(ring.pack(row.reshape(-1)) for ring, row in pairs)

    def unpack(self, packed: bytes | memoryview) -> NDArray[np.uint64]:
        """Read coefficients, shape ``self.shape``; each is below its prime.

        Raises:
            DecodeError: The bytes are no such coefficients (peer).
        """
        residues = np.empty(self.shape, dtype=np.uint64)
        count, start = math.prod(self.shape[1:]), 0
        for ring, prime, row in zip(_RINGS, PRIMES, residues, strict=True):
            end = start + ring.packed_bytes(count)
            words = ring.unpack(memoryview(packed)[start:end], count)
            if (words >= np.uint64(prime)).any():
                raise DecodeError("a ciphertext is not reduced modulo its primes.")
            row[:] = words.reshape(row.shape)
            start = end
        return residues

    def encode(self) -> bytes:
        """Return the canonical bytes, which pin the parameters."""
        fields = (self.clip_norm_l2, self.weight_max, self.clients, self.length)
        return PARAMETERS + _FRAME.pack(*fields)

    @classmethod
    def read(cls, reader: Reader) -> Self:
        """Read what ``encode`` gives.

        Raises:
            DecodeError: It is of other parameters, or not of a valid frame (peer).
        """
        if reader.take(usage.DIGEST_BYTES) != PARAMETERS:
            raise DecodeError("ciphertexts were made under other parameters of CKKS.")
        try:
            return cls(*_FRAME.unpack(reader.take(_FRAME.size)))
        except ParameterError as error:
            raise DecodeError(
                f"frame of an approximate sum is invalid: {error}"
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
