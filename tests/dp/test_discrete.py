"""Integer noise: its exact weights, its distribution, its cut, and no float."""

from __future__ import annotations

import ast
import inspect
import math
from decimal import Decimal, getcontext
from fractions import Fraction
from types import ModuleType
from typing import TypeAlias

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from dp import ParameterError, discrete, gaussian, inversion, series
from dp.discrete import CUT_BITS, DiscreteGaussian, IntegerNoise, Skellam
from dp.inversion import Inversion, below, coin_exp
from tests.dp.bytes_from import Stream

MANY = 100_000
Kind: TypeAlias = type[DiscreteGaussian] | type[Skellam]
KINDS: tuple[Kind, ...] = (DiscreteGaussian, Skellam)
FLOAT_NAMES = {"float", "float16", "float32", "float64", "exp", "log", "sqrt", "random"}


def _weight(kind: Kind, variance: int, x: int) -> Decimal:
    """Return a weight by its definition, to 60 digits, slowly."""
    getcontext().prec = 80
    if kind is DiscreteGaussian:
        return (-Decimal(x * x) / (2 * variance)).exp()
    half, x = Decimal(variance) / 2, abs(x)
    term = half**x / math.factorial(x)  # of the Bessel function's series
    total, m = Decimal(0), 0
    while term > total * Decimal("1e-70"):
        total += term
        m += 1
        term *= half * half / (m * (m + x))
    return total


def _pvalue(draws: NDArray[np.int64], kind: Kind, variance: int) -> float:
    """Return the p-value of a chi-square test, in bins of at least 20 expected."""
    reach = math.ceil(6 * math.sqrt(variance)) + 3
    half = [
        _weight(kind, variance, x) / _weight(kind, variance, 0)
        for x in range(reach + 1)
    ]
    weights = [float(half[abs(x)]) for x in range(-reach, reach + 1)]
    chances = np.array(weights) / math.fsum(weights)
    edges, mass = [], 0.0
    for x, chance in zip(range(-reach, reach), chances[:-1], strict=True):
        mass += chance
        if mass * len(draws) >= 20 and chances[x + reach + 1 :].sum() * len(draws) > 20:
            edges.append(x)
            mass = 0.0
    bins = np.searchsorted(edges, draws)
    owner = np.searchsorted(edges, np.arange(-reach, reach + 1))
    observed = np.bincount(bins, minlength=len(edges) + 1)
    expected = np.bincount(owner, weights=chances) * len(draws)
    return float(stats.chisquare(observed, expected).pvalue)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("variance", [1, 2, 7, 900])
def test_draws_have_the_chances_of_the_definition(kind: Kind, variance: int) -> None:
    draws = kind(variance=variance).draw(MANY, Stream(f"chi {variance}"))
    assert draws.dtype == np.int64
    assert _pvalue(draws, kind, variance) > 1e-3


@pytest.mark.parametrize("kind", KINDS)
def test_a_variance_off_by_one_would_be_noticed(kind: Kind) -> None:
    draws = kind(variance=8).draw(MANY, Stream("off by one"))
    assert _pvalue(draws, kind, 7) < 1e-6


def test_a_float_sampler_would_be_noticed() -> None:
    rounded = np.rint(gaussian(MANY, 1.0, seed=b"float")).astype(np.int64)
    assert _pvalue(rounded, DiscreteGaussian, 1) < 1e-6


@pytest.mark.parametrize("variance", [5, 10**4, 10**9, 1 << 48])
def test_moments_are_those_claimed_at_every_scale(variance: int) -> None:
    kinds = KINDS if variance <= 10**5 else (DiscreteGaussian,)
    for kind in kinds:
        draws = kind(variance=variance).draw(MANY, Stream(f"moments {variance}"))
        scaled = draws / math.sqrt(variance)
        excess = 1 / variance if kind is Skellam else 0.0  # of the fourth cumulant
        assert abs(scaled.mean()) < 4 / math.sqrt(MANY)
        assert abs(scaled.var() - 1) < 4 * math.sqrt((2 + excess) / MANY)
        assert abs(stats.kurtosis(scaled) - excess) < 6 * math.sqrt(24 / MANY)
        pairs = np.corrcoef(scaled[1:], scaled[:-1])[0, 1]
        assert abs(pairs) < 4 / math.sqrt(MANY)
        for z in (1.0, 2.0, 3.0):  # tails, of both signs
            chance = stats.norm.sf(z)
            if variance > 10**3:
                slack = 5 * math.sqrt(chance / MANY) + 1 / math.sqrt(variance)
                assert abs((scaled > z).mean() - chance) < slack
                assert abs((scaled < -z).mean() - chance) < slack


@pytest.mark.parametrize("variance", [1, 3, 5_000, 10**7])
def test_blocks_of_the_gaussian_have_their_exact_chances(variance: int) -> None:
    size = discrete._block_size(variance)
    table = discrete._gaussian_blocks(variance)
    count = DiscreteGaussian(variance=variance).bound // size + 1
    weights = [_weight(DiscreteGaussian, variance, j * size) for j in range(count)]
    _assert_exact(table, weights)


@pytest.mark.parametrize("variance", [1, 3, 400])
def test_magnitudes_of_skellam_have_their_exact_chances(variance: int) -> None:
    table = discrete._skellam_magnitudes(variance)
    count = Skellam(variance=variance).bound + 1
    weights = [(1 + (x > 0)) * _weight(Skellam, variance, x) for x in range(count)]
    _assert_exact(table, weights)


def _assert_exact(table: Inversion, weights: list[Decimal]) -> None:
    for bits in (64, 128):
        low, high = table._sums(bits)
        total, partial = sum(weights), Decimal(0)
        for k, weight in enumerate(weights[:-1]):
            partial += weight
            true = partial / total * 2**bits
            slack = Decimal(2) ** bits * Decimal("1e-60")  # of the oracle
            assert low[k] <= true + slack
            assert true - slack <= high[k] <= low[k] + 2


@pytest.mark.parametrize("first_bits", [1, 3, 64])
def test_words_that_do_not_decide_get_more_bits(first_bits: int) -> None:
    weights = [5, 1, 0, 3, 7]
    table = Inversion(lambda _: (weights, weights), first_bits=first_bits)
    draws = table.draw(20_000, Stream(f"bits {first_bits}"))
    observed = np.bincount(draws.astype(np.int64), minlength=5)
    assert observed[2] == 0
    expected = np.array([5, 1, 3, 7]) / 16 * 20_000
    assert stats.chisquare(observed[[0, 1, 3, 4]], expected).pvalue > 1e-3


def test_inversion_puts_every_word_where_fractions_put_it() -> None:
    weights = [3, 1, 1, 6]
    sums = [Fraction(sum(weights[: k + 1]), 11) for k in range(4)]
    words = [0, (1 << 64) - 1]
    for edge in sums[:-1]:
        near = int(edge * 2**64)
        words += [near - 1, near + 1]
    table = Inversion(lambda _: (weights, weights))
    data = b"".join(word.to_bytes(8, "little") for word in words)
    draws = table.draw(len(words), lambda count: data[:count])
    for word, drawn in zip(words, draws, strict=True):
        assert drawn == sum(Fraction(word, 2**64) >= edge for edge in sums)


@pytest.mark.parametrize("limit", [1, 2, 3, 200, 256, 257, 70_000, 1 << 63])
def test_uniform_integers_are_uniform_below_their_limit(limit: int) -> None:
    draws = below(MANY, limit, Stream(f"below {limit}"))
    assert int(draws.max()) < limit
    cells = min(limit, 97)
    bins = np.array([int(draw) * cells // limit for draw in draws[:20_000]])
    exact = [-(-(j + 1) * limit // cells) + (-j * limit // cells) for j in range(cells)]
    expected = np.array([cell / limit for cell in exact]) * len(bins)
    if limit > 1:
        observed = np.bincount(bins, minlength=cells)
        assert stats.chisquare(observed, expected).pvalue > 1e-3


@pytest.mark.parametrize("num", [0, 1, 500, 1000])
def test_coins_come_up_with_the_chance_of_the_exponential(num: int) -> None:
    heads = coin_exp(np.full(MANY, num, dtype=np.uint64), 1000, Stream(f"coin {num}"))
    chance = math.exp(-num / 1000)
    if num == 0:
        assert heads.all()
    assert abs(heads.mean() - chance) <= 4 * math.sqrt(chance * (1 - chance) / MANY)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("variance", [1, 2, 5, 999, 10**6, 1 << 30])
def test_noise_stays_within_a_bound_that_costs_next_to_nothing(
    kind: Kind, variance: int
) -> None:
    noise = kind(variance=variance)
    beyond, v = noise.bound + 1, variance  # the least magnitude that is cut off
    if kind is DiscreteGaussian:
        exponent = Fraction(noise.bound**2, 2 * v)
        assert exponent * Fraction(14426, 10_000) >= CUT_BITS  # log2(e), rounded down
    else:
        t = math.asinh(beyond / v)  # Chernoff's bound, which is below Bernstein's
        log2 = (v * (math.cosh(t) - 1) - t * beyond) / math.log(2) + 1
        assert log2 <= -CUT_BITS
    if variance < 10**6:
        draws = noise.draw(MANY, Stream("bound"))
        assert int(np.abs(draws).max()) <= noise.bound


def test_gaussian_noise_beyond_the_bound_is_drawn_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # The last block ends beyond the bound, so some magnitudes in it must be refused.
    noise = DiscreteGaussian(variance=1 << 20)
    size = discrete._block_size(noise.variance)
    assert (noise.bound // size + 1) * size > noise.bound + 1
    monkeypatch.setattr(discrete, "coin_exp", lambda num, den, rng: num == num)

    class Steered(Stream):
        def __call__(self, count: int) -> bytes:
            data = super().__call__(count)
            # The last block, which takes a second word to be sure of, and its far end.
            return b"\xff" * count if self._calls <= 3 else data

    rng = Steered("steered")
    assert abs(int(noise.draw(1, rng)[0])) <= noise.bound
    assert rng._calls > 4  # a second attempt was needed


def test_the_coin_makes_up_for_the_weight_within_a_block(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[NDArray[np.uint64]] = []

    def always(num: NDArray[np.uint64], den: int, rng: Stream) -> NDArray[np.bool_]:
        assert den == 2 << 40
        asked.append(num)
        return np.ones(len(num), dtype=np.bool_)

    monkeypatch.setattr(discrete, "coin_exp", always)
    size = discrete._block_size(1 << 40)
    drawn = DiscreteGaussian(variance=1 << 40).draw(500, Stream("coins"))
    assert len(asked) == 1 and size == 1 << 14
    for x, num in zip(np.abs(drawn), asked[0], strict=True):
        first = int(x) // size * size
        assert int(num) == int(x) ** 2 - first**2


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_bytes_give_the_same_noise_and_others_do_not(kind: Kind) -> None:
    noise: IntegerNoise = kind(variance=100)
    one = noise.draw(1000, Stream("one"))
    assert np.array_equal(one, noise.draw(1000, Stream("one")))
    assert not np.array_equal(one, noise.draw(1000, Stream("two")))


@pytest.mark.parametrize("module", [inversion, discrete, series])
def test_no_float_is_in_the_path_from_bytes_to_noise(module: ModuleType) -> None:
    for node in ast.walk(ast.parse(inspect.getsource(module))):
        assert not isinstance(node, ast.Div)
        if isinstance(node, ast.Constant):
            assert not isinstance(node.value, float)
        if isinstance(node, ast.Name):
            assert node.id not in FLOAT_NAMES
        if isinstance(node, ast.Attribute):
            assert node.attr not in FLOAT_NAMES


@pytest.mark.parametrize("kind", KINDS)
def test_misuse_is_refused(kind: Kind) -> None:
    for variance in (0, -1, 1 << 49, 2.0, True):
        with pytest.raises(ParameterError, match="variance"):
            kind(variance=variance)  # type: ignore[arg-type]
    with pytest.raises(ParameterError, match="length"):
        kind(variance=1).draw(0, Stream("x"))
    with pytest.raises(ParameterError, match="rng"):
        kind(variance=1).draw(5, lambda count: b"")
    with pytest.raises(ParameterError, match="limit"):
        below(1, 0, Stream("x"))
