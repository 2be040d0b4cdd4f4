"""Axes: where they end, where their ticks are, and where a value falls on them.

It does NOT draw and knows nothing of curves.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

_MOST_TICKS = 6


def placed(
    low: float, high: float, start: float, end: float, *, log: bool
) -> Callable[[float], float]:
    """Map [low, high] to [start, end]; what lies outside is moved to the nearer end.

    Args:
        low: the axis' lower end; above zero if `log`.
        high: the axis' upper end, above `low`.
        start: where `low` is drawn.
        end: where `high` is drawn.
        log: equal ratios get equal lengths.

    Returns:
        A function from values to drawing units.
    """
    if log:
        low, high = math.log10(low), math.log10(high)

    def place(value: float) -> float:
        if log:
            value = math.log10(value) if value > 0 else low
        share = (min(max(value, low), high) - low) / (high - low)
        return start + share * (end - start)

    return place


def axis(
    values: Sequence[float], *, log: bool, padded: bool
) -> tuple[float, float, list[float]]:
    """Choose an axis' two ends and its ticks.

    Args:
        values: what is drawn on it, at least one; above zero if `log`.
        log: whether the axis is logarithmic.
        padded: move the ends of a linear axis out to ticks.

    Returns:
        The lower end, the upper end above it, and ticks between them.
    """
    low, high = min(values), max(values)
    if log:
        if low == high:
            low, high = low / 2, high * 2
        return low, high, _log_ticks(values, low, high)
    if low == high:
        low, high = low - 0.5, high + 0.5
    step = _nice((high - low) / (_MOST_TICKS - 1))
    if padded:
        low, high = math.floor(low / step) * step, math.ceil(high / step) * step
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return low, high, [i * step for i in range(first, last + 1)]


def _log_ticks(values: Sequence[float], low: float, high: float) -> list[float]:
    """Take powers of two where the data are such, else powers of ten, else 1-2-5."""
    own = sorted(set(values))
    if len(own) <= _MOST_TICKS + 2 and all(math.log2(v).is_integer() for v in own):
        return own
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    decades = [10.0**p for p in range(first, last + 1)]
    inside = [v for v in decades if low <= v <= high]
    if len(inside) >= 2:
        return inside[:: math.ceil(len(inside) / _MOST_TICKS)]
    return [v for d in decades for v in (d, 2 * d, 5 * d) if low <= v <= high]


def _nice(raw: float) -> float:
    """Round a step up to 1, 2 or 5 times a power of ten."""
    power = 10.0 ** math.floor(math.log10(raw))
    return next(m * power for m in (1, 2, 5, 10) if m * power >= raw * (1 - 1e-9))
