"""Lower bounds on epsilon: published figures, exact coverage, a slow oracle."""

import math

import numpy as np
import pytest
from scipy import stats

from attacks import (
    EpsilonBound,
    ParameterError,
    clopper_pearson_bound,
    gaussian_bound,
    gaussian_epsilon,
    one_run_bound,
)

# m, r, v -> epsilon at delta = 1e-5 and at delta = 0, 95 %: computed once by an
# independent implementation of the theorem.
GOLDEN = [
    (1000, 1000, 500, 0.0, 0.0),
    (1000, 1000, 600, 0.29723, 0.29747),
    (1000, 1000, 900, 2.02065, 2.02123),
    (1000, 100, 100, 3.46538, 3.49297),
    (1000, 100, 95, 2.16518, 2.17243),
    (5000, 500, 450, 1.94142, 1.94714),
    (10000, 1000, 1000, 5.52935, 5.80907),
    (100000, 1500, 1429, 2.66875, 2.79920),
]


@pytest.mark.parametrize(("m", "r", "v", "with_delta", "pure"), GOLDEN)
def test_one_run_bounds_equal_the_golden_table(m, r, v, with_delta, pure):
    assert one_run_bound(m, r, v, delta=1e-5).value == pytest.approx(
        with_delta, abs=1e-5
    )
    assert one_run_bound(m, r, v, delta=0).value == pytest.approx(pure, abs=1e-5)


def slow_p(m, r, v, epsilon, delta):
    """Theorem 5.2, term by term."""
    q = math.exp(epsilon) / (1 + math.exp(epsilon))
    pmf = [math.comb(r, k) * q**k * (1 - q) ** (r - k) for k in range(r + 1)]
    beta = sum(pmf[v:])
    alpha = max((sum(pmf[v - i : v]) / i for i in range(1, v + 1)), default=0.0)
    return min(1.0, beta + 2 * m * delta * alpha)


@pytest.mark.parametrize("delta", [0.0, 1e-4, 1e-2])
@pytest.mark.parametrize(("m", "r", "v"), [(40, 40, 33), (60, 20, 19), (50, 30, 30)])
def test_the_bound_is_where_the_p_value_of_the_theorem_crosses(m, r, v, delta):
    found = one_run_bound(m, r, v, delta=delta, confidence=0.9).value
    if found == 0:
        assert slow_p(m, r, v, 1e-6, delta) >= 0.1
        return
    # It errs low: refuted at the value itself, not a little above it.
    assert slow_p(m, r, v, found - 1e-9, delta) < 0.1
    assert slow_p(m, r, v, found + 1e-6, delta) >= 0.1


@pytest.mark.parametrize("epsilon", [0.1, 1.0, 3.0])
def test_pure_bounds_cover_exactly(epsilon):
    """Randomised response is the worst case; sum over all outcomes, no simulation."""
    r, confidence = 100, 0.95
    q = math.exp(epsilon) / (1 + math.exp(epsilon))
    too_high = sum(
        stats.binom.pmf(v, r, q)
        for v in range(r + 1)
        if one_run_bound(r, r, v, delta=0, confidence=confidence).value > epsilon
    )
    assert 0.005 < too_high <= 1 - confidence


def test_more_right_guesses_more_confidence_and_delta_move_the_bound_as_they_should():
    values = [one_run_bound(200, 100, v, delta=1e-5).value for v in range(101)]
    assert values == sorted(values)
    # Half right proves nothing.
    assert values[50] == 0 and values[-1] > 2
    strict = one_run_bound(200, 100, 95, delta=1e-5, confidence=0.999)
    loose = one_run_bound(200, 100, 95, delta=1e-3)
    assert strict.value < values[95] and loose.value < values[95]


def test_all_right_is_the_ceiling():
    for m, r in ((20, 20), (1000, 100)):
        found = one_run_bound(m, r, r, delta=1e-5)
        assert found.value == found.ceiling > 0
    assert one_run_bound(1000, 100, 90, delta=1e-5).ceiling == pytest.approx(
        3.46538, abs=1e-5
    )


@pytest.mark.parametrize(
    ("runs", "ceiling"),
    [(100, 3.281), (500, 4.906), (1000, 5.601), (10_000, 7.905), (100_000, 10.208)],
)
def test_a_perfect_attack_over_many_runs_shows_this_much(runs, ceiling):
    found = clopper_pearson_bound(
        hits=runs, members=runs, alarms=0, nonmembers=runs, delta=1e-5
    )
    assert found.value == found.ceiling == pytest.approx(ceiling, abs=5e-4)


def test_both_directions_of_the_definition_count():
    seldom = dict(members=1000, nonmembers=1000, delta=0.0)
    few_alarms = clopper_pearson_bound(hits=300, alarms=0, **seldom)
    few_misses = clopper_pearson_bound(hits=1000, alarms=700, **seldom)
    assert few_alarms.value == pytest.approx(few_misses.value) and few_misses.value > 4
    assert clopper_pearson_bound(hits=500, alarms=500, **seldom).value == 0


def test_the_gaussian_bound_follows_the_closed_form_and_names_its_assumption():
    found = gaussian_bound(hits=500, members=500, alarms=0, nonmembers=500, delta=1e-5)
    assert found.value == pytest.approx(31.997, abs=1e-3)
    assert "assumed" in found.method
    # Sensitivity / sigma = 1 at delta = 1e-5.
    assert gaussian_epsilon(1.0, 1e-5) == pytest.approx(4.37718, abs=1e-5)
    assert gaussian_epsilon(0.25, 1e-5) == pytest.approx(0.92634, abs=1e-5)


def test_the_many_run_bound_covers_a_gaussian_mechanism():
    rng = np.random.default_rng(0)
    truth, above = gaussian_epsilon(2.0, 1e-5), 0
    for _ in range(400):
        hits = int((rng.normal(2, 1, 300) > 1).sum())
        alarms = int((rng.normal(0, 1, 300) > 1).sum())
        counts = dict(hits=hits, members=300, alarms=alarms, nonmembers=300)
        assert clopper_pearson_bound(**counts, delta=1e-5).value <= truth
        above += gaussian_bound(**counts, delta=1e-5).value > truth
    assert above <= stats.binom.ppf(0.999, 400, 0.05)


@pytest.mark.parametrize(
    "call",
    [
        lambda: one_run_bound(10, 5, 6, delta=0),
        lambda: one_run_bound(10, 11, 6, delta=0),
        lambda: one_run_bound(10, 0, 0, delta=0),
        lambda: one_run_bound(10, 5, 5, delta=1.0),
        lambda: one_run_bound(10, 5, 5, delta=0, confidence=1.0),
        lambda: clopper_pearson_bound(
            hits=3, members=2, alarms=0, nonmembers=2, delta=0
        ),
        lambda: gaussian_bound(hits=2, members=2, alarms=0, nonmembers=2, delta=0),
        lambda: EpsilonBound(
            value=2,
            ceiling=1,
            confidence=0.95,
            canaries=9,
            guesses=9,
            right=9,
            method="",
        ),
        lambda: EpsilonBound(
            value=0,
            ceiling=1,
            confidence=0.95,
            canaries=9,
            guesses=10,
            right=9,
            method="",
        ),
    ],
)
def test_what_cannot_be_bounded_is_refused(call):
    with pytest.raises(ParameterError):
        call()
