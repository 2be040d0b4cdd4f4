"""Membership attacks on one model: slow oracles, orientation, and what each may see."""

from dataclasses import fields, replace

import numpy as np
import pytest
from scipy import stats

from attacks.bootstrap import bootstrap_auc
from attacks.errors import MissingKnowledge, ParameterError, TooFewShadows
from attacks.membership import (
    ATTACKS,
    Known,
    MembershipAttack,
    Needs,
    ShadowAnswers,
    Shadowing,
    above_threshold,
    balanced_memberships,
    bavaria,
    calibrated,
    class_thresholds,
    label_only,
    lira,
    lira_offline,
    lira_queries,
    log_confidence,
    log_ratio,
    mean_over_rounds,
    negative_entropy,
    negative_modified_entropy,
    offline_log_ratio,
    paired,
    quantile_regression,
    queries,
    ranked,
    rotate_all,
    scored,
    shadow_classifier,
    tune_a,
)
from attacks.membership.compare import usable
from attacks.ranking import ModelScores, auc

SHADOWS, RECORDS, CLASSES = 17, 160, 4


def toy(*, leak=2.0, seed=0, records=RECORDS, spread=1.0):
    """Models that raise the logit of the label where they trained on the record."""
    rng = np.random.default_rng(seed)
    labels = np.arange(records) % CLASSES
    members = balanced_memberships(SHADOWS, records, 0.5, seed)
    level = rng.normal(1, 1.5 * spread, records)
    own = level + leak * members + rng.normal(0, 0.7 * spread, members.shape)
    logits = rng.normal(0, 0.5 * spread, (SHADOWS, records, CLASSES))
    logits[:, np.arange(records), labels] += own
    return logits.astype(np.float32), members, labels, level


def everything(leak=2.0):
    """Return all that an attacker may ever know of the first model, and the truth."""
    logits, members, labels, level = toy(leak=leak)
    shadows = ShadowAnswers(logits=logits[1:], labels=labels, members=members[1:])
    rng = np.random.default_rng(1)
    outsiders = ~members[0]
    steady = np.where(members[0], 0.9, 0.9 - 0.2 * min(leak, 1.0))
    right = rng.random((12, RECORDS)) < steady
    known = Known(
        labels=labels,
        logits=logits[0],
        shadows=shadows,
        prior=tune_a(shadows.log_p, shadows.members),
        features=np.stack([level, rng.normal(size=RECORDS)], axis=1),
        copies=np.where(right, labels, (labels + 1) % CLASSES),
        rounds=np.stack([logits[0] / 2, logits[0]]),
    )
    return known, outsiders


def softmax(logits):
    p = np.exp(np.asarray(logits, dtype=np.float64))
    return p / p.sum(axis=-1, keepdims=True)


# ------------------------------------------------------------------ signals


def test_signals_equal_their_formulas_in_probabilities():
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(0, 2, (3, 20, 5)), rng.integers(0, 5, 20)
    p = softmax(logits)
    own = np.take_along_axis(p, np.tile(labels, (3, 1))[..., None], -1)[..., 0]
    np.testing.assert_allclose(log_confidence(logits, labels), np.log(own))
    entropy = -(p * np.log(p)).sum(-1)
    np.testing.assert_allclose(negative_entropy(logits), -entropy)
    for i, j in np.ndindex(3, 20):
        q, y = p[i, j], labels[j]
        modified = -(1 - q[y]) * np.log(q[y])
        modified -= sum(q[c] * np.log(1 - q[c]) for c in range(5) if c != y)
        found = negative_modified_entropy(logits[i, j : j + 1], labels[j : j + 1])
        np.testing.assert_allclose(found, [-modified], rtol=1e-9)


def test_signals_keep_their_digits_where_a_model_is_sure():
    sure = np.array([[60.0, 0.0], [1e4, -1e4], [-1e4, 1e4]])
    labels = np.array([0, 0, 0])
    np.testing.assert_allclose(
        log_confidence(sure, labels), [-np.exp(-60), 0.0, -2e4], rtol=1e-9
    )
    tiny = -2 * 60 * np.exp(-60)  # neither 1 - p nor log p has this digit
    found = negative_modified_entropy(sure, labels)
    assert found[1] == 0 and found[2] == -4e4
    np.testing.assert_allclose(found[0], -2 * np.exp(-120), rtol=1e-9)
    assert negative_entropy(sure)[0] == pytest.approx(tiny / 2, rel=0.05)


# ------------------------------------------------------------------ class thresholds


def test_thresholds_have_the_best_balanced_accuracy_of_all_cuts():
    rng = np.random.default_rng(2)
    signal = rng.normal(size=(6, 40))
    members = balanced_memberships(6, 40, 0.5, 0)
    labels = np.arange(40) % 3
    signal += members * np.array([0.5, 2.0, 0.0])[labels]
    signal = np.round(signal, 1)  # with ties
    found = class_thresholds(signal, members, labels, 4)
    for one, threshold in enumerate(found):
        here = labels == one if one < 3 else np.ones(40, bool)  # no records: all
        values, bits = signal[:, here].ravel(), members[:, here].ravel()

        def accuracy(cut, values=values, bits=bits):
            return (values > cut)[bits].mean() + (values <= cut)[~bits].mean()

        best = max(accuracy(cut) for cut in values - 1e-9)
        assert accuracy(threshold - 1e-12) == pytest.approx(best)
    raised = above_threshold(signal[0], labels, found)
    np.testing.assert_allclose(raised, signal[0] - found[labels])


def test_class_thresholds_help_where_classes_differ_in_confidence():
    rng = np.random.default_rng(3)
    members = balanced_memberships(17, 300, 0.5, 0)
    labels = np.arange(300) % 2
    signal = members + 5.0 * labels + rng.normal(size=members.shape)
    cuts = class_thresholds(signal[1:], members[1:], labels, 2)
    ours = above_threshold(signal[0], labels, cuts)
    inside = members[0]
    plain = auc(signal[0][inside], signal[0][~inside])
    assert auc(ours[inside], ours[~inside]) > plain + 0.05


# ------------------------------------------------------------------ calibrated, LiRA


def test_calibration_and_offline_lira_equal_their_formulas_record_by_record():
    rng = np.random.default_rng(4)
    members = balanced_memberships(8, 30, 0.5, 0)
    shadow, target = rng.normal(0, 2, (8, 30)), rng.normal(0, 2, 30)
    outside = [shadow[~members[:, i], i] for i in range(30)]
    found = calibrated(target, shadow, members)
    np.testing.assert_allclose(found, target - [o.mean() for o in outside])
    typical = np.mean([o.var(ddof=1) for o in outside])
    sums = [((o - o.mean()) ** 2).sum() for o in outside]
    variances = {
        "shrunk": [
            (s + 6 * typical) / (len(o) - 1 + 6)
            for s, o in zip(sums, outside, strict=True)
        ],
        "pooled": [sum(sums) / sum(len(o) - 1 for o in outside)] * 30,
        "per_example": [o.var(ddof=1) for o in outside],
    }
    for name, variance in variances.items():
        oracle = [
            stats.norm.logcdf(target[i], outside[i].mean(), variance[i] ** 0.5)
            for i in range(30)
        ]
        scores = lira_offline(target, shadow, members, variance=name)
        np.testing.assert_allclose(scores, oracle, rtol=1e-9)


def test_offline_lira_is_one_sided_and_never_minus_infinity():
    members = balanced_memberships(8, 3, 0.5, 0)
    shadow = np.random.default_rng(5).normal(size=(8, 3))
    scores = [lira_offline(np.full(3, x), shadow, members) for x in (-1e3, 0, 5, 9)]
    assert np.isfinite(scores).all()
    assert (np.diff(scores, axis=0) > 0).all()


def test_bavaria_equals_a_student_t_ratio_record_by_record():
    rng = np.random.default_rng(6)
    members = np.hstack(
        [balanced_memberships(16, 12, 0.375, 0), balanced_memberships(16, 13, 0.5, 0)]
    )
    shadow, target = rng.normal(0, 2, (16, 25)), rng.normal(0, 2, 25)
    counts = members.sum(axis=0).mean(), (~members).sum(axis=0).mean()
    sides = [(shadow[members[:, i], i], shadow[~members[:, i], i]) for i in range(25)]
    sums = [sum(((x - x.mean()) ** 2).sum() for x in pair) for pair in sides]
    prior = np.mean(sums) / 14
    oracle = []
    for x, pair, total in zip(target, sides, sums, strict=True):
        variance = (total + 6 * prior) / (14 + 6)
        densities = [
            stats.t.logpdf(
                (x - one.mean()) / (variance * (1 + 1 / count)) ** 0.5, df=20
            )
            - np.log(1 + 1 / count) / 2
            for one, count in zip(pair, counts, strict=True)
        ]
        oracle.append(densities[0] - densities[1])
    np.testing.assert_allclose(bavaria(target, shadow, members), oracle, rtol=1e-9)


def test_queries_of_lira_are_averaged_and_one_query_is_lira():
    logits, members, labels, _ = toy()
    phi = ShadowAnswers(logits=logits, labels=labels, members=members).phi
    one = lira(phi[0], phi[1:], members[1:])
    found = lira_queries(phi[:1], phi[1:, None], members[1:])
    np.testing.assert_allclose(found, one)
    both = np.stack([phi, phi + np.float32(1.0)], axis=1)
    twice = lira_queries(both[0], both[1:], members[1:])
    np.testing.assert_allclose(twice, one, rtol=1e-3, atol=1e-3)
    with pytest.raises(ParameterError):
        lira_queries(phi[:2], phi[1:, None], members[1:])


# ------------------------------------------------------------------ RMIA


def literal_rmia(target, shadows, members, population, *, a, gamma):
    """N by Z, in probabilities, as in the paper; a=None is online."""
    ratio = []
    for i in range(len(target)):
        if a is None:
            sides = shadows[members[:, i], i], shadows[~members[:, i], i]
            mean = sum(sum(side) / len(side) for side in sides) / 2
        else:
            out = shadows[~members[:, i], i]
            mean = ((1 + a) * sum(out) / len(out) + (1 - a)) / 2
        ratio.append(target[i] / mean)
    z = [ratio[i] for i in range(len(target)) if population[i]]
    return [sum(1 for r in z if one / r >= gamma) / len(z) for one in ratio]


@pytest.mark.parametrize("a", [None, 0.0, 0.3, 1.0])
@pytest.mark.parametrize("gamma", [1.0, 2.0])
def test_sorted_rmia_equals_the_literal_n_by_z_one_exactly(a, gamma):
    rng = np.random.default_rng(7)
    members = balanced_memberships(6, 60, 0.5, 0)
    log_p = np.log(rng.uniform(0.01, 0.99, (7, 60)))
    population = np.arange(60) % 3 == 0
    if a is None:
        log_r = log_ratio(log_p[0], log_p[1:], members)
    else:
        log_r = offline_log_ratio(log_p[0], log_p[1:], members, a=a)
    found = ranked(log_r, population, gamma=gamma)
    p = np.exp(log_p)
    oracle = literal_rmia(p[0], p[1:], members, population, a=a, gamma=gamma)
    assert found.tolist() == oracle


def test_equal_ratios_count_for_the_record_as_in_the_definition():
    log_r = np.array([1.0, 1.0, 0.0, 2.0])
    population = np.array([True, False, True, False])
    assert ranked(log_r, population).tolist() == [1.0, 1.0, 0.5, 1.0]


def test_rmia_survives_confidences_that_are_no_float():
    log_p = np.full((5, 4), -2000.0)
    log_p[:, 0] = -1e-9
    members = balanced_memberships(4, 4, 0.5, 0)
    for log_r in (
        log_ratio(log_p[0], log_p[1:], members),
        offline_log_ratio(log_p[0], log_p[1:], members, a=1.0),
    ):
        np.testing.assert_allclose(log_r, 0.0, atol=1e-6)


def test_a_is_tuned_on_shadows_alone_and_is_the_best_of_the_grid():
    logits, members, labels, _ = toy(seed=8)
    log_p = ShadowAnswers(logits=logits, labels=labels, members=members).log_p
    p = np.exp(log_p.astype(np.float64))
    grid = (0.0, 0.5, 1.0)
    means = []
    for a in grid:
        areas = []
        for played in range(4):
            rest = [s for s in range(SHADOWS) if s != played]
            out = [
                np.mean([p[s, i] for s in rest if not members[s, i]])
                for i in range(RECORDS)
            ]
            r = p[played] / ((1 + a) * np.array(out) + (1 - a))
            areas.append(auc(r[members[played]], r[~members[played]]))
        means.append(np.mean(areas))
    assert tune_a(log_p, members, grid) == grid[int(np.argmax(means))]
    assert max(means) > min(means) + 0.005  # there was something to choose


# ------------------------------------------------------------------ learnt attacks


def test_the_shadow_classifier_learns_from_shadows_alone():
    logits, members, labels, _ = toy(seed=9)
    own = shadow_classifier(logits[0], labels, logits[1:], members[1:], seed=0)
    assert auc(own[members[0]], own[~members[0]]) > 0.6
    again = shadow_classifier(logits[0], labels, logits[1:], members[1:], seed=0)
    np.testing.assert_array_equal(own, again)
    # Shadows whose members are the others teach the opposite.
    turned = shadow_classifier(logits[0], labels, logits[1:], ~members[1:], seed=0)
    assert auc(turned[members[0]], turned[~members[0]]) < 0.4


def test_quantile_regression_knows_what_is_hard_and_fits_non_members_only():
    rng = np.random.default_rng(10)
    hard = rng.uniform(-4, 4, 400)
    inside = rng.random(400) < 0.5
    phi = 3 * hard + 1.5 * inside + rng.normal(0, 1, 400)
    population = ~inside & (np.arange(400) % 2 == 0)
    asked = ~population
    features, labels = hard[:, None], np.zeros(400, dtype=np.int64)
    scores = quantile_regression(features, labels, phi, population, seed=0)
    plain = auc(phi[asked & inside], phi[asked & ~inside])
    assert auc(scores[asked & inside], scores[asked & ~inside]) > plain + 0.1
    # Nobody outside of the population moves a score but its own.
    changed = phi.copy()
    changed[inside] += 100
    moved = quantile_regression(features, labels, changed, population, seed=0)
    np.testing.assert_array_equal(moved[~inside], scores[~inside])


# ------------------------------------------------------------------ label-only, rounds


def test_copies_stay_in_range_and_are_the_same_for_the_same_seed():
    rng = np.random.default_rng(11)
    table = rng.random((5, 3)).astype(np.float32)
    first, again = (list(queries(table, (0.0, 1.0), seed=3)) for _ in range(2))
    assert len(first) == 13
    np.testing.assert_array_equal(first[0], table)
    np.testing.assert_array_equal(first, again)
    assert min(map(np.min, first)) >= 0 and max(map(np.max, first)) <= 1
    steps = [float(np.abs(one - table).mean()) for one in first]
    assert 0 < steps[1] < steps[5] < steps[-1]


def test_label_only_counts_right_answers_and_rounds_are_averaged():
    answers = np.array([[1, 0, 2], [1, 1, 0]])
    found = label_only(answers, np.array([1, 1, 1]))
    assert found.tolist() == [1.0, 0.5, 0.0]
    series = np.array([[-1.0, -2.0], [-3.0, -2.5]])
    assert mean_over_rounds(series).tolist() == [-2.0, -2.25]


# ------------------------------------------------------------------ the registry


@pytest.mark.parametrize("name", ATTACKS)
def test_members_score_higher(name):
    known, outsiders = everything()
    scores = scored(ATTACKS[name], known, outsiders, seed=0)
    assert np.isfinite(scores).all() and scores.shape == (RECORDS,)
    assert auc(scores[~outsiders], scores[outsiders]) > 0.55


def test_attacks_by_class_part_classes_where_shadows_do():
    known, _ = everything()
    shadows = known.shadows
    signals = {
        "confidence": (known.log_p, shadows.log_p),
        "entropy": (negative_entropy(known.logits), shadows.entropy),
        "modified-entropy": (
            negative_modified_entropy(known.logits, known.labels),
            shadows.modified_entropy,
        ),
    }
    for name, (own, theirs) in signals.items():
        cuts = class_thresholds(theirs, shadows.members, known.labels, CLASSES)
        expected = above_threshold(own, known.labels, cuts)
        np.testing.assert_array_equal(ATTACKS[name].scores(known), expected)


@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_is_handed_what_it_declares_and_nothing_else(name):
    known, _ = everything()
    attack = ATTACKS[name]
    handed = known.only(attack.needs)
    held = {
        field.name for field in fields(Known) if getattr(handed, field.name) is not None
    } - {"labels", "seed"}
    needs = attack.needs
    declared = {
        "logits": needs.answers.value == "logits",
        "shadows": needs.shadows is Shadowing.BOTH,
        "without": needs.shadows is Shadowing.OUT,
        "prior": needs.shadows is Shadowing.OUT,
        "features": needs.features,
        "copies": needs.copies,
        "rounds": needs.rounds,
    }
    assert held == {part for part, wanted in declared.items() if wanted}
    if held:
        without = Known(labels=known.labels)
        with pytest.raises(MissingKnowledge):
            attack.scores(without)


def test_what_was_not_declared_cannot_be_read():
    known, _ = everything()
    greedy = MembershipAttack(
        title="greedy",
        needs=Needs(shadows=Shadowing.OUT),
        rule=lambda seen: seen.shadows.phi[0],
    )
    with pytest.raises(AttributeError):
        greedy.scores(known)


@pytest.mark.parametrize(
    "name", [n for n, a in ATTACKS.items() if a.needs.shadows is Shadowing.OUT]
)
def test_offline_attacks_do_not_feel_shadows_that_trained_on_the_record(name):
    known, outsiders = everything()
    shadows = known.shadows
    lied = np.where(shadows.members[..., None], np.float32(7.0), shadows.logits)
    other = replace(known, shadows=replace(shadows, logits=lied))
    first, second = (
        scored(ATTACKS[name], one, outsiders, seed=0) for one in (known, other)
    )
    np.testing.assert_array_equal(first, second)


def test_nobody_is_scored_with_a_population_that_holds_them():
    known, outsiders = everything()
    seen = []

    def rule(part):
        seen.append(part.population)
        return part.population.astype(float)

    attack = MembershipAttack(title="spy", needs=Needs(population=True), rule=rule)
    scores = scored(attack, known, outsiders, seed=0)
    assert not scores.any()
    assert len(seen) == 4
    assert all(not one[~outsiders].any() for one in seen)  # members are never in it
    np.testing.assert_array_equal(sum(map(np.asarray, seen)), 3 * outsiders)
    persons = np.arange(RECORDS) // 4
    seen.clear()
    scored(attack, known, np.ones(RECORDS, bool), seed=0, persons=persons)
    assert all((part.reshape(-1, 4) == part[::4, None]).all() for part in seen)
    with pytest.raises(ParameterError, match="hold more records out"):
        scored(attack, known, np.zeros(RECORDS, bool), seed=0)


# ------------------------------------------------------------------ comparing them


def test_all_attacks_are_compared_on_the_same_targets():
    logits, members, labels, _ = toy(records=120)
    names = ("loss", "lira", "rmia-offline")
    found = rotate_all(logits, members, labels, seed=0, names=names, rates=(0.2,))
    assert tuple(found) == names
    for one in found.values():
        assert one.auc.shape == one.tpr[0.2].shape == (SHADOWS,)
        for row, model in enumerate(one.scores):
            np.testing.assert_array_equal(
                model.member_ids, np.flatnonzero(members[row])
            )
    direct = lira(
        ShadowAnswers(logits=logits[:1], labels=labels, members=members[:1]).phi[0],
        ShadowAnswers(logits=logits[1:], labels=labels, members=members[1:]).phi,
        members[1:],
    )
    np.testing.assert_allclose(
        found["lira"].scores[0].members, direct[members[0]], rtol=1e-4
    )
    gain = paired(found["lira"], found["loss"])
    assert gain.low > 0 and gain.n == SHADOWS
    assert np.isfinite(paired(found["lira"], found["loss"], fpr=0.2).value)


def test_rates_that_cannot_be_resolved_are_not_compared():
    logits, members, labels, _ = toy(records=40)
    found = rotate_all(logits, members, labels, seed=0, names=["loss", "base"])
    assert np.isnan(found["loss"].tpr[0.001]).all()
    with pytest.raises(ParameterError, match="resolve"):
        paired(found["base"], found["loss"], fpr=0.001)


def test_a_rotation_refuses_attacks_that_it_cannot_feed():
    logits, members, labels, _ = toy(records=20)
    assert "quantile" not in usable() and "quantile" in usable(features=True)
    for name in ("quantile", "label-only", "trajectory", "lyra"):
        with pytest.raises(ParameterError, match="cannot be compared"):
            rotate_all(logits, members, labels, seed=0, names=[name])


def test_models_that_leak_nothing_are_not_told_apart():
    logits, members, labels, _ = toy(leak=0.0, records=100)
    names = (
        "modified-entropy",
        "calibrated",
        "lira",
        "lira-offline",
        "bavaria",
        "rmia",
    )
    found = rotate_all(logits, members, labels, seed=0, names=names)
    for one in found.values():
        interval = bootstrap_auc(one.scores, 0.98, seed=0)
        assert interval.low <= 0.5 <= interval.high, one.name


def test_who_trained_the_shadows_does_not_tell_who_trained_the_target():
    # Each record is in equally many models, so in a rotation one shadow fewer knows it
    # if the target does: a score that depends on how many know it would cheat.
    logits, members, labels, _ = toy(leak=4.0, records=100, spread=0.1)
    blank, _, _, _ = toy(leak=0.0, records=100, spread=0.1)
    names = set(usable()) - {"shadow-classifier"}  # the same for every record
    found = {name: [] for name in names}
    for target, inside in enumerate(members):
        others = np.arange(SHADOWS) != target
        shadows = ShadowAnswers(
            logits=logits[others], labels=labels, members=members[others]
        )
        known = Known(labels=labels, logits=blank[target], shadows=shadows, prior=0.5)
        for name in names:
            scores = scored(ATTACKS[name], known, ~inside, seed=0)
            found[name].append(
                ModelScores(
                    members=scores[inside],
                    nonmembers=scores[~inside],
                    member_ids=np.flatnonzero(inside),
                    nonmember_ids=np.flatnonzero(~inside),
                )
            )
    for name, scores in found.items():
        interval = bootstrap_auc(scores, 0.98, seed=0)
        assert interval.low <= 0.5 <= interval.high, name


# ------------------------------------------------------------------ what is refused


def _members(shadows=4, records=6):
    return balanced_memberships(shadows, records, 0.5, 0)


@pytest.mark.parametrize(
    "call",
    [
        lambda: negative_entropy(np.full((2, 3), np.nan)),
        lambda: negative_modified_entropy(np.zeros((2, 3)), np.array([0, 5])),
        lambda: class_thresholds(np.zeros((4, 6)), _members(), np.zeros(5, int), 1),
        lambda: class_thresholds(
            np.zeros((4, 6)), np.ones((4, 6), bool), np.zeros(6, int), 1
        ),
        lambda: above_threshold(np.zeros(3), np.array([0, 1, 2]), np.zeros(2)),
        lambda: calibrated(np.zeros(5), np.zeros((4, 6)), _members()),
        lambda: calibrated(np.zeros(6), np.full((4, 6), np.inf), _members()),
        lambda: lira_offline(np.full(6, np.nan), np.zeros((4, 6)), _members()),
        lambda: lira_offline(np.zeros(6), np.full((4, 6), np.inf), _members()),
        lambda: lira_offline(np.zeros(6), np.zeros((4, 6)), _members(), variance="?"),
        lambda: log_ratio(np.zeros(6), np.ones((4, 6)), _members()),
        lambda: log_ratio(np.zeros(6), np.zeros((4, 5)), _members()),
        lambda: offline_log_ratio(np.zeros(6), np.zeros((4, 6)), _members(), a=1.5),
        lambda: ranked(np.zeros(6), np.zeros(6, bool)),
        lambda: ranked(np.zeros(6), np.ones(6, bool), gamma=0.5),
        lambda: tune_a(np.zeros((1, 6)), _members(2)[:1]),
        lambda: shadow_classifier(
            np.zeros((6, 2)),
            np.zeros(6, int),
            np.zeros((4, 6, 2)),
            np.ones((4, 6), bool),
            seed=0,
        ),
        lambda: quantile_regression(
            np.zeros((6, 2)), np.zeros(6, int), np.zeros(6), np.ones(6, bool), seed=0
        ),
        lambda: label_only(np.zeros((2, 6)), np.zeros(6, int)),
        lambda: label_only(np.zeros((0, 6), int), np.zeros(6, int)),
        lambda: mean_over_rounds(np.zeros((0, 6))),
        lambda: next(queries(np.zeros((2, 2)), (1.0, 1.0), seed=0)),
        lambda: ShadowAnswers(
            logits=np.zeros((4, 5, 2), np.float32),
            labels=np.zeros(6, int),
            members=_members(),
        ),
    ],
)
def test_unusable_arrays_are_refused(call):
    with pytest.raises(ParameterError):
        call()


def test_records_in_every_shadow_are_refused():
    members = _members()
    members[:, 2] = True
    zeros = np.zeros((4, 6))
    for call in (
        lambda: calibrated(zeros[0], zeros, members),
        lambda: lira_offline(zeros[0], zeros, members),
        lambda: offline_log_ratio(zeros[0], zeros, members, a=0.3),
    ):
        with pytest.raises(TooFewShadows):
            call()
