"""Rounding by chance: between the two neighbours, unbiased to the last bit it keeps."""

import math
from fractions import Fraction

import numpy as np
import pytest

from secagg.prg import Keystream, simulation_rng
from secagg.rounding import BLOCK, Rounding, fraction_bits

WORDS = (16, 32, 64)


def rounded(values, key, *, value_bits=16, word=32):
    rounding = Rounding(key, value_bits)
    words = np.empty(len(values), dtype=f"<u{word // 8}")
    for start in range(0, len(values), BLOCK):
        block = np.array(values[start : start + BLOCK], dtype=np.float64)
        rounding.into(block, words[start : start + BLOCK])
    return words.view(f"<i{word // 8}")


def oracle(value, draw, bits):
    """Round one value in exact arithmetic."""
    fixed = round(Fraction(value) * 2**bits)
    return (fixed + draw) // 2**bits


@pytest.mark.parametrize("value_bits", [2, 8, 16, 20, 21, 24, 31, 32])
@pytest.mark.parametrize("word", WORDS)
def test_every_value_is_rounded_as_in_exact_arithmetic(value_bits, word):
    if word < value_bits:
        return
    most = 2.0 ** (value_bits - 1) - 1.5
    values = np.random.default_rng(value_bits).uniform(-most, most, 3000)
    special = [
        0.0,
        -0.0,
        0.5,
        -0.5,
        most,
        -most,
        5e-324,
        -5e-324,
        2.0**-33,
        -(2.0**-34),
    ]
    special += [math.nextafter(k, k + side) for k in (0, 1, -1) for side in (-1, 1)]
    values[: len(special)] = np.clip(special, -most, most)
    key, bits = simulation_rng(1)(32), fraction_bits(value_bits)
    draws = Keystream(key).take(len(values), 32) >> np.uint32(32 - bits)
    expected = [
        oracle(float(value), int(draw), bits)
        for value, draw in zip(values, draws, strict=True)
    ]
    assert rounded(values, key, value_bits=value_bits, word=word).tolist() == expected


@pytest.mark.parametrize("word", WORDS)
def test_integers_are_not_moved(word):
    values = np.arange(-32766.0, 32767.0)
    for key in (bytes(32), bytes(range(32))):
        assert np.array_equal(rounded(values, key, word=word), values)


def assert_unbiased(draws):
    """Check the mean at fractions of all sizes; 4 standard errors, family of 40."""
    rng = simulation_rng(7, "unbiased")
    fractions = (2.0**-20, 1 / 4096, 0.03, 1 / 3, 0.5, 0.97, 1 - 2.0**-12)
    for below in (0, -1, 5, -6, 32764, -32766):
        for fraction in fractions:
            value = below + fraction
            q = rounded(np.full(draws, value), rng(32))
            assert set(np.unique(q)) <= {below, below + 1}
            error = math.sqrt(fraction * (1 - fraction) / draws)
            # Four standard errors, and for rare draws what one of them makes.
            gap = abs(float(np.mean(q - float(below))) - fraction)
            assert gap < 4 * error + 1 / draws, value


def test_the_mean_is_the_value():
    assert_unbiased(100_000)


@pytest.mark.slow
def test_the_mean_of_ten_million_draws_is_the_value():
    assert_unbiased(10_000_000)


def test_draws_of_one_vector_are_independent_across_blocks():
    q = rounded(np.full(4 * BLOCK, 0.5), bytes(32)).reshape(4, BLOCK)
    for a in range(4):
        for b in range(a):
            assert abs(np.mean(q[a] == q[b]) - 0.5) < 5 * 0.5 / math.sqrt(BLOCK)
