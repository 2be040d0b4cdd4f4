"""Flower's quantiser for SecAgg+, unmodified, in this process."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable

import numpy as np

from benchmarks.peers.asking import MissingError


def job(vector: np.ndarray, *, bits: int) -> Callable[[], list[np.ndarray]]:
    """Return what quantises a vector to so many bits, seen to be right.

    Its clipping range is the largest value, the finest that cuts nothing.

    Raises:
        MissingError: Flower is not installed.
    """
    if importlib.util.find_spec("flwr") is None:
        raise MissingError("not installed (pip install 'blindsum[flower]')")
    os.environ.setdefault("FLWR_TELEMETRY_ENABLED", "0")
    from flwr.common.secure_aggregation import quantization

    reach, levels = float(np.abs(vector).max()), (1 << bits) - 1
    done = quantization.quantize([vector], reach, levels)
    back = quantization.dequantize(done, reach, levels)[0]
    # One step, and what its float32 arithmetic adds.
    if float(np.abs(back - vector).max()) > 2 * reach * (1 / levels + 2.0**-20):
        raise RuntimeError("flower's quantiser is off by more than a step.")
    return lambda: quantization.quantize([vector], reach, levels)
