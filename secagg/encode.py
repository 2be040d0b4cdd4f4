"""Floats to ring words and back: bounded, unbiased, exactly weighted, self-checking.

A client's vector v, checked by ``encoder``, becomes

    y = R v                   a public rotation (``rotation``), if the encoder rotates
    q = round(y scale)        up or down by chance (``rounding``), |q| <= linf_bound
    words = [w q_1, ..., w q_m, w, c_1, ..., c_k]     modulo 2^r

with an integer weight w, and k >= 64 / r checksum words c_j = sum of a_(i+j) words_i
over values and weight.  The coefficients a are public and equal for all clients, so the
checksums of a sum are the sums of the checksums.  The ring is wide enough for n clients
of the largest weight, hence the sum never wraps and the weighted mean is exact up to
rounding.  A block of values is checked, rounded and weighted while it is in cache, so
what is encoded is what was checked, whatever becomes of the caller's array meanwhile.

The checksums detect a *wrong unmasking* (every word is then uniform, and it passes with
probability 2^-64).  They are no authentication: they do not detect a client or server
who lies on purpose, and a bit flipped on the way passes the more easily the higher it
stands in its word (bit h of r with probability 2^-(k (r - h)); the forms are rows of a
Toeplitz matrix, which modulo 2 are independent on any error), which is for the
transport to exclude.  This module adds no noise (that is ``noise``), and clips only
what the rotation made larger than it does but for a stated probability.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from secagg import usage
from secagg.checksums import checksums
from secagg.encoder import Encoder, check_integer
from secagg.errors import IntegrityError
from secagg.offered import NormCheck
from secagg.ring import Ring, RingVector
from secagg.rotation import Rotation
from secagg.rounding import BLOCK, Rounding

INTEGRITY_BITS: Final = 64
MAX_LENGTH: Final = (1 << 32) - 1  # the length travels in four bytes

MeanType: TypeAlias = type[np.float32] | type[np.float64]


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
    """A weighted mean, its total weight, and the bound on its error."""

    mean: NDArray[np.float32] | NDArray[np.float64]
    weight: int
    max_error: float


def layout(encoder: Encoder, *, clients: int, length: int) -> Layout:
    """Lay out vectors of ``length`` values for sums over up to ``clients`` clients."""
    checked = check_integer("length", length, 1, MAX_LENGTH)
    return Layout(Ring(encoder.ring_bits(clients)), checked)


def encode(
    encoder: Encoder,
    where: Layout,
    vector: NDArray[np.floating],
    weight: int,
    *,
    context: bytes,
    key: bytes,
    into: RingVector | None = None,
) -> RingVector:
    """Return the words of one client but for the checksums, which are zero.

    Args:
        encoder: States scale and largest norm.
        where: Layout of the round.
        vector: shape (where.length,), from ``check_form``; it is not modified.
        weight: From ``check_weight``.
        context: Equal for all clients of one sum; gives the rotation.
        key: 32 fresh random bytes; the rounding draws are their keystream.
        into: shape (where.words,), dtype ``where.ring.dtype``; receives the words.  By
            default a new vector.

    Returns:
        shape (where.words,), dtype ``where.ring.dtype``; ``seal`` completes it.

    Raises:
        ParameterError: A value is not finite, or the norm is too large (caller).
    """
    numbers = encoder.at(where.length)
    words = np.empty(where.words, dtype=where.ring.dtype) if into is None else into
    words[where.length], words[where.length + 1 :] = weight, 0
    factor, multiplier = numbers.scale, weight
    if encoder.prescale:
        factor, multiplier = factor * weight / encoder.weight_max, 1
    norm = NormCheck(encoder)
    source = vector
    if numbers.rotated:
        # In the words' own place, or its back half: read before it is written to.
        turned = (
            words[: where.length].view(np.float32)[-where.length :]
            if words.itemsize >= 4
            else np.empty(where.length, dtype=np.float32)
        )
        _rotate(encoder, vector, turned, norm, context)
        source = turned
    most = numbers.linf_bound - 0.5
    size = min(BLOCK, where.length)
    rounding = Rounding(key, encoder.value_bits, size)
    scratch = np.empty(size, dtype="<f8")
    # One thread: on two, that wait for each other at every one of these short steps, it
    # takes longer.
    with np.errstate(over="ignore"):  # of squares: the norm's check notices
        for part in _blocks(where.length, BLOCK):
            block = scratch[: part.stop - part.start]
            np.copyto(block, source[part])
            if not numbers.rotated:
                norm.add(block)
            np.multiply(block, factor, out=block)
            if numbers.rotated:
                np.clip(block, -most, most, out=block)
            rounding.into(block, words[part])
            if multiplier != 1:
                words[part] *= words.dtype.type(multiplier)
    norm.done()
    return words


def seal(where: Layout, words: RingVector, round_id: bytes, context: bytes) -> None:
    """Write the checksums behind values and weight.

    Args:
        where: Layout of the round.
        words: From ``encode``; modified.
        round_id: Digest of the round; like the context, equal for all of one sum.
        context: The one that was encoded under.
    """
    words[where.length + 1 :] = _checksums(where, words, round_id + context)


def decode_sum(
    encoder: Encoder,
    where: Layout,
    words: RingVector,
    round_id: bytes,
    context: bytes,
    *,
    clients: int,
    into: NDArray[np.float32] | NDArray[np.float64] | None = None,
) -> Decoded:
    """Read the weighted mean from the unmasked sum over ``clients`` clients.

    It is computed in float64, block by block; what was rotated is turned back as a
    whole, in the mean's own type.

    Args:
        encoder: The clients' own.
        where: Layout of the round.
        words: shape (where.words,), the sum of what ``seal`` made.
        round_id: As in ``seal``.
        context: As in ``encode``.
        clients: How many are in the sum.
        into: shape (where.length,), float32 or float64; receives the mean.  It may lie
            in the memory of ``words`` and begin where they begin, if its values are no
            longer than words.  By default a new vector of float64.

    Raises:
        IntegrityError: A checksum, the weight or a value is impossible for such a sum
            (nobody can be named).
    """
    claimed = where.ring.reduce(words[where.length + 1 :])
    actual = where.ring.reduce(_checksums(where, words, round_id + context))
    weight = int(where.ring.reduce(words[where.length : where.length + 1])[0])
    if (
        not np.array_equal(claimed, actual)
        or not clients <= weight <= clients * encoder.weight_max
    ):
        raise _impossible()
    bound, divisor = encoder.sum_bound * weight, float(weight)
    if encoder.prescale:  # each client's values were scaled, then rounded up at most
        bound = bound // encoder.weight_max + clients
        divisor /= encoder.weight_max
    numbers = encoder.at(where.length, mean_weight=weight / clients)
    mean: NDArray[Any] = np.empty(where.length) if into is None else into
    for part in _blocks(where.length, BLOCK):
        totals = where.ring.center(words[part])
        if max(int(totals.max()), -int(totals.min())) > bound:
            raise _impossible()
        mean[part] = totals / divisor / numbers.scale
    if numbers.rotated:
        rotation_of(encoder, where.length, context).undo(mean)
    return Decoded(mean, weight, numbers.max_error)


def in_units(
    encoder: Encoder, steps: NDArray[np.float64], context: bytes
) -> NDArray[np.float64]:
    """Turn steps of the encoder into units of the input, in place; undo the rotation.

    Args:
        encoder: States the scale.
        steps: shape (length,); overwritten and returned.
        context: The one that was encoded under.
    """
    numbers = encoder.at(len(steps))
    np.divide(steps, numbers.scale, out=steps)
    if numbers.rotated:
        rotation_of(encoder, len(steps), context).undo(steps)
    return steps


def _rotate(
    encoder: Encoder,
    vector: NDArray[np.floating],
    turned: NDArray[np.float32],
    norm: NormCheck,
    context: bytes,
) -> None:
    """Write the rotated vector in float32, and check its norm on the way."""
    with np.errstate(over="ignore"):  # not a decorator: one would serve all threads
        rotation_of(encoder, len(vector), context).apply(turned, vector, norm.add)
    norm.done()


def rotation_of(encoder: Encoder, length: int, context: bytes) -> Rotation:
    """Return the rotation that all clients of one sum share."""
    size = length.to_bytes(8, "little")
    seed = usage.digest(usage.TAG_ROTATION, context, encoder.encode(), size)
    return Rotation(length, seed)


def _impossible() -> IntegrityError:
    return IntegrityError(
        "the unmasked vector is not a sum of encoded inputs, so nothing is "
        "released; check that all clients offered under one context.",
        step="unmask",
    )


def _checksums(where: Layout, words: RingVector, binding: bytes) -> RingVector:
    covered = words[: where.length + 1]  # values and weight
    return checksums(covered, where.integrity, binding)


def _blocks(length: int, size: int) -> Iterator[slice]:
    return (slice(i, min(i + size, length)) for i in range(0, length, size))
