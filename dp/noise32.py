"""Gaussian noise in float32 from cryptographic bytes, for steps that draw much of it.

    noise = gaussian32(4810, 1.1, seed=None)    # from the operating system

As `dp.noise.gaussian`, some ten times faster: pairs of independent normals from pairs
of uniforms (Box and Muller, "A note on the generation of random normal deviates",
1958), whose bytes are an AES-256-CTR keystream. The length of a pair comes from 53 bits
in float64, its angle from 32 bits in float32. Meant for sums that are float32 anyway.

What this does not promise is what `dp.noise` does not: the values are a finite grid,
their tails are cut (here at 8.6 standard deviations), and an epsilon computed for
real-valued noise holds but for floating point.
"""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Sequence
from typing import Final

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, CipherContext
from cryptography.hazmat.primitives.ciphers.algorithms import AES256
from cryptography.hazmat.primitives.ciphers.modes import CTR
from numpy.typing import NDArray

from dp.errors import ParameterError

TAG: Final = b"blindsum/dp/1/gaussian-noise-32/"
"""Before every seed, so that no seed serves two purposes; ends the fixed prefix."""

# Far from the ends of float32's exponents.
STD_MIN, STD_MAX = 2.0**-100, 2.0**100
PAIR_BYTES: Final = 12
# Pairs at a time: what is worked on stays in the processor's cache.
PAIRS: Final = 1 << 13
# From [-1/2, 1/2] to (0, 1]; less would be lost beside one half.
_MIDDLE: Final = 0.5 + 2.0**-53
# `update_into` wants room for one unfinished block.
_SLACK: Final = 15
_ZEROS: Final = memoryview(bytes(PAIRS * PAIR_BYTES))


def gaussian32(length: int, std: float, *, seed: bytes | None) -> NDArray[np.float32]:
    """Draw independent normal variates of mean zero.

    Guarantee: the same seed and length give the same vector on the same kind of
    machine. Without a seed, each call is fresh.

    Args:
        length: how many, >= 1.
        std: standard deviation, in [2^-100, 2^100].
        seed: None in deployment: a key of the operating system's bytes. In a
            simulation, bytes used for this one release and no other; whoever knows
            them can subtract the noise.

    Returns:
        (length,) float32.

    Raises:
        ParameterError: the caller's: a length below 1, a standard deviation out of
            range, or an empty seed.
    """
    found: NDArray[np.float32] = gaussians32(length, std, seeds=[seed])[0]
    return found


def gaussians32(
    length: int, std: float, *, seeds: Sequence[bytes | None]
) -> NDArray[np.float32]:
    """Draw a vector for each seed, as `gaussian32` would; quicker for short ones.

    Returns:
        (seeds, length) float32.
    """
    if length < 1:
        raise ParameterError(f"length={length} of the noise must be at least 1.")
    if not STD_MIN <= std <= STD_MAX:
        raise ParameterError(
            f"std={std} of the noise must be in [2^-100, 2^100]; without noise there "
            "is no epsilon."
        )
    # The keys are of this one call, so that their counters may begin at zero.
    mode = CTR(bytes(16))
    streams = [Cipher(AES256(_key(seed)), mode).encryptor() for seed in seeds]
    found = np.empty((len(seeds), length + length % 2), dtype=np.float32)
    # As many rows at a time as the cache holds; of long rows one part after the other.
    rows = max(1, 4 * PAIRS // found.shape[1])
    for row in range(0, len(seeds), rows):
        for start in range(0, found.shape[1], 2 * PAIRS):
            part = found[row : row + rows, start : start + 2 * PAIRS]
            _fill(part, _bytes(streams[row : row + rows], part.shape[1] // 2), std)
    return found[:, :length]


def _key(seed: bytes | None) -> bytes:
    if seed is None:
        return os.urandom(32)
    if not seed:
        raise ParameterError(
            "The seed of the noise is empty; give bytes, or None for the operating "
            "system's."
        )
    return hashlib.shake_256(TAG + seed).digest(32)


def _bytes(streams: Sequence[CipherContext], pairs: int) -> NDArray[np.uint8]:
    """Return the next bytes of each stream, (streams, bytes of so many pairs)."""
    size = pairs * PAIR_BYTES
    stride = size + -size % 8  # words that are aligned are read faster
    held = np.empty(len(streams) * stride + _SLACK, dtype=np.uint8)
    target = held.data
    for row, stream in enumerate(streams):
        # It writes `size` bytes; the room that it wants behind them is the next row's.
        first = row * stride
        stream.update_into(_ZEROS[:size], target[first : first + size + _SLACK])
    return held[:-_SLACK].reshape(len(streams), stride)[:, :size]


def _fill(part: NDArray[np.float32], held: NDArray[np.uint8], std: float) -> None:
    """Turn 12 bytes into each two normals: all lengths come first, then all angles."""
    pairs = part.shape[1] // 2
    # Minus twice the logarithm of a uniform is the square of a pair's length. In
    # float64, since near 1 a float32 uniform is coarse, and so are small lengths.
    squares = held[:, : 8 * pairs].view("<i8").astype(np.float64)
    squares *= 2.0**-64
    squares += _MIDDLE
    np.log(squares, out=squares)
    squares *= -2.0
    # The square of a standard deviation could leave float32's range.
    lengths = squares.astype(np.float32)
    np.sqrt(lengths, out=lengths)
    lengths *= np.float32(std)
    angles = held[:, 8 * pairs :].view("<i4").astype(np.float32)
    angles *= np.float32(math.pi * 2.0**-31)
    np.multiply(np.cos(angles), lengths, out=part[:, :pairs])
    np.multiply(np.sin(angles, out=angles), lengths, out=part[:, pairs:])
