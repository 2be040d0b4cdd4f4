"""What a round costs: formulas beside rounds whose primitives and bytes are counted."""

from fractions import Fraction
from itertools import permutations

import pytest

import secagg
from secagg.cost import Operation, cpu_seconds, work
from secagg.errors import ParameterError
from secagg.graph import Tabulated, graph_of
from secagg.invite import Step
from secagg.traffic import Wiring, traffic
from secagg.turnout import expected_turnout, turnout_of
from tests.secagg.counted_round import play_counted

COMPLETE = secagg.plan(9, 2, 4, graph="complete")
SPARSE = secagg.plan(40, 3, 6, sigma=8, eta=4, graph="k-regular")
EACH = {
    0: Step.ADVERTISE_KEYS,
    3: Step.SHARE_KEYS,
    8: Step.MASKED_INPUT,
    5: Step.UNMASK,
}
ROUNDS = {
    "complete, nobody gone": (COMPLETE, {}, False),
    "complete, one gone in each step": (COMPLETE, EACH, False),
    "complete, signed": (COMPLETE, EACH, True),
    "k-regular, nobody gone": (SPARSE, {}, False),
    "k-regular, one gone in each step": (SPARSE, EACH, False),
    "k-regular, signed": (SPARSE, {39: Step.MASKED_INPUT, 7: Step.MASKED_INPUT}, True),
}


@pytest.mark.parametrize("name", ROUNDS)
def test_operations_and_bytes_are_those_of_a_real_round(monkeypatch, name):
    plan, gone, signed = ROUNDS[name]
    length = 50
    count = play_counted(monkeypatch, plan, length, gone, signed=signed)
    counted = {part: dict(found) for part, found in count.work.items()}
    predicted = work(plan, count.turnout, length=length, signed=signed)
    for part in predicted:
        assert dict(predicted[part]) == counted[part], part
    assert predicted.keys() == counted.keys()
    wiring = Wiring(
        session_bytes=7,
        name_bytes=sum(len(f"c{i}") for i in range(plan.clients)),
        signed=signed,
    )
    found = traffic(plan, count.turnout, length=length, wiring=wiring)
    assert {step: both.down for step, both in found.items()} == count.down
    assert {step: both.up for step, both in found.items()} == count.up


def test_a_turnout_on_the_complete_graph_is_exact():
    gone = {Step.ADVERTISE_KEYS: 1, Step.SHARE_KEYS: 1, Step.MASKED_INPUT: 1}
    expected = expected_turnout(COMPLETE, gone)
    everybody = set(range(9))
    sets = {
        "u1": everybody - {0},
        "u2": everybody - {0, 1},
        "u3": everybody - {0, 1, 2},
    }
    graph = graph_of(COMPLETE, b"")
    exact = turnout_of(graph, clients=9, u5=sets["u3"], **sets)
    assert expected == exact
    assert expected.answering(Step.SHARE_KEYS) == (8, 7)


def test_a_turnout_on_a_ring_is_the_mean_over_all_orders():
    """A ring of 7 places in which each client's neighbours are the next ones."""
    plan = secagg.plan(7, 1, 2, sigma=1, eta=1, graph="k-regular")
    gone = {Step.ADVERTISE_KEYS: 0, Step.SHARE_KEYS: 1, Step.MASKED_INPUT: 1}
    expected = expected_turnout(plan, gone)
    steps = [step for step in range(-plan.k // 2, plan.k // 2 + 1) if step]
    ring = {at: frozenset((at + step) % 7 for step in steps) for at in range(7)}
    totals = dict.fromkeys(("listed", "dealt", "delivered", "orphaned"), Fraction(0))
    orders = list(permutations(range(7), 2))  # places of the two that vanish
    for first, second in orders:
        u2 = set(range(7)) - {first}
        exact = turnout_of(
            Tabulated(ring),
            clients=7,
            u1=set(range(7)),
            u2=u2,
            u3=u2 - {second},
            u5=u2 - {second},
        )
        for name in totals:
            totals[name] += Fraction(getattr(exact, name), len(orders))
    for name, mean in totals.items():
        assert abs(getattr(expected, name) - mean) <= Fraction(1, 2), name


def test_more_dropouts_than_the_plan_survives_are_refused():
    with pytest.raises(ParameterError, match="the plan survives 4"):
        expected_turnout(COMPLETE, {Step.UNMASK: 5})
    with pytest.raises(ParameterError, match="fewer than 0"):
        expected_turnout(COMPLETE, {Step.UNMASK: -1})


def test_a_price_is_the_sum_over_operations():
    counts = work(COMPLETE, expected_turnout(COMPLETE, {}), length=3)
    prices = dict.fromkeys(Operation, 0.5)
    for found in counts.values():
        assert cpu_seconds(found, prices) == sum(found.values()) / 2


def test_beyond_two_byte_indices_a_message_grows_by_the_wider_ones():
    sizes = []
    for clients in (65_535, 65_536):
        plan = secagg.plan(clients, 0.05, 0.05)
        turnout = expected_turnout(plan, {})
        wiring = Wiring(session_bytes=1, name_bytes=clients)
        found = traffic(plan, turnout, length=1, wiring=wiring)
        sizes.append(found[Step.UNMASK].up / clients - 37 * plan.k)
    narrow, wide = sizes
    assert (narrow, wide) == (38, 42 + 2 * plan.k)


@pytest.mark.parametrize(
    ("session", "names", "wrong"), [(0, 9, "session_bytes"), (1, 8, "name_bytes")]
)
def test_impossible_names_are_refused(session, names, wrong):
    with pytest.raises(ParameterError) as caught:
        wiring = Wiring(session_bytes=session, name_bytes=names)
        traffic(COMPLETE, expected_turnout(COMPLETE, {}), length=1, wiring=wiring)
    assert caught.value.argument == wrong
