"""ROC plots: bands of what was measured, and what a proven epsilon leaves open."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest
from scipy import special

from attacks import Adversary
from fl import roc
from fl.finding import Finding, Group, Ranking
from fl.membership import LIRA
from fl.report import PrivacyRow
from tests.fl import tiny

FPR = tuple(float(v) for v in np.geomspace(1e-3, 1, 40))


def bound(
    epsilon: float | None, *, delta: float = 1e-5, relation: str = "replace one"
) -> PrivacyRow:
    return PrivacyRow(
        protection="noised",
        unit="example",
        relation=relation,
        delta=delta,
        epsilon_upper=epsilon,
        accountant=None if epsilon is None else "PLD",
        epsilon_lower=None,
        ceiling=None,
        confidence=None,
        n_canaries=0,
    )


def best_rate(epsilon: float, delta: float, fpr: float) -> float:
    """Oracle: the largest TPR with both inequalities of the definition, by bisection.

    TPR <= e^eps FPR + delta for the event, and the same for its complement.
    """
    low, high = 0.0, 1.0
    for _ in range(60):
        tpr = (low + high) / 2
        event = tpr <= math.exp(epsilon) * fpr + delta
        complement = 1 - fpr <= math.exp(epsilon) * (1 - tpr) + delta
        low, high = (tpr, high) if event and complement else (low, tpr)
    return low


@pytest.mark.parametrize(("epsilon", "delta"), product((0.1, 1.0, 4.0), (0.0, 1e-3)))
def test_the_limit_is_the_largest_rate_that_the_definition_allows(
    epsilon: float, delta: float
) -> None:
    limit = roc._limit(bound(epsilon, delta=delta), FPR)
    assert limit is not None and limit.role == "reference"
    for fpr, tpr in zip(limit.x, limit.y, strict=True):
        assert tpr == pytest.approx(best_rate(epsilon, delta, fpr), abs=1e-9)
        assert tpr < 1


def test_a_record_in_anothers_place_is_one_less_and_one_more() -> None:
    limit = roc._limit(bound(0.5, delta=1e-4, relation="add or remove one"), FPR)
    assert limit is not None
    wider = (1 + math.exp(0.5)) * 1e-4
    assert limit.y[0] == pytest.approx(best_rate(1.0, wider, limit.x[0]), abs=1e-9)


@pytest.mark.parametrize("epsilon", [None, 31.0, 1e6])
def test_a_bound_that_allows_everything_is_not_drawn(epsilon: float | None) -> None:
    assert roc._limit(bound(epsilon), FPR) is None


@pytest.mark.parametrize(("epsilon", "delta"), product((0.5, 4.0), (1e-6, 1e-3)))
def test_the_gaussian_line_has_the_claimed_delta_at_the_claimed_epsilon(
    epsilon: float, delta: float
) -> None:
    mu = roc._mu(epsilon, delta)
    # Oracle: Balle and Wang 2018, theorem 8, evaluated at the mu that was found.
    found = special.ndtr(-epsilon / mu + mu / 2) - math.exp(epsilon) * special.ndtr(
        -epsilon / mu - mu / 2
    )
    assert found == pytest.approx(delta, rel=1e-6)
    line = roc._gaussian(bound(epsilon, delta=delta), FPR)
    limit = roc._limit(bound(epsilon, delta=delta), FPR)
    assert line is not None and limit is not None
    at = dict(zip(line.x, line.y, strict=True))
    assert all(at[x] <= y + 1e-9 for x, y in zip(limit.x, limit.y, strict=True))


def finding(name: str, members: int, others: int, seed: int = 0) -> Finding:
    rng = np.random.default_rng(seed)
    group = Group(
        scores=rng.normal(size=members + others),
        members=np.arange(members + others) < members,
        records=np.arange(members + others),
    )
    return Finding(
        protection=name,
        adversary=Adversary.OUTSIDER,
        view="released model",
        scenario="as configured",
        attack=LIRA,
        measures=(Ranking(groups=(group,)),),
        seeds=(0,),
    )


def test_each_claim_gets_its_own_plot_and_all_others_share_one() -> None:
    found = [finding(name, 80, 50) for name in ("none", "secagg", "noised")]
    plain, claimed = roc.curves(found, [bound(1.0)], tiny.config())
    assert [one.name for one in plain.series] == ["none", "secagg"]
    assert claimed.series[0].name == "noised"
    assert [one.role for one in claimed.series[1:]] == ["reference", "reference"]
    for curve in (plain, claimed):
        assert curve.log_x and curve.log_y and curve.diagonal
        measured = [one for one in curve.series if one.role == "measured"]
        assert all(one.low is not None and one.high is not None for one in measured)


def test_nothing_is_drawn_left_of_what_ten_records_resolve() -> None:
    (curve,) = roc.curves([finding("none", 80, 50)], [], tiny.config())
    assert min(x for one in curve.series for x in one.x) >= 10 / 50
    assert roc.curves([finding("none", 80, 9)], [], tiny.config()) == []
