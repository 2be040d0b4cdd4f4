"""Correlated noise against dense matrices, and its sensitivity against enumeration.

The oracle builds C from its definition and the prefix sums A as a triangle of ones; the
strategies give rows of noise, which for unit rows of Z are the matrix that multiplies
Z. Nothing of one is used in the other.
"""

from __future__ import annotations

import dataclasses
import itertools
import math

import numpy as np
import pytest

import dp
from dp.accounting import epsilon
from dp.banded import Banded
from dp.errors import ParameterError, ParticipationRefused
from dp.ftrl import CorrelatedSum, prefix_errors
from dp.participation import Attendance, Participation
from dp.tree import Tree

BANDED = [(7, 3, 7, 3), (12, 4, 2, 4), (9, 9, 1, 5), (10, 2, 3, 1), (11, 1, 11, 1)]
TREES = [(8, 2, 8, 8), (11, 3, 2, 4), (13, 4, 13, 13), (12, 1, 3, 5), (9, 4, 1, 8)]


def limits(rounds, separation, most):
    return Participation(rounds=rounds, separation=separation, most=most)


def banded(rounds, separation, most, bands):
    return Banded(participation=limits(rounds, separation, most), bands=bands)


def tree(rounds, separation, most, restart):
    return Tree(participation=limits(rounds, separation, most), restart=restart)


def noise_matrix(strategy, rows):
    """Return M of the rounds' noise M Z, by feeding in unit rows."""
    asked = []

    def draw(index):
        asked.append(index)
        return np.eye(rows)[index]

    found = np.array(list(strategy.noises(draw)))
    assert asked == list(range(rows)), "each row of Z is to be used, once, in order"
    return found


def dense_banded(rounds, bands):
    """Return C: binomials in bands, each column divided by its norm."""
    matrix = np.zeros((rounds, rounds))
    for j in range(bands):
        matrix += math.comb(2 * j, j) / 4**j * np.eye(rounds, k=-j)
    return matrix / np.linalg.norm(matrix, axis=0)


def dense_tree(rounds, restart):
    """Return C: one row per finished node of each tree, as they finish."""
    nodes = []
    for start in range(0, rounds, restart):
        stop = min(start + restart, rounds)
        for end in range(start + 1, stop + 1):
            size = 1
            while (end - start) % size == 0:
                nodes.append([end - size <= i < end for i in range(rounds)])
                size *= 2
    return np.array(nodes, dtype=float)


def worst_case(matrix, rounds, separation, most):
    """Return the sensitivity by trying every pattern (arXiv:2306.08153, equation 5)."""
    gram = np.abs(matrix.T @ matrix)
    best = 0.0
    for count in range(1, most + 1):
        for pattern in itertools.combinations(range(rounds), count):
            if all(b - a >= separation for a, b in itertools.pairwise(pattern)):
                best = max(best, gram[np.ix_(pattern, pattern)].sum())
    return math.sqrt(best)


@pytest.mark.parametrize("case", BANDED)
def test_banded_noise_is_the_inverse_of_its_matrix_times_fresh_noise(case):
    rounds, _, _, bands = case
    found = noise_matrix(banded(*case), rounds)
    np.testing.assert_allclose(
        found @ dense_banded(rounds, bands), np.eye(rounds), atol=1e-12
    )


@pytest.mark.parametrize("case", TREES)
def test_a_tree_factors_the_prefix_sums(case):
    rounds, _, _, restart = case
    nodes = dense_tree(rounds, restart)
    prefixes = np.tri(rounds)
    weights = prefixes @ noise_matrix(tree(*case), len(nodes))
    # With B = A M, B C = A: all that is released is a function of C G + Z.
    np.testing.assert_allclose(weights @ nodes, prefixes, atol=1e-12)


@pytest.mark.parametrize("case", BANDED)
def test_banded_sensitivity_is_that_of_the_worst_pattern(case):
    rounds, separation, most, bands = case
    worst = worst_case(dense_banded(rounds, bands), rounds, separation, most)
    assert banded(*case).sensitivity == pytest.approx(worst, rel=1e-12)


@pytest.mark.parametrize("case", TREES)
def test_tree_sensitivity_is_never_below_the_worst_pattern(case):
    rounds, separation, most, restart = case
    worst = worst_case(dense_tree(rounds, restart), rounds, separation, most)
    assert tree(*case).sensitivity >= worst * (1 - 1e-12)


def test_tree_sensitivity_is_exact_where_a_client_fills_whole_trees():
    case = (8, 2, 8, 8)
    worst = worst_case(dense_tree(8, 8), 8, 2, 8)
    assert tree(*case).sensitivity == pytest.approx(worst, rel=1e-12)
    # One participation: the number of heights (arXiv:2103.00039).
    assert tree(1024, 1024, 1, 1024).sensitivity ** 2 == pytest.approx(11)


def test_bands_wider_than_the_separation_are_refused_since_columns_would_overlap():
    with pytest.raises(ParameterError, match="separation"):
        banded(12, 3, 4, 4)
    overlapping = worst_case(dense_banded(12, 4), 12, 3, 4)
    assert overlapping > math.sqrt(4) * 1.05


@pytest.mark.parametrize("strategy", [banded(*c) for c in BANDED])
def test_variances_of_banded_prefixes_are_those_of_the_matrix(strategy):
    rounds = strategy.participation.rounds
    prefixes = np.tri(rounds) @ noise_matrix(strategy, rounds)
    np.testing.assert_allclose(strategy.variances(), (prefixes**2).sum(axis=1))


@pytest.mark.parametrize("case", TREES)
def test_variances_of_tree_prefixes_are_those_of_the_matrix(case):
    rounds, _, _, restart = case
    rows = len(dense_tree(rounds, restart))
    prefixes = np.tri(rounds) @ noise_matrix(tree(*case), rows)
    np.testing.assert_allclose(tree(*case).variances(), (prefixes**2).sum(axis=1))


def test_a_node_s_best_estimate_has_the_published_variance():
    # Honaker's bottom-up weights: 2^h / (2^(h+1) - 1) for a node of height h.
    assert tree(8, 8, 1, 8).variances()[[0, 1, 3, 7]] == pytest.approx(
        [1, 2 / 3, 4 / 7, 8 / 15]
    )


def test_at_equal_epsilon_bands_disturb_prefixes_less_than_tree_or_independent_noise():
    best = prefix_errors(banded(64, 8, 8, 8))
    assert best.mean() < 0.25 * prefix_errors(banded(64, 8, 8, 1)).mean()
    assert best.mean() < 0.25 * prefix_errors(tree(64, 8, 8, 64)).mean()
    assert prefix_errors(tree(1024, 1024, 1, 1024)).mean() < (
        0.1 * prefix_errors(banded(1024, 1024, 1, 1)).mean()
    )


def test_attendance_refuses_too_soon_too_often_and_unplanned():
    attendance = Attendance(limits(9, 3, 2))
    attendance.admit("a", 0)
    with pytest.raises(ParticipationRefused, match="less than 3 before") as refused:
        attendance.admit("a", 2)
    assert (refused.value.client, refused.value.round) == ("a", 2)
    with pytest.raises(ParticipationRefused, match="less than 3"):
        attendance.admit("a", 0)
    attendance.admit("a", 3)
    with pytest.raises(ParticipationRefused, match="the most that one client may"):
        attendance.admit("a", 8)
    attendance.admit("b", 8)
    with pytest.raises(ParticipationRefused, match="the plan has 9 rounds"):
        attendance.admit("b", 9)


@pytest.mark.parametrize(
    "bad", [(0, 1, 1), (5, 0, 1), (5, 6, 1), (5, 1, 0), (10**6, 1, 1)]
)
def test_limits_that_cannot_be_are_refused(bad):
    with pytest.raises(ParameterError):
        limits(*bad)


def mechanism(strategy=None, **changes):
    strategy = strategy or banded(6, 2, 3, 2)
    values = {"clip_norm_l2": 0.5, "noise_multiplier": 3.0, "clients": 8} | changes
    return CorrelatedSum(strategy=strategy, **values)


def test_the_whole_run_is_one_gaussian_event():
    assert mechanism().event == dp.sampled_gaussian(3.0, 1.0)
    # Two strategies of one noise multiplier promise the same; only errors differ.
    assert mechanism(tree(6, 2, 3, 4)).event == mechanism().event
    exact = epsilon(dp.sampled_gaussian(3.0, 1.0), 1, 1e-5)
    assert epsilon(mechanism().event, 1, 1e-5) == exact


@pytest.mark.parametrize("strategy", [banded(6, 2, 3, 2), tree(6, 2, 3, 4)])
def test_noise_is_scaled_to_what_one_client_can_move_over_the_run(strategy):
    one = mechanism(strategy)
    wide, error = 40_000, 1e-4
    stream = one.stream(length=wide, sum_error=error, seed=b"scale")
    wanted = 3.0 * strategy.sensitivity * (0.5 + 2 * math.sqrt(wide) * error)
    first = wanted if isinstance(strategy, Tree) else wanted * strategy._norms()[0]
    # A relative error of 1 / sqrt(2 n) = 0.0035; five of them.
    assert stream.at(0).std() == pytest.approx(first, rel=0.018)
    after = sum(stream.at(i) for i in range(6))
    assert after.std() == pytest.approx(
        wanted * math.sqrt(strategy.variances()[5]), rel=0.018
    )


def test_noise_of_a_past_round_is_computed_again_to_the_same_bits():
    stream = mechanism().stream(length=5, sum_error=0.0, seed=b"one")
    forward = [stream.at(i) for i in range(6)]
    other = mechanism().stream(length=5, sum_error=0.0, seed=b"one")
    for index in (5, 2, 2, 0, 4):
        np.testing.assert_array_equal(other.at(index), forward[index])
    foreign = mechanism().stream(length=5, sum_error=0.0, seed=b"two")
    assert not np.array_equal(foreign.at(0), forward[0])


def test_nothing_is_released_beyond_the_plan_and_no_round_is_left_out():
    stream = mechanism().stream(length=3, sum_error=0.0, seed=None)
    with pytest.raises(ParameterError, match="not the next"):
        stream.at(1)
    stream.at(0)
    with pytest.raises(ParameterError, match="handed out is gone"):
        stream.at(0)
    with pytest.raises(ParameterError, match="beyond the 6"):
        stream.at(6)
    with pytest.raises(ParameterError, match="empty"):
        mechanism().stream(length=3, sum_error=0.0, seed=b"")


def test_a_release_is_the_sum_and_the_round_s_noise_over_a_fixed_denominator():
    one = mechanism()
    total, noise = np.array([0.5, -1.0]), np.array([2.0, 3.0])
    found = one.release(total, noise, sum_error=0.0)
    np.testing.assert_allclose(found, (total + noise) / 4)  # 8 places, every second
    alone = one.release(None, noise, sum_error=0.0)
    np.testing.assert_allclose(alone, noise / 4)


@pytest.mark.parametrize(
    "total", [np.zeros(3), np.array([np.nan, 0.0]), np.array([4.1, 0.0])]
)
def test_a_sum_that_cannot_be_one_of_clipped_updates_is_refused(total):
    with pytest.raises(ParameterError):
        mechanism().release(total, np.zeros(2), sum_error=0.0)


@pytest.mark.parametrize(
    "bad", [{"clip_norm_l2": 0.0}, {"noise_multiplier": 0.0}, {"clients": 0}]
)
def test_constants_out_of_range_are_refused(bad):
    with pytest.raises(ParameterError):
        mechanism(**bad)


def test_forgotten_participations_would_be_noticed():
    """Planted: the sensitivity of one participation in place of three."""
    case = (7, 3, 7, 3)
    one = dataclasses.replace(banded(*case), participation=limits(7, 3, 1))
    worst = worst_case(dense_banded(7, 3), 7, 3, 7)
    assert one.sensitivity < 0.6 * worst
