"""Our audit statistics beside jax-privacy's on the same scores, and where they differ.

`benchmarks/peers/jax_privacy_audit.py` writes the figures anew.
"""

import json
from pathlib import Path

import numpy as np
import pytest

from attacks import (
    GAUSSIAN,
    Guesses,
    auc,
    gaussian_epsilon,
    one_run_audit,
)
from attacks.many_runs import bound_from_scores
from attacks.rates import accuracy
from attacks.roc import hull, roc
from attacks.thresholds import Bonferroni, Explicit
from benchmarks.peers.jax_privacy_audit import GAMES, scores

FILE = Path(__file__).parents[1] / "vectors" / "jax_privacy_audit.json"
GOLDEN = json.loads(FILE.read_text())
ROWS = GOLDEN["rows"]
NAMES = [f"{row['count']} at {row['shift']}" for row in ROWS]
DELTA, CONFIDENCE = GOLDEN["delta"], 1 - GOLDEN["significance"]


def arrays(row):
    inside, outside = scores(row["count"], row["shift"])
    return np.array(inside), np.array(outside)


def test_every_game_has_its_figures():
    assert [(row["count"], row["shift"]) for row in ROWS] == list(GAMES)
    assert GOLDEN["source"].startswith("jax-privacy 2.0.0")


@pytest.mark.parametrize("row", ROWS, ids=NAMES)
def test_bounds_at_a_fixed_threshold_agree(row):
    members, nonmembers = arrays(row)
    for threshold, wanted in row["thresholds"].items():
        at = Explicit(float(threshold))
        found = bound_from_scores(
            members, nonmembers, thresholds=at, delta=DELTA, confidence=CONFIDENCE
        )
        assert found.value == pytest.approx(wanted["clopper_pearson"], abs=1e-6)
        # The same canaries guessed "in", none "out". The peer lets the threshold decide
        # how many; ours is told the number.
        both = np.concatenate([members, nonmembers])
        included = np.arange(len(both)) < len(members)
        rule = (Guesses(inside=int((both > at.threshold).sum())),)
        for family, name in ((None, "one_run"), (GAUSSIAN, "one_run_fdp")):
            audited = one_run_audit(
                both,
                included,
                delta=DELTA,
                confidence=CONFIDENCE,
                shares=rule,
                family=family,
            )
            # Its root lies within 1e-6 on either side, ours below.
            assert audited.value == pytest.approx(wanted[name], abs=2e-6)


@pytest.mark.parametrize("row", ROWS, ids=NAMES)
def test_the_hull_of_the_curve_agrees(row):
    members, nonmembers = arrays(row)
    curve = roc(members, nonmembers)
    over = hull(curve)
    assert over.area() == pytest.approx(row["auroc_of_hull"], abs=1e-6)
    for fpr, tpr in row["tpr_of_hull"].items():
        assert over.at(float(fpr)) == pytest.approx(tpr, abs=1e-6)
    best = float(accuracy(curve.tpr, curve.fpr).max())
    assert best == pytest.approx(row["max_accuracy"], abs=1e-6)
    # An area under the hull flatters every attack; ours is under the points.
    assert auc(members, nonmembers) <= over.area() + 1e-12


def test_scores_next_to_chance_prove_nothing_by_a_gaussian_shape_here():
    """The peer takes |mu| of two *upper* bounds; where they add up to more than one,
    the minus sign meant "nothing shown", and it reports epsilon 7 for a true 0.3."""
    row = next(row for row in ROWS if row["shift"] == 0.1)
    truth = gaussian_epsilon(0.1, DELTA)
    assert row["gdp"] > 7 > 0.4 > truth
    found = bound_from_scores(
        *arrays(row), thresholds=Bonferroni(), delta=DELTA, family=GAUSSIAN
    )
    assert found.value == 0 < found.ceiling


@pytest.mark.parametrize(
    "row", [r for r in ROWS if r["shift"] >= 2], ids=["500", "2000"]
)
def test_clear_scores_prove_about_as_much_by_ranks_fixed_in_advance(row):
    """The peer pays for each vertex of a hull that the scores chose; ours for ranks
    fixed in advance, and stays below the truth."""
    found = bound_from_scores(
        *arrays(row), thresholds=Bonferroni(), delta=DELTA, family=GAUSSIAN
    )
    truth = gaussian_epsilon(row["shift"], DELTA)
    assert 0.9 * row["gdp"] < found.value < truth
