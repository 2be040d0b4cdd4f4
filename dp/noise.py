"""Gaussian noise from cryptographic bytes.

    noise = gaussian(1000, 2.5, seed=None)    # from the operating system

Every coordinate is the normal quantile of a 53-bit uniform, so the draws are as hard
to predict as the bytes, which numpy's and torch's generators do not offer.

What this does not promise: the result is a float64. Its tails are cut at 8.3 standard
deviations (the quantile of 2^-54), and its values are a finite grid, of which some can
be told apart from the noise around another sum in the last bits (Mironov, "On
Significance of the Least Significant Bits for Differential Privacy", CCS 2012). An
epsilon computed for real-valued Gaussian noise holds for this one but for floating
point; noise that is exact, on integers, is another mechanism.
"""

from __future__ import annotations

import hashlib
import math
import os
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from dp.errors import ParameterError

TAG: Final = b"blindsum/dp/1/gaussian-noise/"
"""Before every seed, so that no seed serves two purposes; ends the fixed prefix."""

UNIFORM_BITS: Final = 53
# Beyond this, a sum of noise and signal could overflow float64.
STD_MAX: Final = 2.0**500


def gaussian(length: int, std: float, *, seed: bytes | None) -> NDArray[np.float64]:
    """Draw independent normal variates of mean zero.

    Guarantee: the same seed gives the same vector, bit for bit, for one version of
    scipy; a longer one begins with the shorter one. Without a seed, each call is
    fresh.

    Args:
        length: how many, >= 1.
        std: standard deviation, > 0.
        seed: None in deployment: bytes of the operating system. In a simulation,
            bytes used for this one release and no other; whoever knows them can
            subtract the noise.

    Returns:
        (length,) float64.

    Raises:
        ParameterError: the caller's: a length below 1, a standard deviation that is
            not a positive finite number, or an empty seed.
    """
    if length < 1:
        raise ParameterError(f"length={length} of the noise must be at least 1.")
    if not 0 < std <= STD_MAX:
        raise ParameterError(
            f"std={std} of the noise must be positive and finite; without noise "
            "there is no epsilon."
        )
    if seed is None:
        data = os.urandom(8 * length)
    elif not seed:
        raise ParameterError(
            "The seed of the noise is empty; give bytes, or None for the operating "
            "system's."
        )
    else:
        data = hashlib.shake_256(TAG + seed).digest(8 * length)
    words = np.frombuffer(data, dtype="<u8") >> np.uint64(64 - UNIFORM_BITS)
    return std * _normal(words)


def _normal(words: NDArray[np.uint64]) -> NDArray[np.float64]:
    # The quantile of (k + 1/2) / 2^53. For k >= 2^52 that sum needs 54 bits, and
    # rounding would turn the largest k into quantile(1) = infinity, so the upper half
    # is taken by symmetry from the lower, where everything is exact.
    top = np.uint64((1 << UNIFORM_BITS) - 1)
    upper = words > top >> np.uint64(1)
    lower = np.where(upper, top - words, words).astype(np.float64)
    magnitude = ndtri((lower + 0.5) * math.ldexp(1.0, -UNIFORM_BITS))
    normal: NDArray[np.float64] = np.where(upper, -magnitude, magnitude)
    return normal
