"""Integer noise, exact from secure bytes: discrete Gaussian and Skellam.

    noise = DiscreteGaussian(variance=10_000).draw(1_000_000, os.urandom)    # int64

Both are symmetric integers, cut at a public bound so that a sum of them fits a ring:

* `DiscreteGaussian`: P[x] in proportion to exp(-x^2 / (2 v)) (Canonne, Kamath, Steinke,
  arXiv:2004.00010, Definition 1). v is the variance but for exp(-2 pi^2 v).
* `Skellam`: the difference of two Poisson variates of mean v / 2 (Agarwal, Kairouz,
  Liu, arXiv:2110.04995). v is the variance.

No float is in the path from bytes to noise. The cut distribution is drawn exactly; from
the one without the cut it is at a distance, in total variation, of at most 2^-102 a
coordinate, which accounting adds to delta (`dp.distributed`).

How long a draw takes depends on what is drawn. That matters where somebody can time a
client to within microseconds, and is not defended against.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import isqrt
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from dp.errors import ParameterError
from dp.inversion import Inversion, Rng, below, coin_exp
from dp.series import bessel_ratios, exp_minus, quadratic_powers

CUT_BITS: Final = 102
"""Noise without the cut is beyond it with a chance of at most 2^-102 a coordinate."""

GAUSSIAN_VARIANCE_MAX: Final = 1 << 48
# A table of 12 standard deviations, 393,000 entries; twice as wide takes twice as long.
SKELLAM_VARIANCE_MAX: Final = 1 << 30
# exp(-72) < 2^-103: twelve standard deviations of a Gaussian.
_EXPONENT: Final = 72
_BLOCKS_PER_STD: Final = 64
_GUARD_BITS: Final = 64


class IntegerNoise(Protocol):
    """Integers of mean zero within a public bound."""

    @property
    def variance(self) -> int:
        """The parameter v."""

    @property
    def bound(self) -> int:
        """Largest |noise| of one coordinate."""

    def draw(self, length: int, rng: Rng) -> NDArray[np.int64]:
        """Draw independent coordinates."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DiscreteGaussian:
    """Noise x with P[x] in proportion to exp(-x^2 / (2 variance)), |x| <= bound.

    Attributes:
        variance: v, an integer in 1..2^48.

    Raises:
        ParameterError: the caller's: a variance out of range.
    """

    variance: int

    def __post_init__(self) -> None:
        _check(self.variance, GAUSSIAN_VARIANCE_MAX)

    @property
    def bound(self) -> int:
        """Return B >= 12 sqrt(v).

        Without the cut P[|x| > B] <= exp(-B^2 / (2 v)) <= exp(-72): the sum over x > B
        is at most the integral from B, and the sum over all x at least sqrt(2 pi v), by
        Poisson's summation formula.
        """
        return isqrt(2 * _EXPONENT * self.variance) + 1

    def draw(self, length: int, rng: Rng) -> NDArray[np.int64]:
        """Draw independent coordinates; exact if `rng` is uniform.

        A block of magnitudes by its largest weight, a place in the block uniformly,
        and a coin that makes up for the weight there, which is exp(-rational).

        Args:
            length: how many, >= 1.
            rng: source of uniform bytes; os.urandom in deployment.

        Returns:
            (length,) int64.

        Raises:
            ParameterError: the caller's: a length below 1 or a broken source.
        """
        _check_length(length)
        blocks, size = _gaussian_blocks(self.variance), _block_size(self.variance)
        noise = np.zeros(length, dtype=np.int64)
        pending = np.arange(length)
        while pending.size:
            first = blocks.draw(pending.size, rng) * np.uint64(size)
            offset = below(pending.size, size, rng)
            magnitude = first + offset
            # (x^2 - first^2) / (2 v) < 1: blocks are a 64th of a deviation wide.
            surplus = offset * (first + magnitude)
            negative = below(pending.size, 2, rng) == 1
            keep = magnitude <= np.uint64(self.bound)
            keep &= ~(negative & (magnitude == 0))  # zero has one sign, not two
            keep &= coin_exp(surplus, 2 * self.variance, rng)
            signed = np.where(negative, -magnitude.view(np.int64), magnitude)
            noise[pending[keep]] = signed[keep]
            pending = pending[~keep]
        return noise


@dataclass(frozen=True, slots=True, kw_only=True)
class Skellam:
    """Noise Poisson(variance / 2) - Poisson(variance / 2), given |x| <= bound.

    Attributes:
        variance: v, an integer in 1..2^30.

    Raises:
        ParameterError: the caller's: a variance out of range.
    """

    variance: int

    def __post_init__(self) -> None:
        _check(self.variance, SKELLAM_VARIANCE_MAX)

    @property
    def bound(self) -> int:
        """Return B with B^2 >= 144 v + 48 B.

        Without the cut P[|x| > B] <= 2 exp(-B^2 / (2 v + 2 B / 3)) <= 2 exp(-72), by
        Bernstein's inequality for jumps of one.
        """
        return isqrt(2 * _EXPONENT * self.variance + 576) + 25

    def draw(self, length: int, rng: Rng) -> NDArray[np.int64]:
        """Draw independent coordinates; exact if `rng` is uniform.

        Args:
            length: how many, >= 1.
            rng: source of uniform bytes; os.urandom in deployment.

        Returns:
            (length,) int64.

        Raises:
            ParameterError: the caller's: a length below 1 or a broken source.
        """
        _check_length(length)
        magnitude = _skellam_magnitudes(self.variance).draw(length, rng)
        negative = below(length, 2, rng) == 1
        signed = magnitude.view(np.int64)
        return np.where(negative, -signed, signed)


def _check(variance: int, most: int) -> None:
    if isinstance(variance, bool) or not isinstance(variance, int):
        raise ParameterError(f"variance={variance!r} of the noise must be an integer.")
    if not 1 <= variance <= most:
        raise ParameterError(
            f"variance={variance} of the noise must lie in 1..2^{most.bit_length() - 1}"
            "; encode in more bits if it is too small, in fewer if it is too large."
        )


def _check_length(length: int) -> None:
    if length < 1:
        raise ParameterError(f"length={length} of the noise must be at least 1.")


def _block_size(variance: int) -> int:
    return max(1, isqrt(variance) // _BLOCKS_PER_STD)


@lru_cache(maxsize=64)
def _gaussian_blocks(variance: int) -> Inversion:
    """Draw j with weight exp(-(j size)^2 / (2 variance))."""
    size = _block_size(variance)
    count = DiscreteGaussian(variance=variance).bound // size + 1

    def weights(bits: int) -> tuple[list[int], list[int]]:
        scale = bits + _GUARD_BITS
        factor = exp_minus(size * size, 2 * variance, scale)
        low = quadratic_powers(factor[0], count, scale, up=False)
        return low, quadratic_powers(factor[1], count, scale, up=True)

    return Inversion(weights)


@lru_cache(maxsize=16)
def _skellam_magnitudes(variance: int) -> Inversion:
    """Draw |x| with weight I_|x|(variance), twice that for |x| > 0 over both signs."""
    count = Skellam(variance=variance).bound + 1

    def weights(bits: int) -> tuple[list[int], list[int]]:
        scale = bits + _GUARD_BITS
        ratios = bessel_ratios(variance, count, scale)
        low, high = [1 << scale], [1 << scale]
        for ratio_low, ratio_high in ratios:
            low.append(low[-1] * ratio_low >> scale)
            high.append(-(-high[-1] * ratio_high >> scale))
        low[1:] = [2 * weight for weight in low[1:]]
        high[1:] = [2 * weight for weight in high[1:]]
        return low, high

    return Inversion(weights)
