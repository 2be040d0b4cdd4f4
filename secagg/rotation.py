"""A public rotation that leaves no coordinate large: randomised Hadamard transforms.

For W = 2^k values, y = H D x / sqrt(W) with H the Hadamard matrix and D random signs.
Each y_i is a sum of +-x_j / sqrt(W) with independent signs, so whatever x is, as long
as it does not depend on the signs (Bentkus and Dzindzalieta, Bernoulli 21(2), 2015)

    Pr[|y_i| >= t |x|_2 / sqrt(W)] <= 2 c Pr[N(0, 1) >= t],     c < 3.179.

A vector of m values, with W the largest power of two up to m, is rotated in its first W
places, then, if m > W, in its last W places with new signs.  Both steps are orthogonal,
so the norm stays and the transpose undoes them.  A place is last written by one of the
two, and the bound above holds for it with |x| the norm of the whole: m of these bounds
together are the chance that any place is large (``spread``).  W > m / 2, so the overlap
costs a factor below sqrt(2) in the bound, and no padding is ever sent.

The transform is global and not one of blocks: a spike that stays in its block would
stay large, so blocks need a permutation first, which costs more than the stages it
saves and gives the bound for typical vectors only, not for every one.  H is a Kronecker
product: H_16 is applied along one axis after the other, as a matrix product, first
within runs that fit a cache, then, as H_8, across them.

Sums are float64; what is stored between the two sweeps of a step has the caller's type.
Whoever holds the seed can find vectors that the rotation makes large.  The seed is a
hash of the context, so such a vector is chosen on purpose, by a client that could spoil
its own upload anyhow.  This module rounds nothing and keeps nothing secret.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from secagg import usage
from secagg.prg import KEY_BYTES, Keystream

RELATIVE_ERROR: Final = 6 * 2.0**-24
"""Bound on |computed - exact|_2 / |x|_2 in float32, of ``Rotation.apply`` and ``undo``.

Each of at most two steps stores twice, and rounds to float32 each time: four times
2^-24.  The fifth is for what a step leaves out, rounded when it comes, or for the
rounding of all that is to be undone.  The sixth is for the float64 sums, in at most 20
stages, each off by less than 16^1.5 2^-53.  All maps are orthogonal, so none of these
errors grows on its way."""
LEAST: Final = 1 << 6
"""Values from which on rotating pays: below, ``spread`` is no better than the norm."""
_RUN_BITS: Final = 15  # a run and its image, 256 KiB each, stay in cache
_STRIP_BITS: Final = 16  # twice that: the longer a row of a strip, the quicker it comes
_STAGE_BITS: Final = 4
_FAR_BITS: Final = 3  # across runs, where 16 rows would meet in the same cache sets
_TAIL_CONSTANT: Final = 3.179

Floats: TypeAlias = NDArray[np.float32] | NDArray[np.float64]
Pair: TypeAlias = tuple[NDArray[np.float64], NDArray[np.float64]]


def spread(length: int, exponent: int) -> float:
    """Return the range of rotated values, as a fraction of the vector's L2 norm.

    Guarantee: for a vector that does not depend on the signs, some rotated value
    exceeds it with probability at most 2^-exponent.
    """
    chance = 2.0**-exponent / (2 * _TAIL_CONSTANT * length)
    low, high = 0.0, math.sqrt(-2 * math.log(chance))
    for _ in range(40):  # to far below the error that is added; kept on the safe side
        middle = (low + high) / 2
        enough = math.erfc(middle / math.sqrt(2)) / 2 <= chance
        low, high = (low, middle) if enough else (middle, high)
    return high / math.sqrt(_width(length))


class Rotation:
    """The rotation of vectors of one length.

    Args:
        length: m, at least ``LEAST``.
        seed: Public bytes that all who use it share.
    """

    def __init__(self, length: int, seed: bytes) -> None:
        self._width = _width(length)
        steps = (0,) if length == self._width else (0, length - self._width)
        self._steps = [
            (
                start,
                usage.digest(usage.TAG_ROTATION_SIGNS, seed, bytes([i]))[:KEY_BYTES],
            )
            for i, start in enumerate(steps)
        ]
        self._run = min(self._width, 1 << _RUN_BITS)

    def apply(
        self,
        values: Floats,
        given: NDArray[np.floating] | None = None,
        check: Callable[[NDArray[np.float64]], None] = lambda block: None,
    ) -> None:
        """Rotate a vector.

        Args:
            values: shape (length,); receives the rotated vector.
            given: shape (length,), the vector; by default it is in ``values``.
            check: Sees the size of each of its values once, some at a time; may raise.
        """
        width = self._width
        source = values if given is None else given
        for left in range(width, len(source), self._run):
            block = source[left : left + self._run].astype(np.float64)
            check(block)
            values[left : left + self._run] = block
        for step, (start, key) in enumerate(self._steps):
            part = values[start : start + width]
            come = source[:width] if step == 0 else part
            seen = check if step == 0 else lambda block: None
            self._within(part, come, key, seen)
            self._across(part)

    def undo(self, values: Floats) -> None:
        """Apply the inverse, which is the transpose, in place."""
        for start, key in reversed(self._steps):
            part = values[start : start + self._width]
            self._across(part)
            self._within_undone(part, key)

    def _within(
        self,
        part: Floats,
        come: NDArray[np.floating],
        key: bytes,
        check: Callable[[NDArray[np.float64]], None],
    ) -> None:
        """Give signs to the values that come, and transform each run of them."""
        bits = np.dtype(come.dtype.str.replace("f", "u"))
        pair = _pair(self._run)
        with np.errstate(over="ignore"):  # of squares, in a check of the norm
            for place, flips in self._flips(key, bits.newbyteorder("=")):
                np.bitwise_xor(come[place].view(bits), flips, out=flips)
                np.copyto(pair[0], flips.view(f"f{bits.itemsize}"))
                check(pair[0])
                part[place] = _transform(pair, self._run, 1)

    def _within_undone(self, part: Floats, key: bytes) -> None:
        pair = _pair(self._run)
        for place, flips in self._flips(key, np.dtype("=u8")):
            np.copyto(pair[0], part[place])
            turned = _transform(pair, self._run, 1)
            np.bitwise_xor(turned.view("=u8"), flips, out=flips)
            part[place] = flips.view("=f8")

    def _flips(
        self, key: bytes, bits: np.dtype[np.unsignedinteger]
    ) -> Iterator[tuple[slice, NDArray[np.unsignedinteger]]]:
        """Yield each run's place, and what flips the signs of floats of so many bits.

        The sign of place i is bit i of the key's stream, lowest first; 1 is minus.
        """
        size = self._run // 8
        flips, places = np.empty(self._run, bits), np.empty(size, dtype=np.intp)
        stream = Keystream(key, size)
        for start in range(0, self._width, self._run):
            np.copyto(places, stream.take(size, 8))
            # A table and mode "clip" are several times faster than unpacking bits.
            table = _flips_of(bits.itemsize)
            np.take(table, places, axis=0, out=flips.reshape(-1, 8), mode="clip")
            yield slice(start, start + self._run), flips

    def _across(self, part: Floats) -> None:
        """Transform across the runs, as many columns at a time as fill one strip."""
        runs = self._width // self._run
        if runs == 1:
            return
        size = min(1 << _STRIP_BITS, self._width)
        table, columns = part.reshape(runs, self._run), size // runs
        pair = _pair(size)
        for left in range(0, self._run, columns):
            strip = table[:, left : left + columns]
            np.copyto(pair[0].reshape(runs, columns), strip)
            turned = _transform(pair, runs, columns)
            strip[:] = turned.reshape(runs, columns)


def _pair(size: int) -> Pair:
    return np.empty(size), np.empty(size)


def _transform(pair: Pair, size: int, inner: int) -> NDArray[np.float64]:
    """Transform ``size`` rows of ``inner`` columns, from the first of the pair."""
    source, target = pair
    stride = inner
    for bits in _stages(
        size.bit_length() - 1, _STAGE_BITS if inner == 1 else _FAR_BITS
    ):
        order = 1 << bits
        matrix = _hadamard(bits)
        if stride == 1:
            shape: tuple[int, ...] = (-1, order)
            np.matmul(source.reshape(shape), matrix, out=target.reshape(shape))
        else:
            shape = (-1, order, stride)
            np.matmul(matrix, source.reshape(shape), out=target.reshape(shape))
        stride *= order
        source, target = target, source
    return source


def _width(length: int) -> int:
    return 1 << (length.bit_length() - 1)


def _stages(bits: int, most: int) -> Iterator[int]:
    while bits:
        stage = min(bits, most)
        yield stage
        bits -= stage


@functools.cache
def _hadamard(bits: int) -> NDArray[np.float64]:
    """Return the orthonormal Hadamard matrix of order 2^bits."""
    matrix: NDArray[np.float64] = np.full((1, 1), 1 / math.sqrt(1 << bits))
    for _ in range(bits):
        matrix = np.vstack((np.hstack((matrix, matrix)), np.hstack((matrix, -matrix))))
    return matrix


@functools.cache
def _flips_of(itemsize: int) -> NDArray[np.unsignedinteger]:
    """Return for each octet, lowest bit first, the sign bit of a float or nothing."""
    octets = np.arange(256, dtype=np.uint8)[:, None]
    ones = np.unpackbits(octets, axis=1, bitorder="little")
    flips: NDArray[np.unsignedinteger] = ones.astype(f"=u{itemsize}")
    flips <<= flips.dtype.type(8 * itemsize - 1)
    return flips
