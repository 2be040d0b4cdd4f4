"""One run against a trade-off curve: golden figures, an exact oracle, coverage."""

import math
import re
from pathlib import Path

import numpy as np
import pytest
from scipy import optimize, special, stats

from attacks import (
    ANY_MECHANISM,
    GAUSSIAN,
    Guesses,
    ParameterError,
    claim_p_value,
    coins,
    f_dp_bound,
    gaussian_epsilon,
    one_run_audit,
    one_run_bound,
)
from attacks.one_run import consistent, p_value
from attacks.tradeoff import approximate_curve, gaussian_curve

# m, r, v -> mu, and epsilon at delta = 1e-5, 95 %: computed once by an independent
# implementation of the algorithm.
GOLDEN = [
    (1000, 1000, 500, 0.0, 0.0),
    (1000, 1000, 600, 0.16385, 0.58354),
    (1000, 1000, 900, 0.88040, 3.77934),
    (1000, 100, 100, 1.22553, 5.54903),
    (1000, 100, 95, 0.78681, 3.32330),
    (5000, 500, 450, 0.67152, 2.77607),
    (10000, 1000, 1000, 1.83367, 8.98774),
    (100000, 1500, 1429, 0.78181, 3.29924),
]


@pytest.mark.parametrize(("m", "r", "v", "mu", "epsilon"), GOLDEN)
def test_gaussian_bounds_equal_the_golden_table(m, r, v, mu, epsilon):
    found = f_dp_bound(m, r, v, delta=1e-5)
    assert found.value == pytest.approx(epsilon, abs=2e-5)
    assert "Gaussian trade-off assumed" in found.method
    if mu > 0:
        assert not consistent(gaussian_curve(mu - 1e-5), m, r, v)
    assert consistent(gaussian_curve(mu + 1e-5), m, r, v)


def most_likely(lines, m, r, v):
    """The largest P[N >= v] over all distributions of N that the lines allow.

    The inequalities of the theorem for every i at once, as a linear program; a curve is
    the highest of its lines (slope, intercept).
    """
    numbers = np.arange(r + 1)
    rows, limits = [], []
    for i in range(r):
        right = np.where(numbers > i, numbers / m, 0.0)
        wrong = np.where(numbers >= i, (r - numbers) / m, 0.0)
        for slope, intercept in lines:
            rows.append(slope * right - wrong)
            limits.append(-intercept)
    found = optimize.linprog(
        -(numbers >= v).astype(float),
        A_ub=np.array(rows),
        b_ub=np.array(limits),
        A_eq=np.ones((1, r + 1)),
        b_eq=[1.0],
        bounds=(0, 1),
    )
    return -found.fun


@pytest.mark.parametrize(("m", "r", "v"), [(12, 12, 10), (40, 12, 11), (30, 15, 15)])
@pytest.mark.parametrize(("epsilon", "delta"), [(0.7, 0.0), (0.4, 0.02)])
def test_the_recursion_finds_the_optimum_of_the_linear_program(m, r, v, epsilon, delta):
    e = math.exp(epsilon)
    lines = [(1 / e, -delta / e), (e, 1 - delta - e)]
    wanted = most_likely(lines, m, r, v)
    found = p_value(approximate_curve(epsilon, delta), m, r, v)
    assert 0 < wanted < 1 and found == pytest.approx(wanted, rel=1e-6)


def test_the_recursion_finds_the_optimum_for_a_gaussian_curve():
    mu, m, r, v = 0.8, 24, 12, 12
    y = special.ndtr(np.linspace(-4, 4, 100))
    slopes = stats.norm.pdf(special.ndtri(y) - mu) / stats.norm.pdf(special.ndtri(y))
    heights = special.ndtr(special.ndtri(y) - mu) - slopes * y
    lines = list(zip(slopes, heights, strict=True))
    wanted = most_likely(lines, m, r, v)
    # Tangents allow a little more than the curve that they touch.
    found = p_value(gaussian_curve(mu), m, r, v)
    assert wanted * 0.995 < found <= wanted * (1 + 1e-6)


@pytest.mark.parametrize("mu", [0.3, 1.0, 2.5])
def test_a_gaussian_mechanism_is_covered_over_all_outcomes(mu):
    """Guessing every coin by the sign is right with probability Phi(mu / 2)."""
    r, right = 60, stats.norm.cdf(mu / 2)
    refuted = [v for v in range(r + 1) if not consistent(gaussian_curve(mu), r, r, v)]
    chance = stats.binom.pmf(refuted, r, right).sum()
    assert chance <= 0.05
    # And no shape assumed, for the worst case of its kind.
    q = special.expit(mu)
    refuted = [
        v for v in range(r + 1) if not consistent(approximate_curve(mu, 0), r, r, v)
    ]
    assert 0 < stats.binom.pmf(refuted, r, q).sum() <= 0.05


@pytest.mark.parametrize(("m", "r"), [(200, 200), (400, 20)])
@pytest.mark.parametrize("delta", [0.0, 1e-3, 0.02])
def test_the_worst_mechanism_is_covered_over_all_outcomes(m, r, delta):
    """Each coin is shown with probability delta, else answered at random with odds
    e^epsilon; the coins shown are guessed first. All outcomes are summed up."""
    epsilon = 0.8
    shown = np.arange(m + 1)
    chance = stats.binom.pmf(shown, m, delta)
    sure = np.minimum(shown, r)
    numbers = np.arange(r + 1)
    right = stats.binom.pmf(
        numbers[:, None] - sure, r - sure, special.expit(epsilon)
    ) @ np.where(chance > 1e-15, chance, 0)
    curve = approximate_curve(epsilon, delta)
    refuted = np.array([not consistent(curve, m, r, int(v)) for v in numbers])
    assert right.sum() == pytest.approx(1) and right[refuted].sum() <= 0.05
    # Where many of few guesses are shown, nothing that can happen refutes.
    assert right[refuted].sum() > 0 or (r, delta) == (20, 0.02)
    by_steinke = np.array(
        [one_run_bound(m, r, int(v), delta=delta).value > epsilon for v in numbers]
    )
    assert right[by_steinke].sum() <= 0.05


@pytest.mark.parametrize(("mu", "m", "r"), [(1.0, 500, 50), (2.0, 300, 150)])
def test_a_true_claim_is_refuted_seldom_and_half_of_it_often(mu, m, r):
    rng, runs = np.random.default_rng(0), 200
    refuted = {mu: 0, mu / 2: 0}
    for _ in range(runs):
        included = rng.random(m) < 0.5
        order = np.argsort(mu * included + rng.normal(size=m))
        right = int((~included[order[: r // 2]]).sum())
        right += int(included[order[m - r // 2 :]].sum())
        for claimed in refuted:
            refuted[claimed] += not consistent(gaussian_curve(claimed), m, r, right)
    assert refuted[mu] <= stats.binom.ppf(0.999, runs, 0.05)
    assert refuted[mu / 2] > runs / 3


def test_looking_at_the_coins_before_abstaining_is_caught_by_that_test():
    rng, runs = np.random.default_rng(1), 100
    refuted = 0
    for _ in range(runs):
        right = rng.random(200) < 0.5  # epsilon = 0
        guesses = int(right.sum()) + int((~right).sum()) // 2
        refuted += not consistent(gaussian_curve(1e-9), 200, guesses, int(right.sum()))
    assert refuted > stats.binom.ppf(0.999, runs, 0.05)


@pytest.mark.parametrize(
    ("m", "r", "v"), [(1000, 100, 70), (50, 50, 40), (400, 20, 20)]
)
def test_a_claim_is_consistent_exactly_where_its_p_value_says_so(m, r, v):
    for mu in (0.1, 0.5, 1.2):
        p = p_value(gaussian_curve(mu), m, r, v)
        assert consistent(gaussian_curve(mu), m, r, v, confidence=1 - p / 1.01)
        if p < 0.99:
            assert not consistent(gaussian_curve(mu), m, r, v, confidence=1 - p * 1.01)


def test_bounds_grow_with_right_guesses_and_fall_with_confidence():
    values = [f_dp_bound(300, 60, v, delta=1e-5).value for v in range(61)]
    assert values == sorted(values) and values[30] == 0 and values[-1] > 3
    strict = f_dp_bound(300, 60, 55, delta=1e-5, confidence=0.999)
    assert 0 < strict.value < values[55]
    assert strict.ceiling == f_dp_bound(300, 60, 60, delta=1e-5, confidence=0.999).value


@pytest.mark.parametrize(
    ("m", "r", "v", "higher"),
    [(10_000, 1000, 1000, True), (100_000, 1500, 1429, True), (1000, 1000, 600, False)],
)
def test_no_shape_is_needed_where_few_of_the_canaries_are_guessed(m, r, v, higher):
    found = f_dp_bound(m, r, v, delta=1e-5, family=ANY_MECHANISM)
    assert (found.value > one_run_bound(m, r, v, delta=1e-5).value) == higher
    assert found.value < f_dp_bound(m, r, v, delta=1e-5, family=GAUSSIAN).value
    assert "any (epsilon, delta)-DP mechanism" in found.method


def test_an_audit_takes_a_family_and_pays_for_its_shares():
    included = coins(400, seed=0)
    scores = 2 * included + np.random.default_rng(0).normal(size=400)
    plain = one_run_audit(scores, included, delta=1e-5)
    shaped = one_run_audit(scores, included, delta=1e-5, family=GAUSSIAN)
    assert plain.value < shaped.value < gaussian_epsilon(2.0, 1e-5)
    assert shaped.value <= shaped.ceiling and "best of 3 shares" in shaped.method
    wanted = f_dp_bound(
        400, shaped.guesses, shaped.right, delta=1e-5, confidence=1 - 0.05 / 3
    )
    assert shaped.value == wanted.value and shaped.confidence == 0.95


def test_unequal_guesses_are_counted_each_on_their_side():
    included = np.arange(40) >= 30  # the ten last are in
    scores = np.arange(40.0)
    only_in = one_run_audit(scores, included, delta=0, shares=(Guesses(inside=12),))
    assert (only_in.guesses, only_in.right) == (12, 10)
    assert only_in.value == only_in.ceiling  # ten are in, so no score does better
    both = one_run_audit(
        scores, included, delta=0, shares=(Guesses(inside=4, outside=20),)
    )
    assert (both.guesses, both.right) == (24, 24)
    half = one_run_audit(scores, included, delta=0, shares=(0.5,))
    same = one_run_audit(
        scores, included, delta=0, shares=(Guesses(inside=10, outside=10),)
    )
    assert half == same


def test_a_claim_that_is_true_is_seldom_improbable_and_a_false_one_is():
    """Of 60 audits no more p-values below 10 % than a true claim allows."""
    true, false = [], []
    for seed in range(60):
        included = coins(200, seed=seed)
        noise = np.random.default_rng([seed, 9]).normal(size=200)
        scores = 1.5 * included + noise
        true.append(claim_p_value(scores, included, gaussian_curve(1.5)))
        false.append(claim_p_value(scores, included, gaussian_curve(0.4)))
    assert np.sum(np.array(true) < 0.1) <= stats.binom.ppf(0.999, 60, 0.1)
    assert np.mean(np.array(false) < 0.05) > 0.95
    assert max(true) == 1.0 and min(false) > 0


def test_a_p_value_refutes_what_the_bound_refutes():
    included = coins(300, seed=2)
    scores = included + np.random.default_rng(2).normal(size=300)
    epsilon = one_run_audit(scores, included, delta=1e-5, family=ANY_MECHANISM).value
    for claimed, refuted in ((epsilon * 0.99, True), (epsilon * 1.01, False)):
        p = claim_p_value(scores, included, approximate_curve(claimed, 1e-5))
        assert (p < 0.05) == refuted


@pytest.mark.parametrize(
    "call",
    [
        lambda: f_dp_bound(10, 5, 6, delta=0.1),
        lambda: f_dp_bound(10, 5, 5, delta=0),
        lambda: f_dp_bound(10, 5, 5, delta=0.1, confidence=1.0),
        lambda: consistent(gaussian_curve(1), 10, 0, 0),
        lambda: p_value(gaussian_curve(1), 10, 11, 0),
        lambda: Guesses(inside=0),
        lambda: Guesses(inside=-1, outside=3),
        lambda: one_run_audit(
            np.zeros(4), np.zeros(4, bool), delta=0, shares=(Guesses(inside=5),)
        ),
    ],
)
def test_what_cannot_be_bounded_is_refused(call):
    with pytest.raises(ParameterError):
        call()


def test_the_example_of_the_page_runs(capsys):
    """In this process: a page of its own would import everything anew."""
    page = Path(__file__).parents[2] / "docs" / "bounds.md"
    (code,) = re.findall(r"^```py\n(.*?)^```", page.read_text(), re.DOTALL | re.M)
    exec(code, {"__name__": "example"})
    assert capsys.readouterr().out.count("best of 3 shares of guesses") == 3
