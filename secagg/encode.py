"""Floats to ring words and back: bounded, unbiased, exactly weighted, self-checking.

A client's vector v, clipped by the caller to an L2 norm of at most C, becomes

    q = floor(v scale) + Bernoulli(fraction)     unbiased, |q| <= 2^(value_bits-1) - 1
    words = [w q_1, ..., w q_m, w, c_1, ..., c_k]     modulo 2^r

with an integer weight w, and k >= 64 / r checksum words c_j = sum of a_ji words_i over
values and weight.  The coefficients a are public and equal for all clients, so the
checksums of a sum are the sums of the checksums.  The ring is wide enough for n clients
of the largest weight, hence the sum never wraps and the weighted mean is exact up to
rounding.  Rounding follows Bonawitz et al., arXiv 1912.00131, section 3, in integers
from a keystream rather than in floats.

The checksums detect a *wrong unmasking* (every word is then uniform, and it passes with
probability 2^-64); they do not detect a client or server who lies on purpose.  This
module does not clip, rotate or add noise.
"""

from __future__ import annotations

import math
import operator
from dataclasses import dataclass
from typing import Final, SupportsIndex

import numpy as np
from numpy.typing import ArrayLike, NDArray

from secagg import usage
from secagg.errors import IntegrityError, ParameterError
from secagg.prg import KEY_BYTES, keystream_words
from secagg.ring import Ring, RingVector

INTEGRITY_BITS: Final = 64
MAX_LENGTH: Final = (1 << 32) - 1  # the length travels in four bytes
NORM_TOLERANCE: Final = 2.0**-16
"""Relative excess of the norm that is let pass: a clip computed in float32 is off."""
_DRAW_BITS: Final = 53  # the fraction of a float64 is exact in so many bits


@dataclass(frozen=True, slots=True, kw_only=True)
class Encoder:
    """How vectors become integers; part of what all parties agree on.

    Attributes:
        clip_norm_l2: Largest L2 norm that ``Client.offer`` accepts, but for a relative
            2^-16 that lets a clip computed in float32 pass.
        value_bits: Bits of one rounded value, sign included; 2..32.
        weight_max: Largest integer weight of one client.

    Raises:
        ParameterError: An attribute is outside its range (caller).
    """

    clip_norm_l2: float = 16.0
    value_bits: int = 24
    weight_max: int = 65535

    def __post_init__(self) -> None:
        if not 2.0**-64 <= self.clip_norm_l2 <= 2.0**64:
            raise ParameterError(
                f"clip_norm_l2={self.clip_norm_l2} must lie in 2^-64..2^64.",
                argument="clip_norm_l2",
            )
        _check_integer("value_bits", self.value_bits, 2, 32)
        _check_integer("weight_max", self.weight_max, 1, (1 << 32) - 1)

    @property
    def linf_bound(self) -> int:
        """Largest |q| of one coordinate before weighting, as an integer."""
        return int((1 << (self.value_bits - 1)) - 1)

    @property
    def scale(self) -> float:
        """Integer steps per unit of the input."""
        # Half a step is given up so that float64 rounding of v * scale cannot reach a
        # fraction above the bound: |v scale| <= (bound - 1/2)(1 + 2^-51) < bound.
        return (self.linf_bound - 0.5) / self.norm_limit

    @property
    def norm_limit(self) -> float:
        """Largest accepted norm: ``clip_norm_l2`` and a float32 rounding more."""
        return self.clip_norm_l2 * (1 + NORM_TOLERANCE)

    @property
    def max_error(self) -> float:
        """Bound on |mean - true weighted mean| per coordinate, for given survivors.

        One value is rounded by less than 1 / scale, and a weighted mean of such errors
        is below 1 / scale too, whatever the weights.  Added to it are float64 rounding
        (the factor) and the rounding of the mean to float32 (the second term).
        """
        return (1 + 2.0**-18) / self.scale + self.norm_limit * 2.0**-24

    def l2_bound(self, length: int) -> float:
        """Largest L2 norm of the integers q of one client before weighting."""
        slack = 1 + length * 2.0**-52  # the norm is checked in float64
        return self.scale * self.norm_limit * slack + math.sqrt(length)

    def ring_bits(self, clients: int) -> int:
        """Return r = value_bits + ceil(log2(clients * weight_max)).

        The largest |sum| is clients * weight_max * (2^(value_bits-1) - 1) < 2^(r-1).

        Raises:
            ParameterError: r exceeds 64 (caller).
        """
        bits = self.value_bits + (clients * self.weight_max - 1).bit_length()
        if bits > 64:
            raise ParameterError(
                f"value_bits={self.value_bits} and weight_max={self.weight_max} need a "
                f"ring of {bits} bits for {clients} clients, more than 64; lower "
                "value_bits or weight_max.",
                argument="encoder",
            )
        return bits


@dataclass(frozen=True, slots=True)
class Layout:
    """Where values, weight and checksums lie in one masked vector."""

    ring: Ring
    length: int

    @property
    def integrity(self) -> int:
        """Number of checksum words: at least 64 bits in all."""
        return -(-INTEGRITY_BITS // self.ring.bits)

    @property
    def words(self) -> int:
        """Values, one weight, checksums."""
        return self.length + 1 + self.integrity

    @property
    def packed_bytes(self) -> int:
        """Bytes of the packed vector on the wire."""
        return self.ring.packed_bytes(self.words)


@dataclass(frozen=True, slots=True, eq=False)
class Decoded:
    """A weighted mean and its total weight."""

    mean: NDArray[np.float64]
    weight: int


def layout(encoder: Encoder, *, clients: int, length: int) -> Layout:
    """Lay out vectors of ``length`` values for sums over up to ``clients`` clients."""
    _check_integer("length", length, 1, MAX_LENGTH)
    return Layout(Ring(encoder.ring_bits(clients)), length)


def check_weight(encoder: Encoder, weight: SupportsIndex) -> int:
    """Return the weight as an int in 1..weight_max.

    Raises:
        ParameterError: It is not an integer or out of range (caller).
    """
    return _check_integer("weight", weight, 1, encoder.weight_max)


def check_vector(
    encoder: Encoder, vector: ArrayLike, *, length: int | None = None
) -> NDArray[np.float64]:
    """Return the vector as float64 if it may be offered.

    Args:
        encoder: States the largest norm.
        vector: shape (length,), float16, float32 or float64.
        length: The agreed length, once known.

    Raises:
        ParameterError: Wrong dtype, shape or length, a value that is not finite, or an
            L2 norm above ``clip_norm_l2`` (caller).
    """
    given = np.asarray(vector)
    if given.dtype.kind != "f" or given.dtype.itemsize not in (2, 4, 8):
        raise ParameterError(
            f"vector has dtype {given.dtype}; convert it to float16, float32 or "
            "float64.",
            argument="vector",
        )
    if given.ndim != 1 or given.size == 0:
        raise ParameterError(
            f"vector has shape {given.shape}; pass one non-empty flat vector, for "
            "example from flatten().",
            argument="vector",
        )
    if length is not None and given.size != length:
        raise ParameterError(
            f"vector has {given.size} values, but the round sums {length}; offer the "
            "agreed tensors.",
            argument="vector",
        )
    values = given.astype(np.float64)
    if not np.isfinite(values).all():
        raise ParameterError(
            "vector holds a value that is not finite; repair or skip this update.",
            argument="vector",
        )
    norm = _l2_norm(values)
    if norm > encoder.norm_limit:
        raise ParameterError(
            f"vector has L2 norm {norm:.8g}, above clip_norm_l2="
            f"{encoder.clip_norm_l2:.8g}; clip the update or raise clip_norm_l2.",
            argument="vector",
        )
    return values


def quantise(
    encoder: Encoder, values: NDArray[np.float64], key: bytes
) -> NDArray[np.int64]:
    """Round stochastically: E[q] = v scale to within 2^-53, |q| <= ``linf_bound``.

    Args:
        encoder: States the scale.
        values: shape (length,), as returned by ``check_vector``.
        key: 32 fresh random bytes; the rounding draws are their keystream.
    """
    scaled = values * encoder.scale
    below = np.floor(scaled)
    chance = ((scaled - below) * 2.0**_DRAW_BITS).astype(np.uint64)  # 0..2^53
    draws = keystream_words(key, len(values), 64) >> np.uint64(64 - _DRAW_BITS)
    return below.astype(np.int64) + (draws < chance)


def encode(
    where: Layout, rounded: NDArray[np.int64], weight: int, binding: bytes
) -> RingVector:
    """Return the words of one client: weighted values, weight, checksums.

    Args:
        where: Layout of the round.
        rounded: shape (length,), from ``quantise``.
        weight: From ``check_weight``.
        binding: Digest of round and context; equal for all clients of one sum.

    Returns:
        shape (where.words,), dtype ``where.ring.dtype``.
    """
    words = where.ring.zeros(where.words)
    words[: where.length] = where.ring.from_signed(rounded * np.int64(weight))
    words[where.length] = weight
    words[where.length + 1 :] = _checksums(where, words, binding)
    return words


def decode_sum(
    encoder: Encoder, where: Layout, words: RingVector, binding: bytes, *, clients: int
) -> Decoded:
    """Read the weighted mean from the unmasked sum over ``clients`` clients.

    Raises:
        IntegrityError: A checksum, the weight or a value is impossible for such a sum
            (nobody can be named).
    """
    claimed = where.ring.reduce(words[where.length + 1 :])
    actual = where.ring.reduce(_checksums(where, words, binding))
    weight = int(where.ring.reduce(words[where.length : where.length + 1])[0])
    totals = where.ring.center(words[: where.length])
    if (
        not np.array_equal(claimed, actual)
        or not clients <= weight <= clients * encoder.weight_max
        or max(int(totals.max()), -int(totals.min())) > weight * encoder.linf_bound
    ):
        raise IntegrityError(
            "the unmasked vector is not a sum of encoded inputs, so nothing is "
            "released; check that all clients offered under one context.",
            step="unmask",
        )
    mean = totals.astype(np.float64) / (encoder.scale * weight)
    return Decoded(mean, weight)


def _checksums(where: Layout, words: RingVector, binding: bytes) -> RingVector:
    """Return k public linear forms of values and weight, modulo 2^w."""
    covered = words[: where.length + 1]
    sums = where.ring.zeros(where.integrity)
    for j in range(where.integrity):
        key = usage.digest(usage.TAG_INTEGRITY, binding, j.to_bytes(4, "little"))
        row = keystream_words(key[:KEY_BYTES], len(covered), where.ring.word)
        sums[j] = np.dot(row, covered)  # unsigned, wraps modulo 2^w
    return sums


def _l2_norm(values: NDArray[np.float64]) -> float:
    """Return the L2 norm without overflow or underflow of the squares."""
    largest = float(np.abs(values).max())
    if largest == 0.0:
        return 0.0
    unit = values / largest
    return largest * math.sqrt(float(np.dot(unit, unit)))


def _check_integer(name: str, value: SupportsIndex, low: int, high: int) -> int:
    if isinstance(value, (bool, np.bool_)):
        raise ParameterError(f"{name}={value} must be an integer.", argument=name)
    try:
        number = operator.index(value)
    except TypeError as error:
        raise ParameterError(
            f"{name}={value!r} must be an integer in {low}..{high}.", argument=name
        ) from error
    if not low <= number <= high:
        raise ParameterError(
            f"{name}={number} must lie in {low}..{high}.", argument=name
        )
    return number
