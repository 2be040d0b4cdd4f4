"""Rounds under mixed faults never end in a wrong sum, a leak, a crash or a hang."""

from dataclasses import replace
from itertools import permutations

import pytest

import secagg
from secagg.boxes import ShareKind
from secagg.errors import ParameterError
from secagg.invite import Limits, Step
from secagg.messages import decode
from secagg.reveal import UnmaskRequest, UnmaskShares
from secagg.testing import (
    FAILURES,
    MISHAPS,
    End,
    Kind,
    Memory,
    Mishap,
    Schedule,
    Way,
    campaign,
    draw_schedule,
    every_mishap,
    find_leak,
    judge,
    play,
)
from tests.secagg import mutants

PLANS = {
    "n=4": secagg.plan(4, 1, 1, graph="complete"),
    "n=5": secagg.plan(5, 1, 1, graph="complete"),
    "n=5, D=2": secagg.plan(5, 1, 2, graph="complete"),
    "n=6, k=4": secagg.plan(6, 1, 1, graph="k-regular"),
}
PLAN = PLANS["n=5, D=2"]
# A flipped bit may turn up as noise in the sum; a stray message costs two clients.
COSTS_ONE_CLIENT = [m for m in MISHAPS if m.kind not in (Kind.FLIPPED, Kind.STRAYED)]


@pytest.mark.parametrize(
    "name", ["n=4", "n=5", pytest.param("n=6, k=4", marks=pytest.mark.slow)]
)
def test_each_mishap_alone_at_each_step_ends_in_a_sum_or_a_clean_abort(name):
    plan = PLANS[name]
    report = campaign((plan, schedule) for schedule in every_mishap(plan.clients))
    print(report)
    assert not report.failures
    assert not report.unmet and report.rounds == len(Step) * len(MISHAPS)


@pytest.mark.parametrize("plan", PLANS.values(), ids=PLANS)
def test_mixed_mishaps_end_in_a_sum_or_a_clean_abort(plan):
    count = 100 if plan.complete else 40
    report = campaign((plan, draw_schedule(plan.clients, s)) for s in range(count))
    print(report)
    assert not report.failures
    assert report.ends[End.SUM] > 0 and report.ends[End.ABORT] > 0


@pytest.mark.slow
@pytest.mark.parametrize("plan", PLANS.values(), ids=PLANS)
def test_ten_thousand_mixed_schedules_never_end_as_none_must(plan):
    seeds = range(1_000, 3_500)
    report = campaign((plan, draw_schedule(plan.clients, s)) for s in seeds)
    print(report)
    assert not report.failures
    assert not report.unmet


@pytest.mark.parametrize("plan", PLANS.values(), ids=PLANS)
def test_as_many_unlucky_clients_as_the_plan_lets_drop_never_cost_the_sum(plan):
    seen = 0
    for seed in range(60):
        schedule = draw_schedule(plan.clients, seed, mishaps=COSTS_ONE_CLIENT)
        if len({client for client, _ in schedule.mishaps}) > plan.drop:
            continue
        verdict = judge(play(plan, schedule))
        assert verdict.end is End.SUM, (seed, verdict)
        seen += 1
    assert seen >= 15


def test_the_same_seed_draws_the_same_schedule():
    drawn = [draw_schedule(5, seed) for seed in range(200)]
    assert drawn == [draw_schedule(5, seed) for seed in range(200)]
    assert len({str(s.mishaps) for s in drawn}) > 100
    assert {len(s.mishaps) for s in drawn} == set(range(6))


# --- what is broken is found ---------------------------------------------------------

MUTANTS = {
    mutants.SumsTheWrongSet: (End.WRONG_SUM, "not those that the clients were asked"),
    mutants.AveragesBadly: (End.WRONG_SUM, "is off by more than"),
    mutants.CountsOneTwice: (End.WRONG_SUM, "that of the survivors"),
    mutants.AsksForBoth: (End.LEAK, "both secrets of client 0"),
    mutants.TakesSurvivorsForDropped: (End.LEAK, "the mask key of client 0"),
    mutants.TellsTwoCohorts: (End.LEAK, "the sum over clients 1, 2 alone"),
    mutants.EndsWithoutCounts: (End.CRASH, "without a step"),
}


@pytest.mark.parametrize("server_class", MUTANTS, ids=lambda c: c.__name__)
def test_a_broken_server_is_found_in_a_round_without_mishaps(server_class):
    end, reason = MUTANTS[server_class]
    verdict = judge(play(PLAN, Schedule(), server_class=server_class))
    assert verdict.end is end and reason in verdict.reason


def test_a_server_that_opens_the_own_mask_of_a_client_that_dropped_is_found():
    lost = Schedule({(4, Step.MASKED_INPUT): Mishap(Way.REQUEST, Kind.BEFORE)})
    liar = mutants.TakesDroppedForSurvivors
    verdict = judge(play(PLAN, lost, server_class=liar))
    assert verdict.end is End.LEAK and "the own mask of client 4" in verdict.reason
    assert judge(play(PLAN, lost)).end is End.SUM


def test_a_client_that_answers_twice_is_found():
    verdict = judge(play(PLAN, Schedule(), client_class=mutants.AnswersTwice))
    assert verdict.end is End.LEAK and "UnmaskShares twice" in verdict.reason


def test_a_party_that_raises_is_found():
    again = Schedule({(0, Step.SHARE_KEYS): Mishap(Way.ANSWER, Kind.REPEATED)})
    verdict = judge(play(PLAN, again, server_class=mutants.Trips))
    assert verdict.end is End.CRASH and "KeyError" in verdict.reason
    assert judge(play(PLAN, Schedule(), server_class=mutants.Trips)).end is End.SUM


def test_a_round_that_never_ends_is_stopped_and_found():
    played = play(
        PLAN,
        Schedule(),
        server_class=mutants.Babbles,
        client_class=mutants.TalksBack,
    )
    assert judge(played).end is End.HANG
    assert played.events == 40 * PLAN.clients


class Deceives(Memory):
    """Tells some clients that client 0 has dropped."""

    def __init__(self, victims):
        super().__init__()
        self.victims = victims

    def send(self, sender, receiver, data):
        if receiver in self.victims and data[1] == UnmaskRequest.TAG:
            request = decode(data, Limits(PLAN.clients))
            data = replace(request, survivors=request.survivors - {0}).encode()
        super().send(sender, receiver, data)


def test_a_client_that_was_deceived_on_the_way_counts_as_a_colluder():
    # What the transport made it say, a colluder would have said. The plan has one: that
    # is within the guarantee, and its shares and those of one more are not counted.
    one = play(PLAN, Schedule(), transport=Deceives({"client-1"}))
    assert find_leak(one) == "" and one.outcome.survivors >= {"client-0"}
    # Two are more colluders than the plan has, and nothing is claimed.
    two = play(PLAN, Schedule(), transport=Deceives({"client-1", "client-3"}))
    assert find_leak(two) == ""
    # The same shares, asked for by the server itself, are a leak.
    assert find_leak(play(PLAN, Schedule(), server_class=mutants.AsksForBoth))


def test_a_stray_unmask_request_deceives_nobody():
    plan = secagg.plan(6, 1, 2, graph="k-regular")
    lost = Mishap(Way.ANSWER, Kind.BEFORE)
    stray = Mishap(Way.REQUEST, Kind.STRAYED)
    for gone, missed in permutations(range(plan.clients), 2):
        mishaps = {(gone, Step.MASKED_INPUT): lost, (missed, Step.UNMASK): stray}
        played = play(plan, Schedule(mishaps))
        assert judge(played).end not in FAILURES
        assert not any(
            share.kind is ShareKind.MASK_KEY and share.owner != gone
            for exchange in played.exchanges
            for answer in exchange.answers
            if answer[1] == UnmaskShares.TAG
            for share in decode(answer, Limits(plan.clients)).shares
        )


def test_a_cohort_too_large_for_all_sets_of_colluders_is_refused():
    plan = secagg.plan(20, 5, 5, graph="complete")
    played = play(plan, Schedule())
    assert played.outcome is not None
    with pytest.raises(ParameterError, match="smaller cohort"):
        judge(played)


def test_the_four_failures_are_all_that_must_never_happen():
    assert set(End) - set(FAILURES) == {End.SUM, End.ABORT}


# --- each mishap does what it says ---------------------------------------------------


def played_with(step, way, kind, client=0):
    """Play a round with one mishap; return it with the requests the client got."""
    played = play(PLAN, Schedule({(client, step): Mishap(way, kind)}, seed=3))
    assert len(played.fired) == 1
    got = [e.request for e in played.exchanges if e.client == client]
    sent = [data for index, data in played.requests if index == client]
    return played, got, sent


def test_a_late_upload_comes_too_late():
    played, _, _ = played_with(Step.MASKED_INPUT, Way.ANSWER, Kind.LATE)
    assert "client-0" not in played.outcome.survivors
    played, _, _ = played_with(Step.MASKED_INPUT, Way.ANSWER, Kind.REORDERED)
    assert "client-0" in played.outcome.survivors


def test_a_repeated_request_is_received_twice():
    _, got, sent = played_with(Step.MASKED_INPUT, Way.REQUEST, Kind.REPEATED)
    assert got.count(sent[2]) == 2


def test_a_replayed_request_is_that_of_another_round():
    _, got, sent = played_with(Step.SHARE_KEYS, Way.REQUEST, Kind.REPLAYED)
    assert got[1][1] == sent[1][1] and got[1][2:34] != sent[1][2:34]


def test_damaged_requests_differ_as_their_kind_says():
    _, got, sent = played_with(Step.SHARE_KEYS, Way.REQUEST, Kind.FLIPPED)
    flipped = [a ^ b for a, b in zip(got[1], sent[1], strict=True)]
    assert sum(bits.bit_count() for bits in flipped) == 1
    _, got, sent = played_with(Step.SHARE_KEYS, Way.REQUEST, Kind.TRUNCATED)
    assert len(got[1]) < len(sent[1]) and sent[1].startswith(got[1])
    _, got, sent = played_with(Step.SHARE_KEYS, Way.REQUEST, Kind.EXTENDED)
    assert len(got[1]) > len(sent[1]) and got[1].startswith(sent[1])


@pytest.mark.parametrize("kind", [Kind.BEFORE, Kind.AFTER])
def test_whoever_drops_out_is_not_heard_of_again(kind):
    played, got, sent = played_with(Step.SHARE_KEYS, Way.ANSWER, kind)
    assert len(got) == 2 and len(sent) == (2 if kind is Kind.BEFORE else 3)
    assert "client-0" not in played.outcome.survivors


def test_whoever_drops_out_does_not_hear_that_the_round_was_aborted():
    lost = Mishap(Way.ANSWER, Kind.BEFORE)
    played = play(PLAN, Schedule({(i, Step.SHARE_KEYS): lost for i in range(3)}))
    assert played.outcome is None and len(played.fired) == 3
    got = [sum(e.client == i for e in played.exchanges) for i in range(5)]
    assert got == [2, 2, 2, 3, 3]  # an invitation and keys; then the abort
