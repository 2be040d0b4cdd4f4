"""The canary game on mechanisms whose epsilon is known in closed form."""

import math

import numpy as np
import pytest
from scipy import stats

from attacks import (
    ParameterError,
    coins,
    dirac,
    gaussian_epsilon,
    one_run_audit,
    one_run_bound,
    own_coordinates,
)

DELTA = 1e-5


def _gaussian_scores(included, sigma, rng):
    """What a canary of norm 1 in its own coordinate leaves under noise sigma."""
    return included + sigma * rng.normal(size=len(included))


def _at_most_5_percent(violations, runs):
    """True unless a rate of 5 % would produce so many less than once in 1000."""
    return violations <= stats.binom.ppf(0.999, runs, 0.05)


def test_coins_are_fair_independent_and_repeatable():
    tossed = coins(20_000, seed=1)
    assert tossed.dtype == np.bool_
    assert stats.binomtest(int(tossed.sum()), len(tossed)).pvalue > 1e-3
    pairs = int((tossed[1:] == tossed[:-1]).sum())
    assert stats.binomtest(pairs, len(tossed) - 1).pvalue > 1e-3
    assert (coins(50, seed=1) == tossed[:50]).all()
    # Counts of many games vary as coins do: a shuffled half would never vary.
    counts = np.array([coins(100, seed=s).sum() for s in range(300)])
    assert 3.5 < counts.std() < 6.5


@pytest.mark.parametrize(("count", "length"), [(1, 1), (7, 7), (3, 100), (64, 1000)])
def test_each_canary_has_a_coordinate_of_its_own(count, length):
    found = own_coordinates(count, length)
    assert len(np.unique(found)) == count
    assert 0 <= found.min() and found.max() < length


@pytest.mark.parametrize("norm", [0.1, 1.0, 16.0, 1 / 3, 1e-30])
def test_a_dirac_is_as_loud_as_the_clip_lets_pass_and_no_louder(norm):
    vector = dirac(3, 10, norm)
    assert vector.dtype == np.float32 and np.count_nonzero(vector) == 1
    assert norm * (1 - 1e-6) < float(vector[3]) <= norm


@pytest.mark.parametrize("epsilon", [0.5, 2.0, 4.0])
def test_the_bound_stays_below_the_epsilon_of_a_gaussian_mechanism(epsilon):
    low, high = 0.01, 10.0
    for _ in range(60):
        mu = (low + high) / 2
        low, high = (mu, high) if gaussian_epsilon(mu, DELTA) < epsilon else (low, mu)
    rng, runs = np.random.default_rng(0), 200
    values = []
    for seed in range(runs):
        included = coins(400, seed=seed)
        scores = _gaussian_scores(included, 1 / low, rng)
        values.append(one_run_audit(scores, included, delta=DELTA).value)
    assert _at_most_5_percent(sum(value > epsilon for value in values), runs)


def test_the_bound_covers_randomised_response_for_which_it_is_tight():
    epsilon, runs = 1.0, 300
    honest = math.exp(epsilon) / (1 + math.exp(epsilon))
    rng = np.random.default_rng(1)
    values = []
    for seed in range(runs):
        included = coins(400, seed=seed)
        kept = rng.random(400) < honest
        scores = np.where(kept, included, ~included) + 0.1 * rng.random(400)
        values.append(one_run_audit(scores, included, delta=0.0).value)
    assert _at_most_5_percent(sum(value > epsilon for value in values), runs)
    assert np.median(values) > 0.5


def test_without_noise_the_bound_is_its_ceiling():
    included = coins(500, seed=0)
    found = one_run_audit(included.astype(float), included, delta=DELTA)
    assert found.value == found.ceiling > 2
    assert found.right == found.guesses
    assert found.confidence == 0.95 and found.canaries == 500


def test_too_little_noise_is_caught():
    """A mechanism that claims 1 but adds a tenth of the noise."""
    rng, caught = np.random.default_rng(2), 0
    sigma = 0.1 / 0.26806  # gaussian_epsilon(0.26806, 1e-5) = 1
    assert gaussian_epsilon(0.26806, DELTA) == pytest.approx(1.0, abs=1e-3)
    for seed in range(50):
        included = coins(200, seed=seed)
        scores = _gaussian_scores(included, sigma, rng)
        caught += one_run_audit(scores, included, delta=DELTA).value > 1.0
    assert caught >= 48


def test_scores_that_know_nothing_prove_nothing():
    rng, runs = np.random.default_rng(3), 300
    above = 0
    for seed in range(runs):
        included = coins(300, seed=seed)
        shuffled = rng.permutation(_gaussian_scores(included, 0.1, rng))
        above += one_run_audit(shuffled, included, delta=DELTA).value > 0
    assert _at_most_5_percent(above, runs)


@pytest.mark.parametrize("bug", ["abstains where wrong", "tries many shares"])
def test_a_rule_that_looks_at_the_coins_violates_the_bound_visibly(bug):
    """Tampered twins of the audit: the check on the violations must notice them."""
    rng, runs, truth = np.random.default_rng(4), 100, 0.0
    violations = 0
    for seed in range(runs):
        included = coins(200, seed=seed)
        scores = rng.normal(size=200)  # epsilon = 0
        right = (scores > 0) == included
        if bug == "abstains where wrong":
            guesses = int(right.sum()) + int((~right).sum()) // 2
            found = one_run_bound(200, guesses, int(right.sum()), delta=0).value
        else:
            found = max(
                one_run_audit(scores, included, delta=0, shares=(share,)).value
                for share in np.linspace(0.05, 1, 40)
            )
        violations += found > truth
    assert not _at_most_5_percent(violations, runs)


def test_ties_are_broken_by_position_and_never_by_the_truth():
    included = np.arange(100) < 50
    ahead = one_run_audit(np.zeros(100), included, delta=0)
    behind = one_run_audit(np.zeros(100), ~included, delta=0)
    # The first half is guessed "in": all right for one truth, all wrong for the other.
    assert ahead.right == ahead.guesses and behind.right == 0
    above = sum(
        one_run_audit(np.zeros(100), coins(100, seed=seed), delta=0).value > 0
        for seed in range(200)
    )
    assert _at_most_5_percent(above, 200)


def test_every_share_pays_for_the_choice_among_them():
    included = np.arange(100) % 2 == 0
    scores = included + 0.0
    one = one_run_audit(scores, included, delta=0, shares=(1.0,))
    three = one_run_audit(scores, included, delta=0, shares=(1.0, 0.5, 0.2))
    assert one.value > three.value
    wanted = one_run_bound(100, 100, 100, delta=0, confidence=1 - 0.05 / 3)
    assert (three.value, three.right) == (wanted.value, 100)


@pytest.mark.parametrize(
    "call",
    [
        lambda: coins(0, seed=0),
        lambda: own_coordinates(5, 4),
        lambda: own_coordinates(0, 4),
        lambda: dirac(4, 4, 1.0),
        lambda: dirac(0, 4, 0.0),
        lambda: dirac(0, 4, math.nan),
        lambda: one_run_audit(np.zeros(4), coins(5, seed=0), delta=0),
        lambda: one_run_audit(np.zeros(4), np.zeros(4), delta=0),
        lambda: one_run_audit(np.full(9, np.nan), coins(9, seed=0), delta=0),
        lambda: one_run_audit(np.zeros(9), coins(9, seed=0), delta=0, shares=()),
        lambda: one_run_audit(np.zeros(9), coins(9, seed=0), delta=0, shares=(1.5,)),
        lambda: one_run_audit(np.zeros(4), coins(4, seed=0), delta=0),
    ],
)
def test_games_that_cannot_be_scored_are_refused(call):
    with pytest.raises(ParameterError):
        call()
