"""Events as text: exact both ways, one text each, and nothing outside the set."""

from __future__ import annotations

import json
import math
import struct

import numpy as np
import pytest
from dp_accounting import (
    ComposedDpEvent,
    DpEvent,
    GaussianDpEvent,
    LaplaceDpEvent,
    NonPrivateDpEvent,
    NoOpDpEvent,
    PoissonSampledDpEvent,
    SampledWithoutReplacementDpEvent,
    SelfComposedDpEvent,
)
from hypothesis import given
from hypothesis import strategies as st

from dp import ParameterError, sampled_gaussian
from dp.events import DEPTH_MAX, TEXT_MAX, decode, encode

AMOUNTS = st.floats(min_value=0, allow_infinity=False, allow_nan=False)
SIMPLE = st.one_of(
    st.builds(GaussianDpEvent, AMOUNTS),
    st.builds(LaplaceDpEvent, AMOUNTS),
    st.just(NoOpDpEvent()),
)
EVENTS: st.SearchStrategy[DpEvent] = st.recursive(
    SIMPLE,
    lambda inner: st.one_of(
        st.builds(PoissonSampledDpEvent, st.floats(0, 1), inner),
        st.builds(SelfComposedDpEvent, inner, st.integers(0, 10**9)),
        st.builds(ComposedDpEvent, st.lists(inner, max_size=3)),
    ),
    max_leaves=6,
)
STEP = sampled_gaussian(1.1, 0.1)


@given(EVENTS)
def test_every_event_comes_back_and_has_one_text(event: DpEvent) -> None:
    text = encode(event)
    assert decode(text) == event
    assert encode(decode(text)) == text
    assert json.loads(text) == json.loads(text)


@given(AMOUNTS)
def test_every_float_comes_back_bit_for_bit(value: float) -> None:
    found = decode(encode(GaussianDpEvent(value)))
    assert struct.pack("<d", found.noise_multiplier) == struct.pack("<d", value)


def test_equal_events_of_other_number_types_have_the_same_text() -> None:
    assert encode(GaussianDpEvent(2)) == encode(GaussianDpEvent(np.float64(2.0)))
    assert encode(STEP) == (
        '{"event":{"kind":"gaussian","noise_multiplier":1.1},"kind":"poisson",'
        '"rate":0.1}'
    )


def test_an_unknown_event_is_refused_and_the_one_within_is_named() -> None:
    strange = SampledWithoutReplacementDpEvent(9, 3, GaussianDpEvent(1))
    whole = ComposedDpEvent([STEP, SelfComposedDpEvent(strange, 2)])
    with pytest.raises(ParameterError, match=r"^SampledWithoutReplacement") as refused:
        encode(whole)
    assert "within SelfComposedDpEvent within ComposedDpEvent" in str(refused.value)
    for event in (NonPrivateDpEvent(), object(), None):
        with pytest.raises(ParameterError, match="recorded"):
            encode(event)  # type: ignore[arg-type]


class _Disguised(GaussianDpEvent):  # type: ignore[misc]
    """Claims to be Gaussian noise and may be anything."""


def test_a_subclass_is_another_event() -> None:
    with pytest.raises(ParameterError, match="recorded"):
        encode(_Disguised(1.0))


@pytest.mark.parametrize(
    "event",
    [
        GaussianDpEvent(math.inf),
        GaussianDpEvent(math.nan),
        PoissonSampledDpEvent(1.5, GaussianDpEvent(1)),
        SelfComposedDpEvent(GaussianDpEvent(1), 2.5),
        SelfComposedDpEvent(GaussianDpEvent(1), 10**13),
    ],
)
def test_numbers_out_of_range_are_refused(event: DpEvent) -> None:
    with pytest.raises(ParameterError):
        encode(event)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "1",
        "null",
        '{"kind":"pickle"}',
        '{"kind":["gaussian"],"noise_multiplier":1.0}',
        '{"kind":"gaussian"}',
        '{"kind":"gaussian","noise_multiplier":"1.0"}',
        '{"kind":"gaussian","noise_multiplier":true}',
        '{"kind":"gaussian","noise_multiplier":null}',
        '{"kind":"gaussian","noise_multiplier":NaN}',
        '{"kind":"gaussian","noise_multiplier":Infinity}',
        '{"kind":"gaussian","noise_multiplier":1.0,"more":2}',
        '{"kind":"gaussian", "noise_multiplier":1.0}',
        '{"kind":"gaussian","noise_multiplier":1}',
        '{"noise_multiplier":1.0,"kind":"gaussian"}',
        '{"event":{"kind":"nothing"},"kind":"poisson","rate":1.1}',
        '{"events":{"kind":"nothing"},"kind":"composed"}',
        '{"count":-1,"event":{"kind":"nothing"},"kind":"repeated"}',
        "[" * 50_000,
        " " * (TEXT_MAX + 1),
    ],
)
def test_other_texts_are_refused(text: str) -> None:
    with pytest.raises(ParameterError):
        decode(text)


def test_nesting_and_length_are_bounded() -> None:
    event: DpEvent = GaussianDpEvent(1)
    for _ in range(DEPTH_MAX + 1):
        event = SelfComposedDpEvent(event, 1)
    with pytest.raises(ParameterError, match="deep"):
        encode(event)
    many = ComposedDpEvent([GaussianDpEvent(1 / (i + 3)) for i in range(2000)])
    with pytest.raises(ParameterError, match="characters"):
        encode(many)
