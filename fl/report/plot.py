"""Curves as numbers, and the geometry that turns them into inline SVG.

The SVG itself is written by `macros.html.jinja` with CSS classes, so that one drawing
serves light, dark and print. Everything here is a pure function of the numbers.

It does NOT smooth, extrapolate or fit: a line joins the points that were given.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, pairwise
from typing import Literal

from fl.report.axes import axis, placed
from fl.report.wording import number

# One drawing size for all screens: at 400 px it is shown nearly 1:1, so 12 px text
# stays readable; wide screens show two side by side instead of one enlarged.
WIDTH, HEIGHT = 440.0, 300.0
LEFT, RIGHT, TOP, BOTTOM = 52.0, 16.0, 14.0, 46.0
SLOTS = 6  # colours, dashes and markers in the style sheet
_MOST_MARKERS = 24
_MOST_TABLE_ROWS = 64


class CurveError(ValueError):
    """A curve that cannot be drawn honestly: the caller's fault."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """One line, with its interval where `low` and `high` are given.

    Args:
        name: the legend's words.
        x: positions, increasing, at least one.
        y: values at x.
        low: lower ends at x; give both ends or neither.
        high: upper ends at x.
        role: "measured" is drawn in colour; "reference" (a baseline or null) is
            drawn quietly, dashed.

    Raises:
        CurveError: lengths differ, x does not increase, or a number is not finite.
    """

    name: str
    x: tuple[float, ...]
    y: tuple[float, ...]
    low: tuple[float, ...] | None = None
    high: tuple[float, ...] | None = None
    role: Literal["measured", "reference"] = "measured"

    def __post_init__(self) -> None:
        rows = [self.x, self.y]
        if (self.low is None) != (self.high is None):
            raise CurveError(f"series {self.name!r} has one end of its interval only.")
        if self.low is not None and self.high is not None:
            rows += [self.low, self.high]
        if len({len(row) for row in rows}) != 1 or not self.x:
            raise CurveError(
                f"series {self.name!r} has {[len(r) for r in rows]} numbers in x, y "
                "and its interval; give equally many, at least one."
            )
        if not all(math.isfinite(v) for v in chain.from_iterable(rows)):
            raise CurveError(
                f"series {self.name!r} holds NaN or Infinity; leave the point out."
            )
        if any(b < a for a, b in pairwise(self.x)):
            raise CurveError(f"series {self.name!r} has an x that decreases; sort it.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """One plot.

    Args:
        title: what is plotted.
        caption: one sentence on how to read it, with n and the confidence.
        x_label: name and unit.
        y_label: name and unit.
        series: at least one, drawn in this order.
        place: the part of the page it belongs to.
        log_x: logarithmic x axis; points at or below zero are then not drawn.
        log_y: likewise for y.
        diagonal: draw y = x, the line of guessing in a ROC.

    Raises:
        CurveError: no series, or nothing that can be drawn on a logarithmic axis.
    """

    title: str
    caption: str
    x_label: str
    y_label: str
    series: tuple[Series, ...]
    place: Literal["utility", "leakage", "exposed"] = "leakage"
    log_x: bool = False
    log_y: bool = False
    diagonal: bool = False

    def __post_init__(self) -> None:
        if not self.series:
            raise CurveError(f"curve {self.title!r} has no series.")
        if not any(_drawable(self, s) for s in self.series):
            raise CurveError(
                f"curve {self.title!r} has no point above zero for its logarithmic "
                "axis; use a linear one."
            )


@dataclass(frozen=True, slots=True)
class Tick:
    """A labelled position on an axis, in drawing units."""

    at: float
    label: str


@dataclass(frozen=True, slots=True)
class Stroke:
    """One series as drawn: an SVG path, its band and its markers."""

    name: str
    role: str
    slot: int  # colour, dash and marker, counted over the measured series
    path: str
    band: str
    dots: tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True)
class Drawing:
    """A curve in drawing units, ready for the macro."""

    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    strokes: tuple[Stroke, ...]
    diagonal: str


def draw(curve: Curve, slots: Mapping[str, int] | None = None) -> Drawing:
    """Place a curve in the drawing.

    Guarantees that every drawn coordinate lies inside the frame and that the same
    curve gives the same text.

    Args:
        curve: what to draw.
        slots: the place in the colour and marker cycle of each series that is named
            the same on several drawings; others get the places that are left.

    Returns:
        Ticks, paths, bands and markers in units of the 440 x 300 view box.
    """
    shown = [(s, _drawable(curve, s)) for s in curve.series]
    xs = [s.x[i] for s, kept in shown for i in kept]
    ys = [
        v
        for s, kept in shown
        for i in kept
        for v in (s.y[i], *_ends(s, i))
        if v > 0 or not curve.log_y
    ]
    x_low, x_high, x_at = axis(xs, log=curve.log_x, padded=False)
    y_low, y_high, y_at = axis(ys, log=curve.log_y, padded=True)
    x_of = placed(x_low, x_high, LEFT, WIDTH - RIGHT, log=curve.log_x)
    y_of = placed(y_low, y_high, HEIGHT - BOTTOM, TOP, log=curve.log_y)
    places = _places(curve, slots or {})
    strokes = [_stroke(series, kept, places, x_of, y_of) for series, kept in shown]
    diagonal = ""
    if curve.diagonal:
        start, end = max(x_low, y_low), min(x_high, y_high)
        if start < end:
            diagonal = _path([(x_of(v), y_of(v)) for v in (start, end)])
    return Drawing(
        x_ticks=tuple(Tick(x_of(v), number(v)) for v in x_at),
        y_ticks=tuple(Tick(y_of(v), number(v)) for v in y_at),
        strokes=tuple(strokes),
        diagonal=diagonal,
    )


def table(curve: Curve) -> tuple[tuple[str, ...], ...]:
    """List a curve's numbers: one row per series and point, thinned evenly.

    Returns:
        Rows (series, x, y, interval), at most 64 per series, ends included.
    """
    rows = []
    for series in curve.series:
        for i in _thinned(len(series.x)):
            ends = _ends(series, i)
            span = f"{number(ends[0])} to {number(ends[1])}" if ends else ""
            rows.append((series.name, number(series.x[i]), number(series.y[i]), span))
    return tuple(rows)


def _thinned(count: int) -> Sequence[int]:
    """Choose at most 64 of `count` points, evenly, both ends included."""
    if count <= _MOST_TABLE_ROWS:
        return range(count)
    step = (count - 1) / (_MOST_TABLE_ROWS - 1)
    return [round(i * step) for i in range(_MOST_TABLE_ROWS)]


def _drawable(curve: Curve, series: Series) -> list[int]:
    return [
        i
        for i in range(len(series.x))
        if (series.x[i] > 0 or not curve.log_x) and (series.y[i] > 0 or not curve.log_y)
    ]


def _ends(series: Series, i: int) -> tuple[float, ...]:
    if series.low is None or series.high is None:
        return ()
    return series.low[i], series.high[i]


def _places(curve: Curve, slots: Mapping[str, int]) -> dict[str, int]:
    """Give each measured series its place in the cycle, shared ones first."""
    names = [s.name for s in curve.series if s.role == "measured"]
    taken = {name: slots[name] % SLOTS for name in names if name in slots}
    free = [i for i in range(len(names) + SLOTS) if i not in taken.values()]
    rest = (name for name in names if name not in taken)
    return taken | dict(zip(rest, free, strict=False))


def _stroke(
    series: Series,
    kept: Sequence[int],
    places: Mapping[str, int],
    x_of: Callable[[float], float],
    y_of: Callable[[float], float],
) -> Stroke:
    points = [(x_of(series.x[i]), y_of(series.y[i])) for i in kept]
    band = ""
    if series.low is not None and series.high is not None:
        upper = [(x_of(series.x[i]), y_of(series.high[i])) for i in kept]
        lower = [(x_of(series.x[i]), y_of(series.low[i])) for i in reversed(kept)]
        band = _path(upper + lower) + "Z"
    marked = series.role == "measured" and len(points) <= _MOST_MARKERS
    return Stroke(
        name=series.name,
        role=series.role,
        slot=places.get(series.name, 0) % SLOTS,
        path=_path(points),
        band=band,
        dots=tuple((round(x, 1), round(y, 1)) for x, y in points) if marked else (),
    )


def _path(points: Sequence[tuple[float, float]]) -> str:
    return "".join(
        f"{'L' if i else 'M'}{x:.1f} {y:.1f}" for i, (x, y) in enumerate(points)
    )
