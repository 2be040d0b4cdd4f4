"""Gaussian noise in float32 from cryptographic bytes, for steps that draw much of it.

    noise = gaussian32(4810, 1.1, seed=None)    # from the operating system

As `dp.noise.gaussian`, some fifteen times faster: pairs of independent normals from
pairs of uniforms (Box and Muller, "A note on the generation of random normal deviates",
1958), whose bytes are an AES-256-CTR keystream. A pair takes a word of 32 bits for its
length and one for its angle.

All is float32, and yet a length loses next to nothing at either end: it is a multiple
of 4e-5 standard deviations near 0, and 0 itself with a chance of 2^-30. Its square is
-2 log(1 - u), for which u must be fine near 0, and 1 - u where u is near 1. No float32
is both, so the two are made one by one of the word's bits, and the logarithm is
log1p(u / (1 - u)). For the longest lengths, one in 65,536, the word itself is too
coarse: they take a second.

What this does not promise is what `dp.noise` does not: the values are a finite grid,
their tails are cut (here at 9.3 standard deviations), and an epsilon computed for
real-valued noise holds but for floating point.
"""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Iterator, Sequence
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
PAIR_BYTES: Final = 8
# Pairs at a time, of one row or of several: what is worked on stays in a core's cache.
PAIRS: Final = 1 << 15
# A length's word, but for its last bit, is 2^31 u, and this less it is 2^31 (1 - u).
_EVEN: Final = 0x7FFFFFFE
_ALL: Final = 0x7FFFFFFF
# 2^31 (1 - u) below which it is refined.
RARE: Final = 1 << 15
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
    found: NDArray[np.float32] = next(gaussians32(length, std, seeds=[seed]))[0]
    return found


def gaussians32(
    length: int, std: float, *, seeds: Sequence[bytes | None]
) -> Iterator[NDArray[np.float32]]:
    """Draw a vector for each seed, as `gaussian32` would, and then more without end.

    A seed's further vectors follow from it as the first does. What they are depends on
    nobody else's seed.

    Returns:
        of (seeds, length) float32, each new.

    Raises:
        ParameterError: as for `gaussian32`, at once.
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
    return _without_end(length, std, streams)


def _without_end(
    length: int, std: float, streams: Sequence[CipherContext]
) -> Iterator[NDArray[np.float32]]:
    even = length + length % 2
    # Of short rows several at a time; of long rows one part after the other.
    rows = max(1, 2 * PAIRS // even)
    while True:
        found = np.empty((len(streams), even), dtype=np.float32)
        for row in range(0, len(streams), rows):
            for start in range(0, even, 2 * PAIRS):
                part = found[row : row + rows, start : start + 2 * PAIRS]
                _fill(part, streams[row : row + rows], std)
        yield found[:, :length]


def _key(seed: bytes | None) -> bytes:
    if seed is None:
        return os.urandom(32)
    if not seed:
        raise ParameterError(
            "The seed of the noise is empty; give bytes, or None for the operating "
            "system's."
        )
    return hashlib.shake_256(TAG + seed).digest(32)


def _fill(
    part: NDArray[np.float32], streams: Sequence[CipherContext], std: float
) -> None:
    """Turn each row's next bytes into normals: first come the cosines, then the sines.

    A row takes the words of all its lengths, then those of its angles, then a second
    word for each length that is so long as to need one.
    """
    pairs = part.shape[1] // 2
    words = _words(streams, pairs)
    above, lengths = _logarithms(words[:, 0])
    if int(above.min()) < RARE:
        for place in np.flatnonzero(above < RARE):
            row, pair = divmod(int(place), pairs)
            lengths[row, pair] = _far(int(above[row, pair]), streams[row])
    np.sqrt(lengths, out=lengths)
    lengths *= np.float32(std * math.sqrt(2.0))
    angles = words[:, 1].astype(np.float32)
    angles *= np.float32(math.pi * 2.0**-31)
    np.multiply(np.cos(angles), lengths, out=part[:, :pairs])
    np.multiply(np.sin(angles, out=angles), lengths, out=part[:, pairs:])


def _words(streams: Sequence[CipherContext], pairs: int) -> NDArray[np.int32]:
    """Return the next words of each stream, (streams, 2, pairs)."""
    size = pairs * PAIR_BYTES
    held = np.empty(len(streams) * size + _SLACK, dtype=np.uint8)
    target, zeros = held.data, _ZEROS[:size]
    for row, stream in enumerate(streams):
        # It writes `size` bytes; the room that it wants behind them is the next row's.
        first = row * size
        stream.update_into(zeros, target[first : first + size + _SLACK])
    return held[:-_SLACK].view("<i4").reshape(len(streams), 2, pairs)


def _logarithms(
    words: NDArray[np.int32],
) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """Return 2^31 (1 - u), odd and so never zero, and -log(1 - u)."""
    below = words & _EVEN
    found = below.astype(np.float32)
    above = np.bitwise_xor(below, _ALL, out=below)  # all ones less it
    found /= above.astype(np.float32)
    np.log1p(found, out=found)
    return above, found


def _far(above: int, stream: CipherContext) -> float:
    """Return -log(1 - u) where 2^31 (1 - u) is anywhere within 1 of ``above``."""
    more = int.from_bytes(stream.update(bytes(4)), "little")
    inside = above - 1 + (more + 0.5) * 2.0**-31
    return -math.log(inside * 2.0**-31)
