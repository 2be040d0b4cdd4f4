"""Curves, strips and pictures: what is drawn is what was given."""

from __future__ import annotations

import io
import math
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image as Pillow

from fl.report import Curve, CurveError, Gallery, GalleryError, Series
from fl.report import plot as plotting
from fl.report.pictures import png
from fl.report.strip import scale, strip

POINT = re.compile(r"[ML](-?[\d.]+) (-?[\d.]+)")
NUMBERS = st.floats(-1e6, 1e6).map(lambda v: round(v, 3))


def curve(
    xs: list[float], ys: list[float], *, log_x: bool = False, log_y: bool = False
) -> Curve:
    series = Series(name="s", x=tuple(xs), y=tuple(ys))
    return Curve(
        title="t",
        caption="c",
        x_label="x",
        y_label="y",
        series=(series,),
        log_x=log_x,
        log_y=log_y,
    )


def points(path: str) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, y in POINT.findall(path)]


@given(st.lists(st.tuples(NUMBERS, NUMBERS), min_size=1, max_size=30))
def test_every_point_is_drawn_inside_the_frame_in_its_order(
    pairs: list[tuple[float, float]],
) -> None:
    pairs = sorted(pairs)
    xs, ys = [x for x, _ in pairs], [y for _, y in pairs]
    drawn = points(plotting.draw(curve(xs, ys)).strokes[0].path)
    assert len(drawn) == len(pairs)
    for x, y in drawn:
        assert plotting.LEFT <= x <= plotting.WIDTH - plotting.RIGHT
        assert plotting.TOP <= y <= plotting.HEIGHT - plotting.BOTTOM
    # Oracle: the drawing keeps the order of x, and turns the order of y over.
    assert [x for x, _ in drawn] == sorted(x for x, _ in drawn)
    highest, lowest = ys.index(max(ys)), ys.index(min(ys))
    assert drawn[highest][1] <= drawn[lowest][1]


@given(st.lists(st.floats(1e-6, 1e6), min_size=1, max_size=20))
def test_a_logarithmic_axis_has_ticks_inside_its_range(values: list[float]) -> None:
    values = sorted(values)
    drawing = plotting.draw(curve(values, values, log_x=True, log_y=True))
    for tick in drawing.x_ticks:
        assert plotting.LEFT - 0.1 <= tick.at <= plotting.WIDTH - plotting.RIGHT + 0.1


def test_a_logarithmic_axis_spaces_equal_ratios_equally() -> None:
    drawing = plotting.draw(curve([1, 8, 64], [1, 2, 3], log_x=True))
    x = [p[0] for p in points(drawing.strokes[0].path)]
    assert x[1] - x[0] == pytest.approx(x[2] - x[1], abs=0.2)


def test_powers_of_two_label_their_own_axis() -> None:
    batches = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0]
    drawing = plotting.draw(curve(batches, batches, log_x=True))
    assert [t.label for t in drawing.x_ticks] == ["1", "2", "4", "8", "16", "32", "64"]


def test_a_zero_is_left_out_of_a_logarithmic_plot() -> None:
    drawing = plotting.draw(curve([0, 0.1, 1], [0.0, 0.1, 1], log_x=True, log_y=True))
    assert len(points(drawing.strokes[0].path)) == 2


def test_a_series_keeps_its_colour_from_one_drawing_to_the_next() -> None:
    order = {name: i for i, name in enumerate(("none", "secagg", "he-bfv"))}

    def slots(*names: str) -> dict[str, int]:
        series = tuple(Series(name=n, x=(1.0, 2.0), y=(1.0, 2.0)) for n in names)
        drawn = Curve(title="t", caption="c", x_label="x", y_label="y", series=series)
        return {s.name: s.slot for s in plotting.draw(drawn, order).strokes}

    assert slots("none", "secagg", "he-bfv") == order
    assert slots("he-bfv", "other") == {"he-bfv": 2, "other": 0}
    assert len(set(slots("a", "he-bfv", "none", "b", "c", "secagg").values())) == 6


def test_the_table_of_a_long_curve_keeps_both_ends() -> None:
    xs = [float(i) for i in range(1000)]
    rows = plotting.table(curve(xs, xs))
    assert (len(rows), rows[0][1], rows[-1][1]) == (64, "0", "999")


@pytest.mark.parametrize(
    ("x", "y", "low", "high"),
    [
        ((), (), None, None),
        ((1.0,), (1.0, 2.0), None, None),
        ((1.0,), (1.0,), (0.5,), None),
        ((1.0,), (math.nan,), None, None),
        ((1.0,), (1.0,), (0.5,), (math.inf,)),
        ((2.0, 1.0), (1.0, 1.0), None, None),
    ],
)
def test_a_series_that_cannot_be_drawn_honestly_is_refused(
    x: tuple[float, ...],
    y: tuple[float, ...],
    low: tuple[float, ...] | None,
    high: tuple[float, ...] | None,
) -> None:
    with pytest.raises(CurveError):
        Series(name="s", x=x, y=y, low=low, high=high)


def test_a_logarithmic_plot_of_nothing_above_zero_is_refused() -> None:
    with pytest.raises(CurveError, match="above zero"):
        curve([1.0], [0.0], log_y=True)


def test_a_strip_keeps_the_order_of_its_numbers() -> None:
    on = scale([10.0, 16.0])
    placed = strip(on, 13.0, 12.0, 15.0)
    assert placed is not None
    at = [float(p.rstrip("%")) for p in (placed.low, placed.value, placed.high)]
    assert at == sorted(at) and not placed.beyond
    off = strip(on, 100.0, 100.0, 100.0)
    assert off is not None and off.beyond


@pytest.mark.parametrize("values", [[3.0], [3.0, 3.0], [1e300, -1e300], [0.2, 0.9]])
def test_a_scale_has_a_width(values: list[float]) -> None:
    on = scale(values)
    assert on is not None and on.low < on.high
    assert scale([None]) is None


@pytest.mark.parametrize("shape", [(8, 8), (5, 3), (4, 6, 3), (1, 1)])
def test_png_decodes_to_the_same_pixels(shape: tuple[int, ...]) -> None:
    image = np.random.default_rng(3).random(shape)
    with Pillow.open(io.BytesIO(png(image))) as decoded:  # an independent decoder
        np.testing.assert_array_equal(np.asarray(decoded), np.rint(image * 255))


@pytest.mark.parametrize(
    "bad",
    [
        np.full((2, 2), np.nan),
        np.full((2, 2), 1.01),
        np.full((2, 2), -0.01),
        np.zeros((0, 2)),
        np.zeros((2, 2, 4)),
        np.zeros(4),
    ],
)
def test_an_image_that_cannot_be_shown_is_refused(bad: np.ndarray) -> None:
    good = np.zeros((2, 2))
    with pytest.raises(GalleryError):
        png(bad)
    with pytest.raises(GalleryError):
        gallery(reconstructions=(bad,), originals=(good,))


def test_a_gallery_with_a_row_short_is_refused() -> None:
    with pytest.raises(GalleryError, match="equally many"):
        gallery(originals=(np.zeros((2, 2)),) * 2, reconstructions=(np.zeros((2, 2)),))


def gallery(
    *, originals: tuple[np.ndarray, ...], reconstructions: tuple[np.ndarray, ...]
) -> Gallery:
    return Gallery(
        title="g",
        caption="c",
        originals=originals,
        reconstructions=reconstructions,
        null=(np.zeros((2, 2)),),
        psnr=(None,),
        labels=("0",),
    )
