"""Results as plain values, so that two can be compared to the bit, but for times."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import fields, is_dataclass

import numpy as np
import torch

TIMED = re.compile(r"seconds|_s$|started_utc|cpu|^cores$")


def plain(value: object) -> object:
    """Return ``value`` as tuples and dicts of bytes and numbers, without times."""
    if isinstance(value, torch.Tensor):
        return plain(value.numpy())
    if isinstance(value, np.ndarray):
        return value.dtype.str, value.shape, value.tobytes()
    if is_dataclass(value) and not isinstance(value, type):
        return {
            one.name: plain(getattr(value, one.name))
            for one in fields(value)
            if not TIMED.search(one.name)
        }
    if isinstance(value, Mapping):
        return {
            str(key): plain(one)
            for key, one in value.items()
            if not TIMED.search(str(key))
        }
    if isinstance(value, list | tuple):
        return tuple(plain(one) for one in value)
    if isinstance(value, frozenset | set):
        return tuple(sorted(map(repr, value)))
    assert isinstance(value, str | bytes | int | float | None), type(value)
    return value
