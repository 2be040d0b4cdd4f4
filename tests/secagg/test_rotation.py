"""The rotation: orthogonal, undone by its transpose, and flat whatever it is given."""

import math

import numpy as np
import pytest

from secagg import rotation
from secagg.rotation import RELATIVE_ERROR, Rotation, spread

LENGTHS = (64, 65, 100, 127, 128, 1000, 40_000, (1 << 17) + 77)


def turned(values, seed=b"seed"):
    done = np.array(values)
    Rotation(len(done), seed).apply(done)
    return done


@pytest.mark.parametrize("length", LENGTHS)
def test_the_norm_stays_and_undo_gives_the_vector_back(length):
    given = np.random.default_rng(length).standard_t(3, length)
    done = turned(given)
    assert np.linalg.norm(done) == pytest.approx(np.linalg.norm(given), rel=1e-12)
    assert np.abs(done - given).max() > 0.1
    Rotation(length, b"seed").undo(done)
    assert np.abs(done - given).max() < 1e-12 * np.abs(given).max() * length**0.5


@pytest.mark.parametrize("length", [64, 100, 256])
def test_the_map_is_linear_orthogonal_and_flat(length):
    matrix = np.array([turned(row) for row in np.eye(length)])
    assert np.abs(matrix @ matrix.T - np.eye(length)).max() < 1e-12
    width = 1 << (length.bit_length() - 1)
    # The values that the second step writes mix up to two places of the first.
    first = matrix[:, : length - width] if length > width else matrix
    entries = np.abs(first) * math.sqrt(width)
    assert np.all((entries < 1e-12) | (np.abs(entries - 1) < 1e-12))
    both = np.random.default_rng(0).normal(size=(2, length))
    assert np.allclose(
        turned(both[0]) + 2 * turned(both[1]), turned(both[0] + 2 * both[1])
    )


@pytest.mark.parametrize("length", LENGTHS)
def test_no_vector_however_spiky_leaves_a_large_value(length):
    shapes = {place: np.zeros(length) for place in (0, length // 2, length - 1)}
    for place, vector in shapes.items():
        vector[place] = 1.0
    run = np.zeros(length)
    run[length // 3 : length // 3 + 16] = 0.25
    even = np.full(length, length**-0.5)
    for vector in (*shapes.values(), run, even):
        for seed in (b"1", b"2", b"3"):
            assert np.abs(turned(vector, seed)).max() <= spread(length, 20)


@pytest.mark.parametrize("length", [64, 96])
def test_values_beyond_the_spread_are_as_rare_as_stated(length):
    exponent, tries = 4, 1500
    bound = spread(length, exponent)
    vector = np.random.default_rng(1).normal(size=length)
    vector /= np.linalg.norm(vector)
    beyond = sum(
        np.abs(turned(vector, seed.to_bytes(2, "little"))).max() > bound
        for seed in range(tries)
    )
    chance = 2.0**-exponent
    assert beyond < tries * chance + 4 * math.sqrt(tries * chance)
    assert beyond > 0 or length != 64  # for powers of two the bound is not idle


def test_the_spread_is_that_of_the_cited_tail():
    for length in LENGTHS:
        width = 1 << (length.bit_length() - 1)
        t = spread(length, 20) * math.sqrt(width)
        tail = math.erfc(t / math.sqrt(2)) / 2
        assert 2 * 3.179 * length * tail == pytest.approx(2.0**-20, rel=1e-6)
        assert t < math.sqrt(2 * math.log(2 * length * 2**20))  # Hoeffding's is wider


@pytest.mark.parametrize("length", LENGTHS)
def test_float32_storage_is_within_the_stated_error(length):
    given = np.random.default_rng(length).standard_t(3, length).astype(np.float32)
    exact = turned(given.astype(np.float64))
    gap = np.linalg.norm(turned(given) - exact)
    assert 0 < gap <= RELATIVE_ERROR * np.linalg.norm(exact)


@pytest.mark.parametrize("length", LENGTHS)
def test_undoing_in_float32_is_within_the_stated_error(length):
    given = np.random.default_rng(length).standard_t(3, length)
    exact, stored = given.copy(), given.astype(np.float32)
    for values in (exact, stored):
        Rotation(length, b"seed").undo(values)
    gap = np.linalg.norm(stored - exact)
    assert 0 < gap <= RELATIVE_ERROR * np.linalg.norm(given)


def test_another_seed_is_another_rotation():
    given = np.ones(100)
    assert np.abs(turned(given, b"a") - turned(given, b"b")).max() > 0.1


@pytest.mark.parametrize("bits", [6, 9])
def test_runs_of_any_size_give_the_same_map(monkeypatch, bits):
    given = np.random.default_rng(3).normal(size=5000)
    whole = turned(given)
    monkeypatch.setattr(rotation, "_RUN_BITS", bits)
    assert np.allclose(turned(given), whole, atol=1e-13)
