"""What a client puts into the slots of CKKS, and what a decrypted sum must look like.

The slots are the values times the weight, the weight, and four checks::

    check_j = sum of +-slot_i / sqrt(m)    over the m slots of values and weight

with public signs from context and round.  The checks of a sum are the sums of the
checks, within an error that ``approximate`` bounds.  A wrong key, or coefficients that
were altered at random, give slots of 2^59 in place of the clients' few; inputs of
different contexts differ in their signs.  This is no authentication: whoever carries a
ciphertext can add to it what passes, which the transport has to exclude.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from secagg import usage
from secagg.approximate_frame import CHECKS, SLOTS, ApproximateFrame
from secagg.errors import IntegrityError
from secagg.prg import Keystream

_BLOCK: Final = 8192  # short sums, whose rounding the bound has room for


@dataclass(frozen=True, slots=True, eq=False)
class ApproximateMean:
    """A weighted mean, its exact total weight, and the bound on its error.

    Attributes:
        mean: shape (length,), float64.
        weight: Of all clients in the sum.
        max_error: Bound on |mean - true weighted mean| per coordinate.
    """

    mean: NDArray[np.float64]
    weight: int
    max_error: float


def fill(
    frame: ApproximateFrame,
    vector: NDArray[np.floating],
    weight: int,
    binding: bytes,
) -> NDArray[np.float64]:
    """Return the slots of one client, shape (ciphertexts, SLOTS), zeros behind them.

    Args:
        frame: Of the round.
        vector: shape (length,), checked.
        weight: Checked.
        binding: Round id and context; they give the signs.
    """
    slots = np.zeros((frame.ciphertexts, SLOTS))
    flat = slots.reshape(-1)
    np.multiply(vector, float(weight), out=flat[: frame.length], dtype=np.float64)
    flat[frame.length] = weight
    flat[frame.covered : frame.covered + CHECKS] = _checks(
        flat[: frame.covered], binding
    )
    return slots


def read(
    frame: ApproximateFrame, slots: NDArray[np.float64], count: int, binding: bytes
) -> ApproximateMean:
    """Return the mean from the decrypted slots of a sum over ``count`` clients.

    Args:
        frame: Of the round.
        slots: shape (ciphertexts, SLOTS).
        count: Clients in the sum.
        binding: As in ``fill``.

    Raises:
        IntegrityError: They are no such sum's (nobody can be named).
    """
    flat = slots.reshape(-1)
    covered = flat[: frame.covered]
    claimed = flat[frame.covered : frame.covered + CHECKS]
    told = float(flat[frame.length])
    if not count - 0.5 < told < count * frame.weight_max + 0.5:
        raise _impossible()
    weight = round(told)
    error = frame.sum_error(count, weight)
    largest = max(float(covered.max()), -float(covered.min()))
    if not (abs(told - weight) <= error and largest <= weight * frame.reach + error):
        raise _impossible()
    gap = np.abs(_checks(covered, binding) - claimed).max()
    if not gap <= frame.check_error(count, weight):
        raise _impossible()
    return ApproximateMean(covered[: frame.length] / weight, weight, error / weight)


def _checks(covered: NDArray[np.float64], binding: bytes) -> list[float]:
    """Return the checks of the covered slots."""
    stream = Keystream(usage.digest(usage.TAG_INTEGRITY, b"ckks", binding), _BLOCK)
    sums: list[list[float]] = [[] for _ in range(CHECKS)]
    for start in range(0, len(covered), _BLOCK):
        block = covered[start : start + _BLOCK]
        drawn = stream.take(_BLOCK * CHECKS // 8, 8).reshape(CHECKS, -1)
        signs = 1.0 - 2.0 * np.unpackbits(drawn.view(np.uint8), axis=1)[:, : len(block)]
        for total, row in zip(sums, signs, strict=True):
            total.append(float(np.dot(row, block)))
    root = math.sqrt(len(covered))
    return [math.fsum(total) / root for total in sums]


def _impossible() -> IntegrityError:
    return IntegrityError(
        "the decrypted slots are no sum of inputs, so nothing is given out; check that "
        "all clients encrypted under one key and one context.",
        step="unmask",
    )
