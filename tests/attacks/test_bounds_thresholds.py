"""Thresholds that were paid for: each choice holds on scores that know nothing."""

import math

import numpy as np
import pytest
from scipy import stats

from attacks import (
    ANY_MECHANISM,
    GAUSSIAN,
    ParameterError,
    clopper_pearson_bound,
    gaussian_bound,
    gaussian_epsilon,
)
from attacks.many_runs import bound_from_scores
from attacks.thresholds import Bonferroni, Explicit, MultiSplit, Split

CHOICES = [
    Explicit(1.0),
    Split(seed=3),
    MultiSplit(splits=3, seed=3),
    Bonferroni(),
    Bonferroni((0, 5)),
]
DELTA = 1e-5


def drawn(mu, n, seed):
    rng = np.random.default_rng(seed)
    return rng.normal(mu, 1, n), rng.normal(0, 1, n)


def value(scores, choice, **options):
    options = {"delta": DELTA, "family": GAUSSIAN, **options}
    return bound_from_scores(*scores, thresholds=choice, **options).value


@pytest.mark.parametrize("choice", CHOICES, ids=str)
def test_scores_that_know_nothing_prove_nothing(choice):
    """At 50 % confidence, so that 100 runs can tell a bound that fails too often."""
    above = sum(value(drawn(0, 40, s), choice, confidence=0.5) > 0 for s in range(100))
    assert above <= stats.binom.ppf(0.999, 100, 0.5)


@pytest.mark.parametrize("choice", CHOICES, ids=str)
@pytest.mark.parametrize("family", [GAUSSIAN, ANY_MECHANISM], ids=["gdp", "any"])
def test_a_gaussian_mechanism_is_covered_and_not_for_nothing(choice, family):
    truth = gaussian_epsilon(2.0, DELTA)
    values = [value(drawn(2, 300, s), choice, family=family) for s in range(15)]
    assert sum(v > truth for v in values) <= stats.binom.ppf(0.999, 15, 0.05)
    assert np.median(values) > 0.8


def test_the_best_threshold_of_the_same_scores_fails_that_test():
    """The tampered twin: every threshold, no correction."""
    above, n = 0, 300
    for seed in range(60):
        members, nonmembers = (np.sort(scores) for scores in drawn(0, n, seed))
        misses = np.searchsorted(members, nonmembers)
        alarms = np.arange(n)[::-1]
        fnr = stats.beta.ppf(0.75, misses + 1, np.maximum(n - misses, 0.5))
        fpr = stats.beta.ppf(0.75, alarms + 1, n - alarms)
        above += bool((fnr + fpr < 1).any())
    assert above > stats.binom.ppf(0.999, 60, 0.5)


def test_an_explicit_threshold_counts_as_the_bounds_of_counts_do():
    members, nonmembers = drawn(1.5, 200, seed=1)
    counts = dict(
        hits=int((members > 0.8).sum()),
        members=200,
        alarms=int((nonmembers > 0.8).sum()),
        nonmembers=200,
        delta=DELTA,
    )
    for family, wanted in (
        (ANY_MECHANISM, clopper_pearson_bound(**counts)),
        (GAUSSIAN, gaussian_bound(**counts)),
    ):
        found = bound_from_scores(
            members, nonmembers, thresholds=Explicit(0.8), delta=DELTA, family=family
        )
        assert found.value == pytest.approx(wanted.value, rel=1e-7)
        assert found.ceiling == pytest.approx(wanted.ceiling, rel=1e-7)
        assert (found.guesses, found.right) == (wanted.guesses, wanted.right)
        assert family.assumes in found.method and "Explicit" in found.method


def test_ranks_are_exact_for_the_class_that_sets_them():
    """The rate above the k-th of n non-members exceeds the bound for k as often as
    Clopper and Pearson allow: a Beta variable, so no simulation."""
    n, k, error = 30, 4, 0.1
    high = stats.beta.ppf(1 - error, k + 1, n - k)
    assert stats.beta.sf(high, k + 1, n - k) == pytest.approx(error)
    # And the rank of the members: the two are mirror images.
    members, nonmembers = drawn(1, 60, seed=0)
    there = value((members, nonmembers), Bonferroni((3,)))
    back = value((-nonmembers, -members), Bonferroni((3,)))
    assert there == pytest.approx(back, rel=1e-9)


def test_perfect_scores_reach_the_ceiling_of_their_choice():
    scores = np.arange(100.0, 150.0), np.arange(50.0)
    for choice in (Explicit(70.0), Split(), MultiSplit(), Bonferroni()):
        found = bound_from_scores(*scores, thresholds=choice, delta=0)
        assert found.value == found.ceiling > 0.5
        assert found.canaries == 100
    half = bound_from_scores(*scores, thresholds=Split(), delta=0)
    assert half.guesses == half.right == 50
    wanted = clopper_pearson_bound(
        hits=25, members=25, alarms=0, nonmembers=25, delta=0
    )
    assert half.value == pytest.approx(wanted.value, rel=1e-7)


def test_every_choice_pays_its_price():
    """Ranks share the error, two thresholds each; splits are each asked for half."""
    perfect = np.arange(100.0, 150.0), np.arange(50.0)
    paid = clopper_pearson_bound(
        hits=50,
        members=50,
        alarms=0,
        nonmembers=50,
        delta=0,
        confidence=1 - 0.05 / 6,
    )
    found = value(perfect, Bonferroni((0, 3, 7)), family=ANY_MECHANISM, delta=0)
    assert found == pytest.approx(paid.value, rel=1e-7)
    scores = drawn(2, 60, seed=8)
    seeds = np.random.SeedSequence(4).generate_state(4)
    single = [value(scores, Split(seed=int(s)), confidence=0.975) for s in seeds]
    assert value(scores, MultiSplit(splits=4, seed=4)) == sorted(single)[1]


def test_a_split_is_tested_on_the_part_that_did_not_choose():
    scores = drawn(2, 100, seed=1)
    for share, tested in ((0.2, 160), (0.7, 60)):
        found = bound_from_scores(
            *scores, thresholds=Split(share=share), delta=DELTA, family=GAUSSIAN
        )
        assert (found.guesses, found.canaries) == (tested, 200)


def test_ties_never_count_for_the_attack():
    same = np.ones(50)
    for choice in (Explicit(1.0), Split(), MultiSplit(splits=3), Bonferroni()):
        assert value((same, same), choice) == 0


def test_many_splits_depend_less_on_luck_than_one():
    scores = drawn(2, 100, seed=5)
    single = [value(scores, Split(seed=s), confidence=0.975) for s in range(12)]
    many = [value(scores, MultiSplit(splits=9, seed=s)) for s in range(4)]
    assert np.std(many) < np.std(single)


@pytest.mark.parametrize(
    "call",
    [
        lambda: Explicit(math.nan),
        lambda: Split(share=1.0),
        lambda: MultiSplit(splits=0),
        lambda: Bonferroni(()),
        lambda: Bonferroni((1, 1)),
        lambda: Bonferroni((-1,)),
        lambda: value(drawn(0, 5, 0), Bonferroni((5,))),
        lambda: value((np.ones(1), np.ones(9)), Split()),
        lambda: value((np.array([]), np.ones(9)), Split()),
        lambda: value((np.array([math.inf]), np.ones(9)), Explicit(0.0)),
        lambda: value(drawn(0, 5, 0), Explicit(0.0), delta=1.0),
        lambda: value(drawn(0, 5, 0), Explicit(0.0), confidence=1.0),
    ],
)
def test_what_cannot_be_asked_is_refused(call):
    with pytest.raises(ParameterError):
        call()
