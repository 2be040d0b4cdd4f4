from itertools import pairwise

import numpy as np
import pytest
from scipy import stats

from attacks import (
    ModelScores,
    ParameterError,
    Unresolvable,
    auc,
    bootstrap_auc,
    bootstrap_tpr,
    resample_auc,
    resample_tpr,
    resamples_for,
    tpr_at_fpr,
)
from attacks.bootstrap import _place, _weighted_auc


def slow_auc(members, nonmembers):
    wins = 0.0
    for a in members:
        for b in nonmembers:
            wins += 1.0 if a > b else 0.5 if a == b else 0.0
    return wins / (len(members) * len(nonmembers))


def normal_models(count, size, shift, seed, *, with_ids=False):
    rng = np.random.default_rng(seed)
    ids = np.arange(size)
    return [
        ModelScores(
            members=rng.normal(shift, 1, size),
            nonmembers=rng.normal(0, 1, size),
            member_ids=ids if with_ids else None,
            nonmember_ids=ids + size if with_ids else None,
        )
        for _ in range(count)
    ]


def test_auc_equals_the_count_of_pairs_with_and_without_ties():
    rng = np.random.default_rng(0)
    for round_to in (8, 0):
        a = rng.normal(0.5, 1, 30).round(round_to)
        b = rng.normal(0, 1, 25).round(round_to)
        assert auc(a, b) == pytest.approx(slow_auc(a, b), abs=1e-12)


def test_weighted_auc_equals_auc_of_repeated_scores():
    rng = np.random.default_rng(1)
    model = ModelScores(
        members=rng.normal(0.5, 1, 12).round(0), nonmembers=rng.normal(0, 1, 9).round(0)
    )
    inside = rng.integers(1, 4, (5, 12)).astype(float)
    outside = rng.integers(1, 4, (5, 9)).astype(float)
    found = _weighted_auc(_place(model), inside, outside)
    for row in range(5):
        a = np.repeat(model.members, inside[row].astype(int))
        b = np.repeat(model.nonmembers, outside[row].astype(int))
        assert found[row] == pytest.approx(slow_auc(a, b), abs=1e-12)


def test_higher_scores_mean_members():
    assert auc(np.array([2.0, 3.0]), np.array([0.0, 1.0])) == 1.0
    assert auc(np.array([0.0, 1.0]), np.array([2.0, 3.0])) == 0.0
    rates = np.linspace(0, 1, 1000)
    assert tpr_at_fpr(rates + 2, rates, 0.01).value == 1.0
    assert tpr_at_fpr(rates - 2, rates, 0.01).value == 0.0


def test_the_threshold_never_lets_more_non_members_pass_than_asked():
    rng = np.random.default_rng(2)
    for decimals in (6, 1):
        members = rng.normal(1, 1, 500).round(decimals)
        nonmembers = rng.normal(0, 1, 1000).round(decimals)
        for fpr in (0.01, 0.05, 0.1):
            best = max(
                (members > t).mean()
                for t in np.unique(nonmembers)
                if (nonmembers > t).mean() <= fpr
            )
            assert tpr_at_fpr(members, nonmembers, fpr).value == pytest.approx(best)


def test_an_unresolvable_rate_is_refused():
    scores = np.arange(999.0)
    with pytest.raises(Unresolvable) as caught:
        tpr_at_fpr(scores, scores, 0.01)
    assert (caught.value.need, caught.value.have) == (1000, 999)
    assert tpr_at_fpr(scores, np.arange(1000.0), 0.01).n == 999


def test_recurring_records_do_not_buy_resolution():
    models = normal_models(4, 300, 1.0, 0, with_ids=True)
    with pytest.raises(Unresolvable) as caught:
        bootstrap_tpr(models, 0.01, seed=0)
    assert caught.value.have == 300
    fresh = normal_models(4, 300, 1.0, 0)
    assert bootstrap_tpr(fresh, 0.01, seed=0).low > 0


def test_perfect_separation_still_has_a_width():
    models = [
        ModelScores(members=np.arange(20.0) + 100, nonmembers=np.arange(20.0))
        for _ in range(3)
    ]
    found = bootstrap_auc(models, seed=0)
    assert found.value == 1.0 and 0.8 < found.low < 0.95
    assert "no spread" in found.method


def test_a_seed_repeats_the_interval():
    models = normal_models(3, 40, 0.5, 0)
    assert bootstrap_auc(models, seed=1) == bootstrap_auc(models, seed=1)
    assert bootstrap_auc(models, seed=1) != bootstrap_auc(models, seed=2)


def test_resamples_drawn_once_answer_for_every_level():
    models = normal_models(3, 60, 0.5, 0, with_ids=True)
    for level in (0.9, 0.95, 0.99):
        draws = resamples_for(level)
        drawn = resample_auc(models, seed=1, draws=draws)
        assert drawn.estimate(level) == bootstrap_auc(models, level, seed=1)
        drawn = resample_tpr(models, 0.2, seed=1, draws=draws)
        assert drawn.estimate(level) == bootstrap_tpr(models, 0.2, level, seed=1)


@pytest.mark.parametrize("shift", [0.0, 0.5, 3.0, 9.0])
def test_a_higher_level_gives_a_wider_interval_beyond_the_resamples_too(shift):
    models = normal_models(2, 50, shift, 0)
    for drawn in (
        resample_auc(models, seed=0, draws=1000),
        resample_tpr(models, 0.2, seed=0, draws=1000),
    ):
        levels = (0.5, 0.9, 0.98, 0.9801, 0.99, 0.999, 0.9999, 0.999999)
        found = [drawn.estimate(level) for level in levels]
        for narrow, wide in pairwise(found):
            assert 0 <= wide.low <= narrow.low <= narrow.high <= wide.high <= 1


def test_tails_beyond_the_resamples_are_those_of_many_more():
    models = normal_models(2, 150, 0.5, 0)
    short = resample_auc(models, seed=0, draws=3000).estimate(0.9994)
    long = resample_auc(models, seed=1, draws=60_000).estimate(0.9994)
    width = long.high - long.low
    assert "normal beyond" in short.method and "normal" not in long.method
    assert abs(short.low - long.low) < 0.1 * width
    assert abs(short.high - long.high) < 0.1 * width


def test_shared_records_widen_the_interval():
    """Twelve models with one score per record are one model, twelve times over."""
    rng = np.random.default_rng(3)
    a, b = rng.normal(0.5, 1, 60), rng.normal(0, 1, 60)
    ids = np.arange(60)
    shared = [
        ModelScores(members=a, nonmembers=b, member_ids=ids, nonmember_ids=ids + 60)
        for _ in range(12)
    ]
    blind = [ModelScores(members=a, nonmembers=b) for _ in range(12)]
    known, naive = bootstrap_auc(shared, seed=0), bootstrap_auc(blind, seed=0)
    assert known.high - known.low > 2 * (naive.high - naive.low)
    assert known.n == 120


@pytest.mark.slow
@pytest.mark.parametrize(("models", "with_ids"), [(1, False), (8, False), (8, True)])
def test_the_auc_interval_covers(models, with_ids):
    """Models and records both vary; the true AUC is 1/2."""
    hits, repeats = 0, 200
    for seed in range(repeats):
        rng = np.random.default_rng(1000 + seed)
        ids = np.arange(80)
        effect = rng.normal(0, 1, 80) * with_ids  # a record's own effect, in all models
        drawn = []
        for _ in range(models):
            order = rng.permutation(80)
            scores = effect + rng.normal(0, 1, 80)
            inside, outside = order[:40], order[40:]
            drawn.append(
                ModelScores(
                    members=scores[inside],
                    nonmembers=scores[outside],
                    member_ids=ids[inside] if with_ids else None,
                    nonmember_ids=ids[outside] if with_ids else None,
                )
            )
        found = bootstrap_auc(drawn, seed=seed)
        hits += found.low <= 0.5 <= found.high
    assert hits / repeats >= 0.90


@pytest.mark.slow
def test_the_tpr_interval_covers():
    truth = stats.norm.sf(stats.norm.isf(0.05) - 1)
    hits, repeats = 0, 150
    for seed in range(repeats):
        found = bootstrap_tpr(normal_models(4, 100, 1.0, seed), 0.05, seed=seed)
        hits += found.low <= truth <= found.high
    assert hits / repeats >= 0.90


@pytest.mark.parametrize(
    "call",
    [
        lambda: auc(np.array([]), np.array([1.0])),
        lambda: auc(np.array([np.nan]), np.array([1.0])),
        lambda: auc(np.zeros((2, 2)), np.array([1.0])),
        lambda: tpr_at_fpr(np.ones(9), np.ones(9), 0.0),
        lambda: bootstrap_auc([], seed=0),
        lambda: resample_auc(normal_models(2, 9, 0, 0), seed=0, draws=5),
        lambda: resample_auc(normal_models(2, 9, 0, 0), seed=0, draws=99).estimate(1.0),
        lambda: bootstrap_auc(normal_models(2, 9, 0, 0), 0.999, seed=0, resamples=1000),
        lambda: bootstrap_auc(
            normal_models(1, 9, 0, 0) + normal_models(1, 9, 0, 0, with_ids=True), seed=0
        ),
        lambda: ModelScores(
            members=np.ones(2), nonmembers=np.ones(2), member_ids=np.arange(2)
        ),
        lambda: ModelScores(
            members=np.ones(2),
            nonmembers=np.ones(2),
            member_ids=np.arange(2),
            nonmember_ids=np.arange(3),
        ),
    ],
)
def test_scores_that_cannot_be_ranked_are_refused(call):
    with pytest.raises(ParameterError):
        call()
