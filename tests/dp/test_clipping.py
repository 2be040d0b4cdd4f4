"""Clipping: the bound holds in exact arithmetic, at every edge."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from dp import clip_l2


def exact_square(vector: np.ndarray) -> Fraction:
    """The oracle: the squared norm without any rounding."""
    return sum((Fraction(float(v)) ** 2 for v in vector.ravel()), Fraction(0))


FINITE = st.floats(allow_nan=False, allow_infinity=False, width=32)


@given(
    arrays(np.float32, st.integers(0, 40), elements=FINITE),
    st.floats(2.0**-60, 2.0**60),
)
def test_exact_norm_never_exceeds_the_bound(vector: np.ndarray, bound: float) -> None:
    out = clip_l2(vector, bound)
    assert out.vector.dtype == np.float32
    assert exact_square(out.vector) <= Fraction(bound) ** 2


@pytest.mark.parametrize("seed", range(20))
def test_bound_holds_and_is_tight_for_long_vectors(seed: int) -> None:
    rng = np.random.default_rng(seed)
    vector = rng.standard_normal(5000).astype(np.float32) * 100
    out = clip_l2(vector, 1.0)
    square = float(exact_square(out.vector))
    assert 1.0 - 2.0**-20 < square <= 1.0
    assert out.was_clipped
    assert np.allclose(out.vector, vector * out.factor, rtol=2.0**-22)


def test_a_short_vector_comes_back_unchanged() -> None:
    vector = np.array([3.0, -4.0], dtype=np.float32)
    out = clip_l2(vector, 5.1)
    assert np.array_equal(out.vector, vector)
    assert out.factor == 1.0
    assert not out.was_clipped
    assert out.l2_bound == 5.1


@pytest.mark.parametrize("size", [0, 7])
def test_nothing_stays_nothing(size: int) -> None:
    out = clip_l2(np.zeros(size, dtype=np.float32), 1.0)
    assert out.vector.shape == (size,)
    assert not out.vector.any()
    assert out.factor == 1.0


def test_a_vector_on_the_bound_lands_within_it() -> None:
    vector = np.full(9, 1 / 3, dtype=np.float64)  # exactly the kind that rounds up
    out = clip_l2(vector, 1.0)
    assert exact_square(out.vector) <= 1
    assert out.factor == pytest.approx(1.0, abs=2.0**-21)


def test_huge_float64_does_not_overflow() -> None:
    out = clip_l2(np.array([1e300, -1e300]), 2.0)
    assert np.allclose(out.vector, [math.sqrt(2), -math.sqrt(2)])


def test_a_long_vector_is_not_changed_and_a_short_one_not_copied() -> None:
    vector = np.full(4, 9.0, dtype=np.float32)
    clip_l2(vector, 1.0).vector[:] = 0
    assert (vector == 9.0).all()
    small = np.full(4, 0.1, dtype=np.float32)
    assert clip_l2(small, 1.0).vector is small
    wide = small.astype(np.float64)
    assert clip_l2(wide, 1.0).vector.dtype == np.float32


@pytest.mark.parametrize("poison", [math.nan, math.inf, -math.inf])
def test_non_finite_updates_are_refused(poison: float) -> None:
    with pytest.raises(ValueError, match="NaN or infinite"):
        clip_l2(np.array([1.0, poison], dtype=np.float32), 1.0)


@pytest.mark.parametrize("bound", [0.0, -1.0, math.nan, math.inf, 1e-40, 1e40])
def test_bounds_out_of_range_are_refused(bound: float) -> None:
    with pytest.raises(ValueError, match="bound"):
        clip_l2(np.ones(2, dtype=np.float32), bound)


def test_integers_are_refused() -> None:
    with pytest.raises(ValueError, match="give floats"):
        clip_l2(np.ones(2, dtype=np.int64), 1.0)
