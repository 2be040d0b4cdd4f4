"""Every client, at every step, before and after: the sum over the rest, or an abort.

What must come out is worked out from the schedule alone, by counting.
"""

from itertools import combinations

import pytest

import secagg
from secagg.invite import Step
from secagg.testing import (
    DROPOUTS,
    FAILURES,
    End,
    Kind,
    Mishap,
    Schedule,
    Way,
    every_dropout,
    judge,
    play,
)

COMPLETE = {
    n: secagg.plan(n, corrupt, 1, graph="complete")
    for n, corrupt in ((3, 0), (4, 1), (5, 1))
}
TWO_DROP = secagg.plan(5, 1, 2, graph="complete")
SPARSE = secagg.plan(6, 1, 2, graph="k-regular")  # the smallest with k = 4 < n - 1


def counted(plan, schedule):
    """Return u3, or (step, have) of the abort."""
    left = set(range(plan.clients))
    u3 = None
    for step in Step:
        fate = {v: schedule.mishaps.get((v, step)) for v in left}
        answered = {v for v in left if fate[v] is None or fate[v].kind is Kind.AFTER}
        if len(answered) < plan.threshold:
            return step, len(answered)
        if step is Step.MASKED_INPUT:
            u3 = {f"client-{v}" for v in answered}
        left = {v for v in answered if fate[v] is None}
    return u3


def check(plan, schedule):
    """Play a schedule of dropouts; return how it ended."""
    played = play(plan, schedule)
    verdict = judge(played)
    assert verdict.end not in FAILURES, (schedule, verdict)
    expected = counted(plan, schedule)
    if verdict.end is End.SUM:
        assert played.outcome.survivors == expected, schedule
    else:
        error = played.error
        assert (error.step, error.have) == expected, schedule
        assert error.need == plan.threshold
    return verdict.end


def check_all(plan, schedules):
    ends = [check(plan, schedule) for schedule in schedules]
    assert set(ends) == {End.SUM, End.ABORT}
    return len(ends)


def at_one_step(clients):
    """Return each subset of clients, dropping out in each of the ways at each step."""
    for step in Step:
        for mishap in DROPOUTS:
            for size in range(1, clients + 1):
                for subset in combinations(range(clients), size):
                    yield Schedule(dict.fromkeys(((v, step) for v in subset), mishap))


@pytest.mark.parametrize("n", [3, 4, pytest.param(5, marks=pytest.mark.slow)])
def test_every_subset_may_drop_out_at_any_one_step(n):
    assert check_all(COMPLETE[n], at_one_step(n)) == 12 * (2**n - 1)


def test_any_two_of_five_clients_may_drop_out_at_any_one_step_if_the_plan_says_so():
    pairs = [s for s in at_one_step(5) if len(s.mishaps) == 2]
    assert len(pairs) == 12 * 10
    assert {check(TWO_DROP, schedule) for schedule in pairs} == {End.SUM}


def test_pairs_may_drop_out_at_any_one_step_of_a_k_regular_round():
    pairs = [s for s in at_one_step(SPARSE.clients) if len(s.mishaps) == 2]
    assert {check(SPARSE, schedule) for schedule in pairs[::7]} == {End.SUM}


def test_combinations_of_steps_at_which_clients_drop_out():
    assert check_all(COMPLETE[3], every_dropout(3)) == 5**3
    some = list(every_dropout(4))[::4]
    assert check_all(COMPLETE[4], some) == 157


@pytest.mark.slow
def test_every_combination_of_steps_at_which_four_clients_drop_out():
    assert check_all(COMPLETE[4], every_dropout(4)) == 5**4


@pytest.mark.slow
@pytest.mark.parametrize("plan", [COMPLETE[5], TWO_DROP], ids=["D=1", "D=2"])
def test_every_combination_of_steps_at_which_five_clients_drop_out(plan):
    assert check_all(plan, every_dropout(5)) == 5**5


@pytest.mark.slow
def test_every_combination_of_steps_at_which_k_regular_clients_drop_out():
    # Where more than D + 1 of the 6 are lost, the round ends as it does with D + 1.
    few = [s for s in every_dropout(SPARSE.clients) if len(s.mishaps) <= 3]
    assert check_all(SPARSE, few) == 1 + 6 * 4 + 15 * 4**2 + 20 * 4**3


@pytest.mark.slow
def test_every_subset_of_a_k_regular_round_may_drop_out_at_any_one_step():
    assert check_all(SPARSE, at_one_step(SPARSE.clients)) == 12 * (2**6 - 1)


def test_a_schedule_plays_the_same_round_again():
    mishap = Mishap(Way.ANSWER, Kind.FLIPPED)
    schedule = Schedule({(1, Step.SHARE_KEYS): mishap}, seed=3)
    one, two = play(COMPLETE[4], schedule), play(COMPLETE[4], schedule)
    assert one.exchanges == two.exchanges and one.requests == two.requests
    other = play(COMPLETE[4], Schedule(schedule.mishaps, seed=4))
    assert one.exchanges != other.exchanges
