import numpy as np
import pytest
from scipy import stats

from attacks import (
    Estimate,
    ParameterError,
    clopper_pearson,
    mean_interval,
    min_detectable,
    paired_excess,
)


@pytest.mark.parametrize("n", [1, 5, 40])
@pytest.mark.parametrize("confidence", [0.9, 0.95, 0.999])
def test_clopper_pearson_inverts_the_binomial_tails(n, confidence):
    """The ends are where the observed tail has probability alpha/2 (the definition)."""
    tail = (1 - confidence) / 2
    for k in range(n + 1):
        found = clopper_pearson(k, n, confidence)
        oracle = stats.binomtest(k, n).proportion_ci(confidence, method="exact")
        assert (found.low, found.high) == pytest.approx(tuple(oracle), abs=1e-6)
        if k > 0:
            assert stats.binom.sf(k - 1, n, found.low) == pytest.approx(tail)
        if k < n:
            assert stats.binom.cdf(k, n, found.high) == pytest.approx(tail)


def test_clopper_pearson_golden_values():
    """10 of 10: the lower end is 0.025^(1/10); 0 of 10: its mirror image."""
    assert clopper_pearson(10, 10).low == pytest.approx(0.6915029, abs=1e-7)
    assert clopper_pearson(0, 10).high == pytest.approx(0.3084971, abs=1e-7)
    assert clopper_pearson(10, 10).high == 1.0 and clopper_pearson(0, 10).low == 0.0


@pytest.mark.parametrize("p", [0.02, 0.3, 0.5])
def test_clopper_pearson_covers_exactly_enough(p):
    """Coverage summed over all outcomes, no simulation needed."""
    n = 30
    covered = sum(
        stats.binom.pmf(k, n, p)
        for k in range(n + 1)
        if clopper_pearson(k, n).low <= p <= clopper_pearson(k, n).high
    )
    assert covered >= 0.95


def test_student_interval_equals_scipy_and_covers():
    rng = np.random.default_rng(0)
    sample = rng.normal(2.0, 3.0, size=7)
    found = mean_interval(list(sample), 0.9)
    scale = stats.sem(sample)
    oracle = stats.t.interval(0.9, 6, loc=sample.mean(), scale=scale)
    assert (found.low, found.high) == pytest.approx(oracle)
    hits = 0
    for _ in range(2000):
        one = mean_interval(list(rng.normal(2.0, 3.0, size=5)))
        hits += one.low <= 2.0 <= one.high
    # 95 % of 2000 with a standard deviation of 9.7
    assert abs(hits - 1900) < 4 * 9.75


def test_equal_values_get_a_width_from_their_support():
    with pytest.raises(ParameterError, match="support"):
        mean_interval([1.0, 1.0, 1.0])
    found = mean_interval([1.0] * 10, support=(0.0, 1.0))
    assert found.low == pytest.approx(clopper_pearson(10, 10).low)
    assert found.high == 1.0
    nothing = paired_excess([0.0] * 10, [0.0] * 10, support=(-1.0, 1.0))
    assert nothing.low < 0 < nothing.high
    assert min_detectable(nothing) > nothing.high


def test_excess_is_paired():
    values, nulls = [10.0, 20.0, 30.0], [9.0, 19.5, 28.0]
    found = paired_excess(values, nulls)
    assert found.value == pytest.approx(np.mean([1.0, 0.5, 2.0]))
    oracle = mean_interval([1.0, 0.5, 2.0])
    assert (found.low, found.high) == pytest.approx((oracle.low, oracle.high))
    assert found.n == 3


def test_smallest_detectable_effect_is_detected_four_times_in_five():
    rng = np.random.default_rng(1)
    n, repeats = 20, 2000
    widths = [
        min_detectable(mean_interval(list(rng.normal(0, 1, n)))) for _ in range(200)
    ]
    effect = float(np.mean(widths))
    found = 0
    for _ in range(repeats):
        found += mean_interval(list(rng.normal(effect, 1, n))).low > 0
    assert 0.77 < found / repeats < 0.88


@pytest.mark.parametrize(
    "call",
    [
        lambda: clopper_pearson(3, 2),
        lambda: clopper_pearson(0, 0),
        lambda: clopper_pearson(1, 2, 1.0),
        lambda: mean_interval([1.0]),
        lambda: mean_interval([1.0, float("nan")]),
        lambda: mean_interval([2.0, 2.0], support=(0.0, 1.0)),
        lambda: paired_excess([1.0, 2.0], [1.0]),
        lambda: min_detectable(clopper_pearson(1, 2), power=0.3),
        lambda: Estimate(value=2, low=0, high=1, n=1, confidence=0.95, method=""),
        lambda: min_detectable(
            Estimate(value=1, low=1, high=1, n=9, confidence=0.95, method="")
        ),
    ],
)
def test_what_cannot_be_estimated_is_refused(call):
    with pytest.raises(ParameterError):
        call()
