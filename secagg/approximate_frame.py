"""What parties of an approximate sum agree on: CKKS as common deployments set it up.

Cheon, Kim, Kim, Song, ASIACRYPT 2017 (ePrint 2016/421), over Z_q[X] / (X^8192 + 1) with
primes of 60, 40 and 40 bits and a scale of 2^40: 4096 real slots a ciphertext.  The
frame gives every size on the wire, and every bound on an error.

This module encrypts nothing and holds no key.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

from secagg import usage
from secagg.encode import MAX_LENGTH
from secagg.encoder import Encoder, check_integer
from secagg.errors import DecodeError, ParameterError
from secagg.ring import Ring
from secagg.wire import Reader

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
_FRAME: Final = struct.Struct("<dIII")
FRAME_BYTES: Final = usage.DIGEST_BYTES + _FRAME.size


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
