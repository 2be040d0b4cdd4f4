"""Float32 noise: its distribution, its seeds, and the same numbers the slow way."""

from __future__ import annotations

import hashlib
import math

import numpy as np
import pytest
from Crypto.Cipher import AES
from scipy import stats

from dp import ParameterError
from dp.noise32 import (
    PAIRS,
    RARE,
    TAG,
    _far,
    _fill,
    _logarithms,
    gaussian32,
    gaussians32,
)

MANY = 200_001


def test_moments_and_shape_are_those_of_the_normal_distribution() -> None:
    draws = gaussian32(MANY, 3.0, seed=b"moments").astype(np.float64) / 3.0
    assert stats.kstest(draws, "norm").pvalue > 0.01
    assert abs(draws.mean()) < 4 / math.sqrt(MANY)
    assert abs(draws.var() - 1) < 4 * math.sqrt(2 / MANY)
    assert abs(stats.kurtosis(draws)) < 4 * math.sqrt(24 / MANY)
    for cut in (1e-3, 3.0, 3.7):
        inside = stats.norm.cdf(cut) - stats.norm.cdf(-cut)
        count = int((np.abs(draws) < cut).sum())
        assert 0.001 < stats.binom.cdf(count, MANY, inside) < 0.999
    assert stats.kstest(draws * 1.02, "norm").pvalue < 0.01


def test_pairs_are_independent_in_value_and_in_size() -> None:
    draws = gaussian32(2 * PAIRS, 1.0, seed=b"pairs").astype(np.float64)
    first, second = draws[:PAIRS], draws[PAIRS:]
    for one, other in (
        (first, second),
        (np.square(first), np.square(second)),
        (np.abs(first[1:]), np.abs(first[:-1])),
    ):
        assert abs(np.corrcoef(one, other)[0, 1]) < 4 / math.sqrt(PAIRS)


@pytest.mark.parametrize("length", [1, 2, 7, 2 * PAIRS + 3])
def test_equals_the_definition_one_pair_at_a_time(length: int) -> None:
    key = hashlib.shake_256(TAG + b"golden").digest(32)
    found = gaussian32(length, 2.0, seed=b"golden")
    assert found.shape == (length,) and found.dtype == np.float32
    pairs = min(length + 1, 2 * PAIRS) // 2
    stream = AES.new(key, AES.MODE_CTR, nonce=b"", initial_value=0).encrypt(
        bytes(8 * pairs)
    )
    for pair in {0, pairs - 1}:
        word = int.from_bytes(stream[4 * pair : 4 * pair + 4], "little")
        turn = stream[4 * pairs + 4 * pair : 4 * pairs + 4 * pair + 4]
        angle = int.from_bytes(turn, "little", signed=True) * math.pi / 2**31
        even = word & 0x7FFFFFFE
        size = 2.0 * math.sqrt(-2 * math.log1p(-even / (2**31 - 1)))
        assert found[pair] == pytest.approx(size * math.cos(angle), abs=1e-5)
        if pairs + pair < length:
            assert found[pairs + pair] == pytest.approx(
                size * math.sin(angle), abs=1e-5
            )


def test_a_length_is_as_fine_as_float32_at_either_end() -> None:
    small = 2 * np.array([0, 1, 2, 3, 7, 1000, 2**20, 2**29 - 1])
    even = np.concatenate([small, 2**31 - 2 - small]).astype(np.int32)
    above, found = _logarithms(even | np.int32(-(2**31)) | 1)  # bits that do not count
    assert above.tolist() == [2**31 - 1 - int(one) for one in even]
    for one, value in zip(even.tolist(), found.tolist(), strict=True):
        rest = 2**31 - 1 - one
        wanted = math.log1p(one / rest) if one < rest else math.log(one / rest + 1)
        assert value == pytest.approx(wanted, rel=3e-7)


class Given:
    """A keystream of one's choice."""

    def __init__(self, lengths: int, more: int) -> None:
        self._first = lengths.to_bytes(4, "little") + bytes(4)
        self._more = more.to_bytes(4, "little")

    def update_into(self, zeros: memoryview, room: memoryview) -> None:
        room[: len(zeros)] = self._first

    def update(self, zeros: bytes) -> bytes:
        return self._more


@pytest.mark.parametrize(
    ("word", "more", "bits"),
    [
        (0, 0, 0.0),
        (2**31 - 1, 2**32 - 1, 30.0),  # a second word just short of the next first
        (2**31 - 1, 0, 63.0),  # the longest, 9.35 standard deviations
    ],
)
def test_the_ends_of_the_uniforms_are_finite(word: int, more: int, bits: float) -> None:
    part = np.empty((1, 2), dtype=np.float32)
    _fill(part, [Given(word, more)], 1.0)  # type: ignore[list-item]
    assert np.allclose(part, [[math.sqrt(2 * bits * math.log(2)), 0]], rtol=1e-6)


def test_a_second_word_fills_the_gap_between_two_first_ones() -> None:
    last = (2**32 - 1).to_bytes(4, "little")
    for above in (1, 3, RARE - 1):
        low, high = (
            _far(above, Given(0, int.from_bytes(end, "little")))  # type: ignore[arg-type]
            for end in (last, bytes(4))
        )
        assert low == pytest.approx(-math.log((above + 1) / 2**31), rel=1e-9)
        assert high >= -math.log((above - 1 + 2**-30) / 2**31)


def test_vectors_follow_one_another_and_depend_on_no_other_seed() -> None:
    together = gaussians32(7, 1.0, seeds=[b"one", b"two", b"three"])
    alone = gaussians32(7, 1.0, seeds=[b"two"])
    first, second = next(together), next(together)
    assert np.array_equal(first[1:2], next(alone))
    assert np.array_equal(second[1:2], next(alone))
    assert not np.isclose(first, second).any()


def test_seeds_repeat_and_differ_and_none_is_fresh() -> None:
    one = gaussian32(50, 1.0, seed=b"one")
    assert np.array_equal(one, gaussian32(50, 1.0, seed=b"one"))
    assert not np.isclose(one, gaussian32(50, 1.0, seed=b"two")).any()
    fresh = [gaussian32(50, 1.0, seed=None) for _ in range(2)]
    assert not np.isclose(*fresh).any()


@pytest.mark.parametrize("std", [2.0**-100, 2.0**100])
def test_no_standard_deviation_leaves_the_range_of_float32(std: float) -> None:
    draws = gaussian32(1000, std, seed=b"range").astype(np.float64) / std
    assert np.allclose(draws, gaussian32(1000, 1.0, seed=b"range"), rtol=1e-6)


@pytest.mark.parametrize("std", [0.0, -1.0, math.nan, math.inf, 1e-31, 1e31])
def test_bad_standard_deviations_are_refused(std: float) -> None:
    with pytest.raises(ParameterError, match="std"):
        gaussian32(1, std, seed=None)


def test_bad_lengths_and_empty_seeds_are_refused() -> None:
    with pytest.raises(ParameterError, match="length"):
        gaussian32(0, 1.0, seed=None)
    with pytest.raises(ParameterError, match="empty"):
        gaussian32(1, 1.0, seed=b"")
