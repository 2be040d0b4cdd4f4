"""Floats to ring words and back: bounded, unbiased, exactly weighted, self-checking.

A client's vector v, checked by ``encoder``, becomes

    q = floor(v scale) + Bernoulli(fraction)     unbiased, |q| <= 2^(value_bits-1) - 1
    words = [w q_1, ..., w q_m, w, c_1, ..., c_k]     modulo 2^r

with an integer weight w, and k >= 64 / r checksum words c_j = sum of a_ji words_i over
values and weight.  The coefficients a are public and equal for all clients, so the
checksums of a sum are the sums of the checksums.  The ring is wide enough for n clients
of the largest weight, hence the sum never wraps and the weighted mean is exact up to
rounding.  Rounding follows Bonawitz et al., arXiv 1912.00131, section 3, in integers
from a keystream rather than in floats.

The checksums detect a *wrong unmasking* (every word is then uniform, and it passes with
probability 2^-64).  They are no authentication: they do not detect a client or server
who lies on purpose, and a bit flipped on the way passes the more easily the higher it
stands in its word (the top bit of r with probability 2^-k), which is for the transport
to exclude.  This module does not clip, rotate or add noise.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from secagg import usage
from secagg.encoder import Encoder, check_integer
from secagg.errors import IntegrityError
from secagg.prg import KEY_BYTES, keystream_words
from secagg.ring import Ring, RingVector

INTEGRITY_BITS: Final = 64
MAX_LENGTH: Final = (1 << 32) - 1  # the length travels in four bytes
_DRAW_BITS: Final = 53  # the fraction of a float64 is exact in so many bits


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
    checked = check_integer("length", length, 1, MAX_LENGTH)
    return Layout(Ring(encoder.ring_bits(clients)), checked)


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
