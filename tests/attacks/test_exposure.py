"""Exposure of records: means with honest intervals, the worst without luck."""

import numpy as np
import pytest
from scipy import special

from attacks import ParameterError, TooFewShadows, auc, balanced_memberships
from attacks.exposure import area, exposure, mean_distances, most_exposed


def toy(distances, seed, *, shadows=16, shared=0.0):
    """Gaussian phi; `shared` is what a shadow adds to all records alike."""
    rng = np.random.default_rng(seed)
    records = len(distances)
    members = balanced_memberships(shadows, records, 0.7, seed)
    spread = np.exp(rng.normal(0, 0.3, records))
    noise = rng.normal(size=members.shape) + shared * rng.normal(size=(shadows, 1))
    return rng.normal(0, 2, records) + spread * (distances * members + noise), members


def literal(phi, members, record):
    """Oracle: d' of one record in loops, its spread drawn to the mean of all."""

    def squares(at):
        total = 0.0
        for side in (True, False):
            own = [
                v for v, m in zip(phi[:, at], members[:, at], strict=True) if m == side
            ]
            total += sum((v - sum(own) / len(own)) ** 2 for v in own)
        return total

    freedom = len(phi) - 2
    typical = sum(squares(i) for i in range(phi.shape[1])) / phi.shape[1] / freedom
    variance = (squares(record) + 6 * typical) / (freedom + 6)
    inside = [v for v, m in zip(phi[:, record], members[:, record], strict=True) if m]
    outside = [
        v for v, m in zip(phi[:, record], members[:, record], strict=True) if not m
    ]
    gap = sum(inside) / len(inside) - sum(outside) / len(outside)
    return gap / variance**0.5


def test_the_distance_is_that_of_a_literal_loop():
    phi, members = toy(np.linspace(0, 2, 12), 0)
    found = exposure(phi, members)
    for record in (0, 5, 11):
        assert found.distance[record] == pytest.approx(literal(phi, members, record))


def test_the_worst_of_records_that_leak_nothing_are_not_called_exposed():
    honest, naive = [], []
    for seed in range(10):
        found = exposure(*toy(np.zeros(600), seed))
        honest.append(most_exposed(found, seed=seed).value)
        naive.append(np.sort(found.distance)[-6:].mean())
    assert np.mean(naive) > 1.2  # what sorting noise alone shows
    assert abs(np.mean(honest)) < 0.15


def test_few_exposed_records_are_found_beside_a_mean_that_hides_them():
    distances = np.zeros(1000)
    distances[[3, 50, 400, 401, 600, 601, 602, 700, 800, 999]] = 4.0
    found = exposure(*toy(distances, 1))
    worst = most_exposed(found, seed=1)
    (mean,) = mean_distances(found, [np.arange(1000)])
    assert worst.n == 10
    assert worst.value > 2.5 and worst.estimate(0.99).low > 1
    assert mean.value < 0.3
    assert set(np.argsort(-found.shrunk)[:8]) <= set(np.flatnonzero(distances))


@pytest.mark.parametrize("shared", [0.0, 0.5])
def test_intervals_of_groups_cover_as_often_as_they_say(shared):
    # Without a common part of each shadow's scores records are independent; with one
    # they are not, and an interval over records alone would be far too narrow.
    missed = 0
    for seed in range(40):
        distances = np.random.default_rng(seed).gamma(0.5, 1.0, 200)
        found = exposure(*toy(distances, seed, shared=shared))
        distances /= np.sqrt(1 + shared**2)  # in units of all that spreads the scores
        groups = [np.arange(at, 200, 4) for at in range(4)]
        for rows, mean in zip(groups, mean_distances(found, groups), strict=True):
            own = mean.estimate(0.9)
            missed += not own.low <= distances[rows].mean() <= own.high
    assert missed <= 32  # of 160, 16 expected


def test_a_more_exposed_group_is_above_the_whole_and_an_equal_one_is_not():
    distances = np.where(np.arange(400) < 100, 1.5, 0.2)
    found = exposure(*toy(distances, 2))
    groups = [np.arange(100), np.arange(100, 250), np.arange(400)]
    exposed, other, whole = mean_distances(found, groups)
    assert exposed.above(whole, 0.99)
    assert not other.above(whole, 0.99)
    assert not whole.above(whole, 0.5)


def test_shrinking_brings_distances_nearer_to_the_truth():
    distances = np.random.default_rng(3).gamma(1.0, 0.5, 800)
    found = exposure(*toy(distances, 3))
    raw = np.square(found.distance - distances).mean()
    assert np.square(found.shrunk - distances).mean() < raw / 1.5


def test_the_area_is_the_auc_of_two_bell_curves():
    rng = np.random.default_rng(4)
    inside, outside = rng.normal(1.0, 1, 20000), rng.normal(0.0, 1, 20000)
    assert area(1.0) == pytest.approx(auc(inside, outside), abs=0.01)
    assert area(0.0) == 0.5
    assert area(2.0) == pytest.approx(special.ndtr(2**0.5))


def test_shadows_that_agree_to_the_last_bit_divide_nothing_by_zero():
    members = balanced_memberships(16, 5, 0.5, 0)
    found = exposure(np.where(members, 2.0, 1.0), members)
    assert np.isfinite(found.distance).all() and (found.distance > 100).all()


def test_bad_input_is_refused():
    phi, members = toy(np.zeros(20), 5)
    with pytest.raises(ParameterError, match="finite"):
        exposure(np.where(members, np.inf, phi), members)
    with pytest.raises(ParameterError, match="bool"):
        exposure(phi, members.astype(int))
    with pytest.raises(TooFewShadows, match="with each record"):
        exposure(phi, np.zeros_like(members))
    with pytest.raises(ParameterError, match="without records"):
        mean_distances(exposure(phi, members), [np.array([], dtype=np.int64)])
