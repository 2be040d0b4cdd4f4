"""Flower's SecAgg+ client, step 2, by its own functions, unmodified, in this process.

The functions are called as `flwr.client.mod.secaggplus_mod` calls them, with its
default clipping range and modulus. Decrypting shares and agreeing on keys are left
out on both sides.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence

import numpy as np

from benchmarks.peers.asking import MissingError

CLIP, MODULUS = 8.0, 1 << 32
TARGET = 1 << 16  # levels of a value, as many as ours


def check() -> None:
    """Refuse if Flower cannot be driven.

    Raises:
        MissingError: it is not installed.
    """
    if importlib.util.find_spec("flwr") is None:
        raise MissingError("not installed (pip install 'blindsum[flower]')")


def mask(arrays: list[np.ndarray], keys: Sequence[tuple[bytes, int]]) -> list:
    """Add or subtract the mask of each key, and reduce."""
    from flwr.common.secure_aggregation import ndarrays_arithmetic as arithmetic
    from flwr.common.secure_aggregation.secaggplus_utils import pseudo_rand_gen

    shapes = [array.shape for array in arrays]
    for key, sign in keys:
        drawn = pseudo_rand_gen(key, MODULUS, shapes)
        if sign == 1:
            arrays = arithmetic.parameters_addition(arrays, drawn)
        else:
            arrays = arithmetic.parameters_subtraction(arrays, drawn)
    return arithmetic.parameters_mod(arrays, MODULUS)


def client_step(vector: np.ndarray, keys: Sequence[tuple[bytes, int]]) -> list[bytes]:
    """Weigh (by one), quantise, mask and serialise one client's update."""
    from flwr.common import ndarray_to_bytes
    from flwr.common.secure_aggregation import ndarrays_arithmetic as arithmetic
    from flwr.common.secure_aggregation.quantization import quantize

    weighed = arithmetic.parameters_multiply([vector], 1.0)
    whole = arithmetic.factor_combine(TARGET, quantize(weighed, CLIP, TARGET))
    return [ndarray_to_bytes(array) for array in mask(whole, keys)]


def unmasked(sent: list[bytes], keys: Sequence[tuple[bytes, int]]) -> np.ndarray:
    """Take the masks off one client's upload and give back its vector."""
    from flwr.common import bytes_to_ndarray
    from flwr.common.secure_aggregation.ndarrays_arithmetic import factor_extract
    from flwr.common.secure_aggregation.quantization import dequantize

    arrays = [bytes_to_ndarray(data) for data in sent]
    arrays = mask(arrays, [(key, -sign) for key, sign in keys])
    _, values = factor_extract(arrays)
    return dequantize(values, CLIP, TARGET)[0]
