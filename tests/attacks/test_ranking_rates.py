"""Figures at one threshold, and the curve that no figure may lie above."""

import math

import numpy as np
import pytest
from scipy import stats

from attacks import ModelScores, ParameterError, auc, clopper_pearson, tpr_at_fpr
from attacks.rates import (
    accuracy,
    advantage,
    at_threshold,
    best_threshold,
    bootstrap_at_threshold,
    predictive_value,
)
from attacks.roc import hull, roc


def drawn(mu, n, m, seed):
    rng = np.random.default_rng(seed)
    return rng.normal(mu, 1, n), rng.normal(0, 1, m)


@pytest.mark.parametrize("digits", [0, 1, 6])  # with many ties and without
def test_no_true_positive_rate_lies_above_the_hull_and_the_area_is_the_auc(digits):
    for seed in range(4):
        members, nonmembers = (s.round(digits) for s in drawn(0.7, 150, 400, seed))
        curve = roc(members, nonmembers)
        over = hull(curve)
        assert curve.area() == pytest.approx(auc(members, nonmembers), abs=1e-12)
        assert curve.fpr[0] == curve.tpr[0] == 0 and curve.fpr[-1] == curve.tpr[-1] == 1
        for fpr in (0.025, 0.1, 0.33):
            assert tpr_at_fpr(members, nonmembers, fpr).value <= over.at(fpr) + 1e-12
        # The hull is above every point, concave, and made of points.
        points = set(zip(curve.fpr, curve.tpr, strict=True))
        assert all(tpr <= over.at(fpr) + 1e-12 for fpr, tpr in points)
        slopes = np.diff(over.tpr) / np.maximum(np.diff(over.fpr), 1e-300)
        assert (np.diff(slopes) < 0).all()
        assert set(zip(over.fpr, over.tpr, strict=True)) <= points


def test_a_hull_flatters_scores_that_know_nothing():
    """Why it is for drawing only."""
    areas = [hull(roc(*drawn(0, 60, 60, seed))).area() for seed in range(20)]
    assert min(areas) >= 0.5 and np.mean(areas) > 0.53


def test_figures_follow_their_formulas():
    members, nonmembers = np.arange(10.0), np.arange(10.0) - 5
    # Above 4.5: five of ten members, none of the others.
    found = at_threshold(members, nonmembers, 4.5)
    assert found.value == 0.75 and found.n == 10
    assert advantage(found).value == pytest.approx(0.5)
    each = clopper_pearson(5, 10, 0.975), clopper_pearson(0, 10, 0.975)
    assert found.low == pytest.approx((each[0].low + 1 - each[1].high) / 2)
    assert found.high == pytest.approx((each[0].high + 1 - each[1].low) / 2)
    # Above 2.5: seven of ten, and two of ten; of a hundred records one is a member.
    precise = at_threshold(members, nonmembers, 2.5, predictive_value(0.01))
    assert precise.value == pytest.approx(0.007 / (0.007 + 0.99 * 0.2))
    silent = at_threshold(members, nonmembers, 99.0, predictive_value(0.01))
    assert silent.value == 0 and silent.high > 0


@pytest.mark.parametrize(
    "figure", [accuracy, predictive_value(0.05)], ids=["accuracy", "ppv"]
)
def test_intervals_at_a_fixed_threshold_cover(figure):
    tpr, fpr = stats.norm.sf([0.0, 1.0])
    truth = float(figure(np.array(tpr), np.array(fpr)))
    missed = 0
    for seed in range(300):
        found = at_threshold(*drawn(1, 60, 90, seed), 1.0, figure)
        missed += not found.low <= truth <= found.high
    assert missed <= stats.binom.ppf(0.999, 300, 0.05)


def test_the_best_threshold_is_honest_on_other_scores_only():
    same, other = [], []
    for seed in range(60):
        members, nonmembers = drawn(0, 40, 40, seed)
        chosen = best_threshold(members[:20], nonmembers[:20])
        same.append(at_threshold(members[:20], nonmembers[:20], chosen).value)
        other.append(at_threshold(members[20:], nonmembers[20:], chosen).value)
    assert np.mean(same) > 0.55
    assert abs(np.mean(other) - 0.5) < 4 * np.std(other) / 60**0.5


def test_the_best_threshold_parts_what_can_be_parted():
    assert best_threshold(np.array([3.0, 4.0]), np.array([0.0, 1.0])) == 2.0
    members, nonmembers = (s.round(1) for s in drawn(1, 30, 50, seed=1))
    found = at_threshold(members, nonmembers, best_threshold(members, nonmembers))
    curve = roc(members, nonmembers)
    assert found.value == pytest.approx(accuracy(curve.tpr, curve.fpr).max())
    # The wrong way round, the best is to call everything a member.
    assert at_threshold(-members, -members, best_threshold(np.ones(1), np.ones(1)))


def test_the_bootstrap_knows_that_models_differ():
    rng = np.random.default_rng(0)
    ids = np.arange(60)
    models = []
    for shift in rng.normal(1, 1.0, 6):
        scores = rng.normal(0, 1, 60) + shift * (ids < 30)
        models.append(
            ModelScores(
                members=scores[:30],
                nonmembers=scores[30:],
                member_ids=ids[:30],
                nonmember_ids=ids[30:],
            )
        )
    found = bootstrap_at_threshold(models, 0.5, seed=0)
    members = np.concatenate([m.members for m in models])
    nonmembers = np.concatenate([m.nonmembers for m in models])
    pooled = at_threshold(members, nonmembers, 0.5)
    assert found.value == pooled.value and found.n == 60
    assert found.low < pooled.low and found.high > pooled.high
    again = bootstrap_at_threshold(models, 0.5, seed=0)
    assert again == found
    # Where no resample differs, the counts still do not know everything.
    perfect = ModelScores(members=np.ones(30), nonmembers=np.zeros(20))
    sure = bootstrap_at_threshold([perfect], 0.5, predictive_value(0.01), seed=0)
    assert sure.value == 1.0 == sure.high and sure.low < 0.1
    precise = bootstrap_at_threshold(models, 0.5, predictive_value(0.1), seed=0)
    assert 0 <= precise.low < precise.value < precise.high <= 1


@pytest.mark.parametrize(
    "call",
    [
        lambda: predictive_value(0.0),
        lambda: predictive_value(1.0),
        lambda: at_threshold(np.ones(2), np.ones(2), math.nan),
        lambda: at_threshold(np.array([]), np.ones(2), 0.0),
        lambda: at_threshold(np.ones(2), np.ones(2), 0.0, confidence=1.0),
        lambda: bootstrap_at_threshold([], 0.0, seed=0),
        lambda: best_threshold(np.ones(2), np.array([math.nan])),
        lambda: roc(np.ones(2), np.ones(2)).at(1.5),
    ],
)
def test_what_cannot_be_told_is_refused(call):
    with pytest.raises(ParameterError):
        call()
