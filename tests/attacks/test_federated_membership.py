"""Membership attacks on updates and sums: slow oracles, orientation, refusals."""

from __future__ import annotations

import statistics
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from attacks import auc
from attacks.errors import MissingKnowledge, ParameterError
from attacks.membership.federated import (
    Alignment,
    RicherThanNeeded,
    Series,
    SideBySide,
    against_population,
    as_measured,
    background,
    fedmia,
    fedmia_as_published,
    gradient_cosine,
    gradient_difference,
    loss_series,
    matched_filter,
    moderated_variance,
    nasr_active,
    nasr_passive,
    source_accuracy,
    sources,
    without_owner,
)

Floats = NDArray[np.float64]
Score = Callable[[Series | SideBySide], Floats]
RECORDS = 60


def _measured(*shape: int, seed: int = 0) -> Floats:
    return np.random.default_rng(seed).normal(size=shape)


def _crowd(rounds: int = 3, clients: int = 10, seed: int = 0) -> SideBySide:
    return SideBySide(measured=_measured(rounds, clients, RECORDS, seed=seed), target=2)


def _population(evidence: Series | SideBySide) -> Floats:
    known = np.arange(RECORDS) < 20
    return against_population(evidence, known, np.zeros(RECORDS, dtype=np.int64))


SERIES: list[Score] = [gradient_cosine, gradient_difference, loss_series, _population]
COMPARING: list[Score] = [fedmia, fedmia_as_published]


@pytest.mark.parametrize("score", SERIES)
def test_an_attack_on_a_series_refuses_every_clients_updates(score: Score) -> None:
    with pytest.raises(RicherThanNeeded, match="alone"):
        score(_crowd())
    assert score(_crowd().alone()).shape == (RECORDS,)


@pytest.mark.parametrize("score", COMPARING)
def test_an_attack_that_compares_clients_says_what_a_series_lacks(score: Score) -> None:
    with pytest.raises(MissingKnowledge, match="every client"):
        score(_crowd().alone())


@pytest.mark.parametrize("score", [*SERIES, *COMPARING])
@pytest.mark.parametrize("record", [25, 59])
def test_a_higher_measurement_never_lowers_a_score(score: Score, record: int) -> None:
    comparing = score in COMPARING
    measured = _measured(3, 10, RECORDS)
    scores = []
    for raised in (-3.0, 0.0, 0.7, 6.0):
        now = measured.copy()
        now[:, 2, record] += raised
        one = SideBySide(measured=now, target=2)
        scores.append(score(one if comparing else one.alone())[record])
    assert scores == sorted(scores) and scores[0] < scores[-1]


def _published_slowly(seen: SideBySide) -> list[float]:
    """Equations 8 to 10 of the paper, number by number."""
    rounds, clients, records = seen.measured.shape
    scores = []
    for x in range(records):
        chances = []
        for t in range(rounds):
            others = [
                float(seen.measured[t, j, x])
                for j in range(clients)
                if j != seen.target and not np.isnan(seen.measured[t, j, x])
            ]
            mean, spread = statistics.fmean(others), statistics.pstdev(others)
            kept = [one for one in others if one <= mean + 3 * spread]
            fit = statistics.NormalDist(
                statistics.fmean(kept), (statistics.pvariance(kept) + 1e-8) ** 0.5
            )
            chances.append(fit.cdf(float(seen.measured[t, seen.target, x])))
        scores.append(statistics.fmean(chances))
    return scores


def test_the_published_rule_is_the_papers_formula() -> None:
    seen = _crowd(clients=14)
    seen.measured[1, 5] = np.nan  # absent from one round
    seen.measured[0, 4, 7] = 50.0  # with thirteen others the paper's rule can fire
    np.testing.assert_allclose(fedmia_as_published(seen), _published_slowly(seen))
    kept = SideBySide(measured=np.delete(seen.measured, 4, axis=1), target=2)
    alone = fedmia_as_published(SideBySide(measured=kept.measured[:1], target=2))[7]
    dropped = fedmia_as_published(SideBySide(measured=seen.measured[:1], target=2))[7]
    assert dropped == pytest.approx(alone)


def _mine_slowly(seen: SideBySide, critical: float) -> Floats:
    """The same steps with plain lists; the variances' shrinkage is tested by itself."""
    rounds, clients, records = seen.measured.shape
    scores = np.zeros(records)
    for t in range(rounds):
        kept: list[list[float]] = []
        for x in range(records):
            others = [
                float(seen.measured[t, j, x])
                for j in range(clients)
                if j != seen.target
            ]
            rest = sorted(others)[:-1]
            gap = max(others) - statistics.fmean(rest)
            width = statistics.stdev(rest) * (1 + 1 / len(rest)) ** 0.5
            kept.append(rest if gap > critical * width else others)
        squares = np.array([statistics.variance(one) * (len(one) - 1) for one in kept])
        freedom = np.array([len(one) - 1.0 for one in kept])
        variance = moderated_variance(squares, freedom)
        for x, one in enumerate(kept):
            gap = float(seen.measured[t, seen.target, x]) - statistics.fmean(one)
            z = gap / float(variance[x] * (1 + 1 / len(one))) ** 0.5
            scores[x] += z * abs(z) / 2
    return scores


def test_the_repaired_attack_is_what_it_says_number_by_number() -> None:
    seen = _crowd()
    seen.measured[0, 4, 7] = 50.0
    # Student's t with 7 degrees of freedom passes 4.53 with probability 0.00135.
    np.testing.assert_allclose(fedmia(seen), _mine_slowly(seen, 4.53), rtol=1e-9)


def test_three_deviations_never_drop_anybody_among_nine_and_ours_does() -> None:
    others = _measured(9, 4000, seed=3)
    others[4, 0] = 1e9  # an owner as visible as can be
    limit = others.mean(axis=0) + 3 * others.std(axis=0)
    assert not (others > limit).any()
    kept = without_owner(others)
    assert not kept[4, 0]
    # The rule's level is 9 x 0.00135 a record where nobody is the owner.
    dropped = int((~kept[:, 1:]).sum())
    assert 20 <= dropped <= 80
    assert (~kept).sum(axis=0).max() <= 1


def test_an_owner_among_the_others_does_not_change_the_null_of_the_rest() -> None:
    seen = _crowd(rounds=1)
    without = SideBySide(measured=np.delete(seen.measured, 9, axis=1), target=2)
    seen.measured[0, 9] = 30.0
    np.testing.assert_allclose(fedmia(seen), fedmia(without), rtol=1e-9)


def test_two_others_are_enough_and_one_is_refused() -> None:
    assert np.isfinite(fedmia(_crowd(clients=3))).all()
    with pytest.raises(ParameterError, match="at least 2 other"):
        fedmia(SideBySide(measured=_measured(1, 2, 5), target=0))
    assert without_owner(_measured(2, 5)).all()


def test_updates_without_any_spread_give_finite_scores() -> None:
    flat = np.ones((2, 5, 4))
    assert (fedmia(SideBySide(measured=flat, target=0)) == 0).all()
    flat[:, 0, 1] = 2.0
    scores = fedmia(SideBySide(measured=flat, target=0))
    assert np.isfinite(scores).all() and scores[1] > 0


@pytest.mark.parametrize(
    ("measured", "target"),
    [
        (np.zeros((2, 3)), 0),
        (np.zeros((1, 2, 3)), 2),
        (np.full((1, 2, 3), np.nan), 0),
        (np.array([[[0.0, np.nan], [0.0, 0.0]]]), 1),
        (np.array([[[0.0, np.inf], [0.0, 0.0]]]), 1),
    ],
)
def test_evidence_that_contradicts_itself_is_refused(
    measured: Floats, target: int
) -> None:
    with pytest.raises(ParameterError):
        SideBySide(measured=measured, target=target)


def test_like_variances_are_pooled_and_unlike_ones_are_left_alone() -> None:
    rng = np.random.default_rng(0)
    freedom = np.full(4000, 8.0)
    alike = rng.chisquare(8, size=4000)
    pooled = moderated_variance(alike, freedom)
    assert np.std(pooled) < 0.1 * np.std(alike / 8)
    assert pooled.mean() == pytest.approx(1.0, abs=0.05)
    scales = np.exp(rng.normal(0, 3, size=4000))
    unlike = moderated_variance(alike * scales, freedom)
    assert np.median(np.abs(np.log(unlike / (alike * scales / 8)))) < 0.1
    # They are nearer the truth than the variances of eight values are by themselves.
    mild = np.exp(rng.normal(0, 0.5, size=4000))
    found = moderated_variance(alike * mild, freedom)
    ours, own = (
        np.mean((np.log(one) - np.log(mild)) ** 2) for one in (found, alike * mild / 8)
    )
    assert ours < 0.8 * own
    assert (moderated_variance(np.zeros(3), np.ones(3)) == 0).all()


class _Explicit:
    """Gradients that are there, one row each."""

    def __init__(self, rows: Floats) -> None:
        self.rows = rows

    def norms(self) -> Floats:
        return np.linalg.norm(self.rows, axis=1)

    def along(self, directions: NDArray[np.floating]) -> Floats:
        return np.asarray(directions @ self.rows.T)


def test_cosine_and_difference_are_those_of_the_vectors() -> None:
    rows, descents = _measured(5, 12), _measured(3, 12, seed=1)
    found = Alignment.of(_Explicit(rows), descents)
    steps = np.array([0.5, 1.0, 2.0])
    for j, descent in enumerate(descents):
        for i, row in enumerate(rows):
            cosine = descent @ row / (np.linalg.norm(descent) * np.linalg.norm(row))
            assert found.cosines()[j, i] == pytest.approx(cosine)
            one = descent / steps[j]
            difference = one @ one - (one - row) @ (one - row)
            assert found.differences(steps)[j, i] == pytest.approx(difference)
    nothing = Alignment.of(_Explicit(np.zeros((2, 12))), descents)
    assert (nothing.cosines() == 0).all()
    with pytest.raises(ParameterError, match="positive"):
        found.differences(-steps)


def test_losses_become_measurements_that_are_finite_and_turned_round() -> None:
    got = as_measured(np.array([0.5, 2.0, np.inf, np.nan]))
    assert got[0] > got[1] > got[2] == got[3]
    with pytest.raises(ParameterError, match="negative"):
        as_measured(np.array([-1.0]))


def test_the_population_test_is_blind_to_what_a_class_has_in_common() -> None:
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 3, size=900)
    measured = rng.normal(size=(2, 900)) + 100.0 * labels
    known = np.arange(900) < 600
    scores = against_population(Series(measured=measured), known, labels)
    asked = ~known
    first = scores[asked & (labels == 0)]
    assert 0.4 < auc(first, scores[asked & (labels == 2)]) < 0.6
    measured[:, 600:700] += 1.5
    scores = against_population(Series(measured=measured), known, labels)
    assert auc(scores[600:700], scores[700:]) > 0.85
    with pytest.raises(ParameterError, match="10 or more"):
        against_population(Series(measured=measured), np.arange(900) < 9, labels)


def _sum_of(members: int, others: int) -> tuple[Floats, Floats, Floats]:
    """Gradients with a few strong directions; the population, and the members' mean."""
    rng = np.random.default_rng(4)
    mixing = rng.normal(size=(40, 40)) * np.geomspace(5, 0.05, 40)
    rows = rng.normal(size=(members + others + 60, 40)) @ mixing + 1.0
    asked, population = rows[: members + others], rows[members + others :]
    return asked, population, asked[:members].mean(axis=0)


def _filtered(asked: Floats, population: Floats, mean: Floats) -> Floats:
    gradients = _Explicit(asked)
    known = background(gradients, population)
    return matched_filter(known, gradients, mean[None])[0]


def test_the_matched_filter_is_that_of_the_explicit_normal() -> None:
    asked, population, mean = _sum_of(10, 5)
    found = _filtered(asked, population, mean)
    centre = population.mean(axis=0)
    spread = (population - centre).T @ (population - centre) / len(population)
    ridge = 1e-3 * ((population - centre) ** 2).sum() / len(population)
    inverse = np.linalg.inv(spread + ridge * np.eye(40))
    y, amplitudes = mean - centre, np.linspace(-40, 40, 80001)
    for row, score in zip(asked, found, strict=True):
        g = row - centre
        # log N(y; a g / n, S / n) - log N(y; 0, S / n) for many a; the best of them.
        ratios = amplitudes * (y @ inverse @ g) - amplitudes**2 * (g @ inverse @ g) / (
            2 * 10
        )
        assert ratios.max() == pytest.approx(10 * score**2 / 2, rel=1e-4)
        assert np.sign(amplitudes[ratios.argmax()]) == np.sign(score)


def test_the_matched_filter_finds_members_of_a_sum_that_the_cosine_misses() -> None:
    asked, population, mean = _sum_of(30, 300)
    gradients = _Explicit(asked)
    found = _filtered(asked, population, mean)
    cosine = Alignment.of(gradients, mean[None]).cosines()[0]
    assert auc(found[:30], found[30:]) > 0.7
    assert auc(found[:30], found[30:]) > auc(cosine[:30], cosine[30:]) + 0.1
    with pytest.raises(ParameterError, match="10 or more"):
        background(gradients, population[:9])


def test_the_source_is_the_client_that_stands_out_over_its_rounds() -> None:
    measured = _measured(4, 6, RECORDS, seed=2)
    truth = np.arange(RECORDS, dtype=np.int64) % 6
    measured[:, truth, np.arange(RECORDS)] += 4.0
    measured[1:3, 5] = np.nan  # took part in two rounds of four
    found = source_accuracy(sources(measured), truth)
    assert found.value > 0.9 and found.low > 1 / 6
    assert found.n == RECORDS
    measured[:, 5] = np.nan
    with pytest.raises(ParameterError, match="no round"):
        sources(measured)


def test_a_learnt_attack_finds_what_members_have_in_common() -> None:
    rng = np.random.default_rng(6)
    members = rng.random(300) < 0.4
    features = rng.normal(size=(300, 5))
    features[members, 3] -= 2.0  # one of five tells, and downwards
    known = np.arange(300) < 150
    scores = nasr_passive(features[known], members[known], features[~known])
    assert auc(scores[members[~known]], scores[~members[~known]]) > 0.8
    turned = nasr_passive(features[known], ~members[known], features[~known])
    np.testing.assert_allclose(turned, -scores, atol=1e-8)
    with pytest.raises(ParameterError, match="10 or more"):
        nasr_passive(features[known], np.arange(150) < 9, features[~known])


def test_a_loss_that_is_pulled_back_speaks_for_membership() -> None:
    sent = np.array([[4.0, 4.0, 4.0]])
    scores = nasr_active(sent, np.array([[0.5, 3.9, np.inf]]))
    assert scores[0] > scores[1] > scores[2]
    with pytest.raises(ParameterError, match="rounds"):
        nasr_active(sent, sent[0])
