"""The ROC band: the curve of the thresholds, ties refused, nothing unresolved."""

import numpy as np
import pytest

from attacks import ModelScores, ParameterError, tpr_at_fpr
from attacks.roc_band import roc_band


def model(members, others, ids=False):
    return ModelScores(
        members=members,
        nonmembers=others,
        member_ids=np.arange(len(members)) if ids else None,
        nonmember_ids=np.arange(len(others)) + len(members) if ids else None,
    )


@pytest.mark.parametrize("decimals", [0, 1, 6])
def test_the_curve_is_the_rate_at_each_threshold_ties_and_all(decimals):
    rng = np.random.default_rng(decimals)
    members = rng.normal(0.7, 1, 300).round(decimals)
    others = rng.normal(0, 1, 200).round(decimals)
    rates = [0.05, 0.1, 0.3, 0.755]
    band = roc_band([model(members, others)], rates, seed=0)
    assert band.tpr.tolist() == [tpr_at_fpr(members, others, r).value for r in rates]
    assert (band.low <= band.tpr).all() and (band.tpr <= band.high).all()


def test_a_rate_that_ten_distinct_non_members_do_not_resolve_is_left_out():
    rng = np.random.default_rng(1)
    one = model(rng.normal(size=50), rng.normal(size=100), ids=True)
    band = roc_band([one, one, one], [0.01, 0.099, 0.1, 0.5], seed=0)
    assert band.fpr.tolist() == [0.1, 0.5]
    assert (band.members, band.nonmembers) == (50, 100)
    assert roc_band([one], [0.01], seed=0) is None


def test_the_band_holds_the_true_rate_about_as_often_as_it_says():
    missed = 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        members, others = rng.normal(1.0, 1, 150), rng.normal(0, 1, 150)
        band = roc_band([model(members, others)], [0.1], confidence=0.9, seed=seed)
        missed += not band.low[0] <= 0.3891 <= band.high[0]  # Phi(1 - 1.2816)
    assert missed <= 13  # 6 expected


def test_records_that_recur_under_several_models_do_not_narrow_the_band():
    rng = np.random.default_rng(2)
    one = model(rng.normal(0.5, 1, 100), rng.normal(0, 1, 100), ids=True)
    alone = roc_band([one], [0.2], seed=0)
    thrice = roc_band([one] * 3, [0.2], seed=0)
    widths = [float(b.high[0] - b.low[0]) for b in (alone, thrice)]
    assert widths[1] > 0.7 * widths[0]


def test_bad_rates_are_refused():
    one = model(np.zeros(20), np.zeros(20))
    for rates in ([], [0.5, 0.5], [0.0, 0.5], [0.5, 1.5]):
        with pytest.raises(ParameterError, match="ascend"):
            roc_band([one], rates, seed=0)
