"""Interval strips: a value, its interval and its marks on a shared scale, in one line.

Positions are percentages of the strip's width, so that the drawing fits any column
without being stretched. It does NOT draw; the macro does.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

_EDGE = 4.0  # per cent kept free at each end, so that end markers are not cut


@dataclass(frozen=True, slots=True)
class Scale:
    """A linear scale shared by the strips that are compared with one another."""

    low: float
    high: float

    def at(self, value: float) -> str:
        """Return the position of a value as an SVG percentage, kept on the strip."""
        share = (min(max(value, self.low), self.high) - self.low) / (
            self.high - self.low
        )
        return f"{_EDGE + share * (100 - 2 * _EDGE):.2f}%"


@dataclass(frozen=True, slots=True)
class Strip:
    """One row's value and interval, placed on its scale."""

    value: str
    low: str
    high: str
    beyond: bool  # the value lies past the scale's upper end


def scale(values: Iterable[float | None]) -> Scale | None:
    """Fit a scale around the values that are there; None where there is none.

    Shares of one keep the ends 0 and 1 when the values span more than half of it.
    """
    known = [v for v in values if v is not None]
    if not known:
        return None
    low, high = min(known), max(known)
    if low >= 0 and high <= 1 and high - low > 0.5:
        return Scale(0.0, 1.0)
    if low == high:
        return Scale(low - 0.5, high + 0.5)
    step = 10 ** math.floor(math.log10(high - low))
    return Scale(math.floor(low / step) * step, math.ceil(high / step) * step)


def strip(
    on: Scale | None, value: float | None, low: float | None, high: float | None
) -> Strip | None:
    """Place one value; an open end runs to the edge of the scale."""
    if on is None or value is None:
        return None
    return Strip(
        value=on.at(value),
        low=on.at(on.low if low is None and high is not None else _or(low, value)),
        high=on.at(on.high if high is None and low is not None else _or(high, value)),
        beyond=value > on.high,
    )


def _or(end: float | None, value: float) -> float:
    return value if end is None else end
