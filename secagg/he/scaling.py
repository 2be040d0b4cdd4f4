"""A message as BFV carries it: round(q m / t) modulo each prime, without a library.

SEAL adds the same to an encryption of zero (``multiply_add_plain_with_scaling_variant``
of its ``scalingvariant.cpp``).  With t = 2^r and q = D t + d,

    round(q m / t) = D m + floor((d m + t / 2) / t),

in words of 64 bits: exact, whatever m.  So a message never leaves this process's arrays
for a file, or for a text of digits.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from secagg.moduli import Moduli

_HALF = np.uint64(32)
_LOW = np.uint64((1 << 32) - 1)


def add_message(
    c0: NDArray[np.uint64],
    words: NDArray[np.uint64],
    moduli: Moduli,
    ring_bits: int,
) -> None:
    """Add a message to the first coefficients of an encryption of zero, in place.

    Args:
        c0: shape (primes, count), each below its prime.
        words: shape (count,), each below 2^ring_bits.
        moduli: Of the ciphertext.
        ring_bits: r.
    """
    step, rest = divmod(moduli.modulus, 1 << ring_bits)
    short = moduli.modulus.bit_length() + ring_bits < 64  # as q m is, with t / 2
    rounded = _rounded(words, moduli.modulus if short else rest, ring_bits)
    for row, prime in zip(c0, moduli.primes, strict=True):
        if short:
            carried = rounded
        elif len(moduli.primes) == 1:
            carried = words * np.uint64(step)
            carried += rounded  # below q
        else:
            carried = _times(words, step % prime, prime)
            carried += np.remainder(rounded, prime)
            np.minimum(carried, carried - np.uint64(prime), out=carried)
        row += carried
        np.minimum(row, row - np.uint64(prime), out=row)


def _rounded(
    words: NDArray[np.uint64], rest: int, ring_bits: int
) -> NDArray[np.uint64]:
    """Return floor((rest m + t / 2) / t), rest below t or so small that 64 bits do."""
    shift = np.uint64(ring_bits)
    if rest.bit_length() + ring_bits <= 64:
        small: NDArray[np.uint64] = words * np.uint64(rest)
        small += np.uint64((1 << ring_bits) >> 1)
        small >>= shift
        return small
    # By halves of 32 bits: high 2^64 + middle 2^32 + low, the last of which is dropped.
    top, bottom = words >> _HALF, words & _LOW
    rest_top, rest_bottom = np.uint64(rest >> 32), np.uint64(rest & 0xFFFFFFFF)
    middle = top * rest_bottom
    middle += bottom * rest_top
    middle += (bottom * rest_bottom) >> _HALF
    middle += np.uint64(1 << (ring_bits - 33))
    high = (top * rest_top) << np.uint64(64 - ring_bits)
    wide: NDArray[np.uint64] = high + (middle >> (shift - _HALF))
    return wide


def _times(words: NDArray[np.uint64], factor: int, prime: int) -> NDArray[np.uint64]:
    """Return factor m modulo a prime of at most 44 bits, factor below it."""
    bits = 63 - prime.bit_length()  # of m at a time, so that sums stay below 2^64
    mask, by = np.uint64((1 << bits) - 1), np.uint64(factor)
    total = np.zeros_like(words)
    for start in reversed(range(0, 64, bits)):
        total <<= np.uint64(bits)
        total += ((words >> np.uint64(start)) & mask) * by
        np.remainder(total, prime, out=total)
    return total
