"""The blind baseline: a planted difference is found, an honest split is left alone."""

import numpy as np
import pytest
from sklearn.linear_model import Ridge
from sklearn.metrics import roc_auc_score

from attacks import ParameterError, blind
from attacks.blind import FEWEST, LABELS, LINEAR, TREES, Sides, _folds, blind_baseline
from attacks.blind_features import WIDEST, blind_features


@pytest.fixture
def few_permutations(monkeypatch):
    """Keep what only costs time out of tests that are about something else."""
    monkeypatch.setattr(blind, "_PERMUTED", 2)


def records(count, columns, seed, classes=4):
    rng = np.random.default_rng(seed)
    inputs = rng.normal(size=(count, columns)).astype(np.float32)
    return inputs, rng.integers(0, classes, count)


def two(members, count):
    rows = np.arange(count)
    return Sides(members=rows[:members], nonmembers=rows[members:])


def test_honest_splits_are_called_invalid_no_more_often_than_allowed():
    wrong = 0
    for seed in range(25):
        inputs, labels = records(90, 4, seed)
        found = blind_baseline(inputs, labels, [two(50, 90)], seed=seed)
        wrong += found.beats_chance
    assert wrong <= 3  # P(more) = 0.003 at the 2.5 % that one side of 95 % leaves


def test_shifted_non_members_are_told_apart():
    inputs, labels = records(120, 5, 0)
    inputs[70:, 2] += 1.5
    found = blind_baseline(inputs, labels, [two(70, 120)], seed=0)
    assert found.beats_chance
    assert found.auc.low > 0.5
    assert found.permuted is not None and found.permuted < found.auc.value


def test_labels_alone_tell_the_members_of_skewed_clients_apart(few_permutations):
    # Each client has one class; taken together they have the mix of the others.
    inputs, _ = records(12 * 4 + 60, 3, 1)
    labels = np.concatenate([np.repeat(np.arange(4), 12), np.arange(60) % 4])
    others = np.arange(48, 108)
    clients = [
        Sides(members=np.arange(at, at + 12), nonmembers=others)
        for at in range(0, 48, 12)
    ]
    found = blind_baseline(inputs, labels, clients, seed=1)
    assert found.beats_chance and found.auc.value > 0.8
    assert found.learner == LABELS
    alike = [
        Sides(members=one.members, nonmembers=others[labels[others] == k])
        for k, one in enumerate(clients)
    ]
    assert not blind_baseline(inputs, labels, alike, seed=1).beats_chance


def test_trees_find_a_spread_that_no_line_separates(few_permutations):
    inputs, labels = records(200, 1, 2)
    inputs[100:] *= 4
    found = blind_baseline(inputs, labels, [two(100, 200)], seed=2)
    assert found.beats_chance and found.learner == TREES
    assert len(found.others) == 2
    assert all(estimate.low < 0.5 for _, estimate in found.others)


def test_records_of_a_known_person_are_no_evidence(few_permutations):
    # Ten records a person: whoever knows nine of them knows the side of the tenth.
    rng = np.random.default_rng(3)
    persons = np.repeat(np.arange(40), 10)
    inputs = np.repeat(rng.normal(size=(40, 30)), 10, axis=0)
    labels = np.zeros(400, dtype=np.int64)
    groups = [two(200, 400)]
    assert blind_baseline(inputs, labels, groups, seed=3).beats_chance
    own = blind_baseline(inputs, labels, groups, persons=persons, seed=3)
    assert not own.beats_chance
    assert own.auc.n == 40


def test_a_person_is_in_one_fold_and_each_fold_has_both_sides():
    rng = np.random.default_rng(4)
    side = rng.permutation(np.arange(50) < 20)
    persons = rng.integers(0, 50, 300)
    inside = side[persons]
    fold = _folds(persons, inside, 4)
    assert all(len(np.unique(fold[persons == who])) == 1 for who in np.unique(persons))
    for one in np.unique(fold):
        assert inside[fold == one].any() and not inside[fold == one].all()


def test_the_baseline_is_the_mean_over_folds_of_learners_fitted_on_the_others():
    inputs, labels = records(90, 4, 5)
    inputs[50:, 0] += 1.0
    found = blind_baseline(inputs, labels, [two(50, 90)], seed=5)
    inside = np.arange(90) < 50
    table = blind_features(inputs, labels, seed=5).inputs
    fold = _folds(np.arange(90), inside, 5)
    areas = []
    for here in (fold == index for index in range(5)):
        rule = Ridge(alpha=0.5).fit(table[~here], inside[~here].astype(float))
        areas.append(roc_auc_score(inside[here], rule.predict(table[here])))
    assert found.learner == LINEAR
    assert found.auc.value == pytest.approx(np.mean(areas), abs=1e-12)


@pytest.mark.parametrize("columns", [3, WIDEST + 1, 10 * WIDEST])
def test_wide_inputs_keep_what_matters_in_few_columns(columns):
    rng = np.random.default_rng(6)
    inputs, labels = records(300, columns, 6, classes=1)
    inputs *= 0.3
    inputs += rng.normal(size=(300, 2)) @ rng.normal(size=(2, columns))
    table = blind_features(inputs.reshape(300, columns, 1), labels, seed=6)
    assert table.inputs.shape[1] <= WIDEST + 4
    assert np.isfinite(table.inputs).all() and np.isfinite(table.both).all()
    parts = min(columns, WIDEST)
    white = table.inputs[:, :parts] * np.sqrt(parts + 4)
    assert np.cov(white.T, bias=True) == pytest.approx(np.eye(parts), abs=1e-6)


def test_a_constant_column_is_no_feature_and_no_class_has_a_mean_left():
    inputs, labels = records(80, 3, 7)
    inputs[:, 1] = 0.25
    table = blind_features(inputs, labels, seed=7)
    assert np.isfinite(table.inputs).all()
    assert table.inputs.shape[1] == 2 + 4
    sums = [table.inputs[labels == one].sum(axis=0) for one in np.unique(labels)]
    assert np.allclose(sums, 0)


def test_too_few_records_say_nothing():
    inputs, labels = records(60, 3, 8)
    small = two(FEWEST - 1, 60)
    assert blind_baseline(inputs, labels, [small], seed=8) is None
    found = blind_baseline(inputs, labels, [small, two(30, 60)], seed=8)
    assert found.groups == (1, 2)


def test_bad_input_is_refused():
    inputs, labels = records(60, 3, 9)
    both = Sides(members=np.arange(30), nonmembers=np.arange(29, 60))
    with pytest.raises(ParameterError, match="member and a non-member"):
        blind_baseline(inputs, labels, [both], seed=9)
    inputs[3, 1] = np.nan
    with pytest.raises(ParameterError, match="finite"):
        blind_baseline(inputs, labels, [two(30, 60)], seed=9)
    with pytest.raises(ParameterError, match="labels"):
        blind_features(inputs[:10], labels, seed=9)
