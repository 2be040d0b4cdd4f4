"""The whole protocol: exact sums over u3, or a typed abort, for every dropout."""

import functools
import itertools
from fractions import Fraction
from itertools import combinations, product

import numpy as np
import pytest

import secagg
from secagg import member
from secagg.encoder import Encoder
from secagg.errors import AbortError, IntegrityError, ParameterError
from secagg.graph import Harary, graph_of
from secagg.invite import Step
from tests.secagg.harness import CONTEXT, GRAPHS, Network, make_updates

STEPS = [str(step) for step in Step]


@pytest.fixture(params=GRAPHS)
def plan(request):
    """A plan on the complete and on the k-regular graph; one client may vanish."""
    return GRAPHS[request.param]


def assert_is_the_mean(out, updates, weights, survivors):
    assert out.survivors == frozenset(survivors)
    total = sum(weights[name] for name in survivors)
    assert out.weight == total
    for i, got in enumerate(out.mean):
        exact = sum(
            weights[name] * Fraction(float(updates[name][i])) for name in survivors
        )
        error = abs(Fraction(float(got)) - exact / total)
        assert error <= Fraction(out.max_error)


@pytest.mark.parametrize("n", [2, 3, 4, pytest.param(5, marks=pytest.mark.slow)])
def test_every_dropout_set_at_every_step_gives_the_sum_over_u3_or_an_abort(n):
    updates = make_updates(n, 3)
    weights = {name: 2 + i for i, name in enumerate(updates)}
    for drop in range(n - 1) if n < 5 else (1, 3):
        plan = secagg.plan(clients=n, corrupt=0, drop=drop)
        for size in range(n + 1):
            # Few: each at a step of its own.  Many: all at one step; the slow test
            # below mixes them.
            for gone in combinations(updates, size):
                mixed = (
                    product(STEPS, repeat=size)
                    if size <= (2 if n < 4 else 1)
                    else zip(*[STEPS] * size, strict=True)
                )
                for steps in mixed:
                    check_dropouts(
                        plan, updates, weights, dict(zip(gone, steps, strict=True))
                    )


def check_dropouts(plan, updates, weights, vanish):
    def run():
        return secagg.run_round(
            plan, updates, weights=weights, vanish=vanish, seed=b"x"
        )

    left = len(updates)
    for step in STEPS:
        left -= sum(s == step for s in vanish.values())
        if left < plan.threshold:
            with pytest.raises(AbortError) as caught:
                run()
            assert type(caught.value) is AbortError
            assert (caught.value.step, caught.value.need, caught.value.have) == (
                step,
                plan.threshold,
                left,
            )
            return
    u3 = {name for name in updates if vanish.get(name, "unmask") == "unmask"}
    assert_is_the_mean(run(), updates, weights, u3)


@pytest.fixture
def computed_once(monkeypatch):
    """Keep the neighbours of a round between the many rounds of one session."""
    keep = functools.cache(graph_of)
    near = functools.cache(Harary.neighbours)
    table = functools.cache(Harary.tabulated)
    monkeypatch.setattr(member, "graph_of", keep)
    monkeypatch.setattr(Harary, "neighbours", lambda self, client: near(self, client))
    monkeypatch.setattr(Harary, "tabulated", lambda self: table(self))


@pytest.mark.parametrize(
    ("n", "drop"),
    [
        (5, 2),
        (6, 1),
        *(
            pytest.param(n, drop, marks=pytest.mark.slow)
            for n, drop in ((6, 2), (7, 1), (7, 2))
        ),
    ],
)
def test_every_single_and_double_dropout_with_four_neighbours(n, drop, computed_once):
    graph = "complete" if n == 5 else "k-regular"
    plan = secagg.plan(n, 1, drop, graph=graph)
    assert (plan.k, plan.t) == (4, 2)
    updates = make_updates(n, 1)
    weights = dict.fromkeys(updates, 3)
    check_dropouts(plan, updates, weights, {})
    for size in (1, 2):
        for gone in combinations(updates, size):
            for steps in product(STEPS, repeat=size):
                check_dropouts(
                    plan, updates, weights, dict(zip(gone, steps, strict=True))
                )


def test_more_dropouts_than_planned_never_give_a_wrong_sum(computed_once):
    # Four of seven vanish: the ring may be cut and neighbourhoods empty.
    plan = secagg.plan(7, 1, 2, graph="k-regular")
    updates = make_updates(7, 1)
    for gone in combinations(updates, 4):
        vanish = dict(zip(gone, STEPS, strict=True))
        with pytest.raises(AbortError) as caught:
            secagg.run_round(plan, updates, vanish=vanish, seed=b"x")
        assert caught.value.need == plan.threshold > caught.value.have


@pytest.mark.parametrize("step", STEPS[1:])
def test_a_neighbourhood_that_empties_ends_the_round_and_no_sum_comes_out(step):
    # Allowed to be lost half the time; here the dropouts are all around one client.
    plan = secagg.plan(40, 2, 13, sigma=10, eta=1, graph="k-regular")
    updates = make_updates(plan.clients, 2)
    network = Network(plan, updates)
    near = network.neighbours("c0")
    gone = set(near[: plan.k - plan.t + 1])
    assert len(gone) <= plan.drop
    server = network.run(
        lambda wire: (
            None
            if wire.sender in gone and wire.step in STEPS[STEPS.index(step) :]
            else wire.data
        )
    )
    with pytest.raises(AbortError) as caught:
        server.result()
    assert (caught.value.step, caught.value.need) == ("unmask", plan.t)
    assert caught.value.have < plan.t and "'c0'" in str(caught.value)


@pytest.mark.slow
def test_every_mixed_dropout_of_five_clients():
    updates = make_updates(5, 2)
    weights = dict.fromkeys(updates, 3)
    plan = secagg.plan(clients=5, corrupt=0, drop=3)
    for steps in product([None, *STEPS], repeat=5):
        vanish = {name: step for name, step in zip(updates, steps, strict=True) if step}
        check_dropouts(plan, updates, weights, vanish)


@pytest.mark.parametrize("graph", GRAPHS)
@pytest.mark.parametrize("value_bits", [4, 16, 24, 32])
def test_rings_of_every_word_size_work(value_bits, graph):
    encoder = Encoder(value_bits=value_bits, weight_max=5)
    plan = secagg.plan(6, 1, 2, graph=graph, encoder=encoder)
    updates = make_updates(6, 40, seed=value_bits)
    weights = dict(zip(updates, (1, 2, 3, 4, 5, 5), strict=True))
    out = secagg.run_round(
        plan, updates, weights=weights, vanish={"c2": "masked_input", "c4": "unmask"}
    )
    assert_is_the_mean(out, updates, weights, set(updates) - {"c2"})


def test_a_seed_repeats_the_round_bit_for_bit_and_none_does_not(plan):
    updates = make_updates(plan.clients, 5)

    def run(seed, session=b"s"):
        out = secagg.run_round(plan, updates, seed=seed, session=session)
        return [wire.data for wire in out.transcript.messages]

    assert run(1) == run(1)
    assert run(1) != run(2)
    assert run(1) != run(1, b"t")
    assert run(None) != run(None)


def test_the_order_of_the_updates_does_not_matter(plan):
    updates = make_updates(plan.clients, 5)
    turned = dict(reversed(updates.items()))
    a, b = (secagg.run_round(plan, u, seed=1) for u in (updates, turned))
    assert a.transcript == b.transcript


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"vanish": {"nobody": "unmask"}}, "without an update"),
        ({"vanish": {"c0": "lunch"}}, "is not a step"),
        ({"weights": {"nobody": 1}}, "without an update"),
        ({"weights": {"c1": 0}}, "update of 'c1': weight must"),
        ({"context": b"short"}, "32 bytes"),
        ({"session": b""}, "session"),
    ],
)
def test_bad_arguments_are_the_callers_fault(plan, arguments, message):
    with pytest.raises(ParameterError, match=message):
        secagg.run_round(plan, make_updates(plan.clients, 5), **arguments)


def test_bad_updates_name_the_client(plan):
    updates = make_updates(plan.clients, 5)
    with pytest.raises(ParameterError, match=r"'c2'.*clip the update"):
        secagg.run_round(plan, updates | {"c2": np.full(5, 100.0)})
    with pytest.raises(ParameterError, match="one common length"):
        secagg.run_round(plan, updates | {"c2": np.ones(4)})
    with pytest.raises(ParameterError, match="exactly the planned cohort"):
        secagg.run_round(plan, make_updates(plan.clients - 1, 5))


def test_bytes_add_up_to_the_transcript(plan):
    out = secagg.run_round(
        plan, make_updates(plan.clients, 50), vanish={"c3": "share_keys"}
    )
    assert sum(out.bytes_up_per_client.values()) + sum(
        out.bytes_down_per_client.values()
    ) == sum(len(wire.data) for wire in out.transcript.messages)
    assert out.bytes_up_per_client["c3"] < out.bytes_up_per_client["c0"]
    assert out.faults == ()


def test_different_contexts_give_no_sum(plan):
    updates = make_updates(plan.clients, 5)
    network = Network(plan, updates, contexts={"c1": secagg.context(b"other model")})
    server = network.run()
    with pytest.raises(IntegrityError, match="c1") as caught:
        server.result()
    assert caught.value.step == "masked_input"
    # It ended before any share was revealed, and every client knows.
    assert not [wire for wire in network.wires if wire.step == "unmask"]
    assert all(client.aborted for client in network.clients.values())


def test_different_contexts_give_noise_even_to_a_server_that_does_not_check(
    monkeypatch, plan
):
    from secagg.tally import Tally

    monkeypatch.setattr(Tally, "check_contexts", lambda self: None)
    contexts = {"c1": secagg.context(b"other model")}
    server = Network(plan, make_updates(plan.clients, 5), contexts=contexts).run()
    with pytest.raises(IntegrityError) as caught:
        server.result()
    assert caught.value.step == "unmask"


@pytest.mark.parametrize("graph", GRAPHS)
def test_masked_uploads_are_uniform_words(graph):
    # 1024 bins over 20 000 words of one client; chi-square with 1023 degrees of
    # freedom has mean 1023 and deviation 45: the bound is five deviations.
    encoder = Encoder(value_bits=24, weight_max=255)
    plan = secagg.plan(6, 1, 1, graph=graph, encoder=encoder)
    updates = {f"c{i}": np.zeros(20_000) for i in range(6)}
    out = secagg.run_round(plan, updates, seed=5)
    for upload in out.transcript.uploads().values():
        words = np.rint(upload.vector * encoder.scale).astype(np.int64)
        for shift in (0, encoder.ring_bits(6) - 10):
            counts = np.bincount((words >> shift) & 1023, minlength=1024)
            expected = len(words) / 1024
            statistic = float(((counts - expected) ** 2 / expected).sum())
            assert abs(statistic - 1023) < 5 * 45.3


def test_masks_are_not_reused_between_rounds_or_clients(plan):
    updates = {f"c{i}": np.zeros(50) for i in range(plan.clients)}
    seen = set()
    for session in (b"1", b"2"):
        out = secagg.run_round(plan, updates, seed=5, session=session, context=CONTEXT)
        for upload in out.transcript.uploads().values():
            seen.add(upload.vector.tobytes())
    assert len(seen) == 2 * plan.clients


def test_computing_time_is_that_of_all_threads(plan, monkeypatch):
    ticks = itertools.count()
    monkeypatch.setattr("time.process_time", lambda: float(next(ticks)))
    out = secagg.run_round(plan, make_updates(plan.clients, 3))
    charged = out.client_cpu_s * plan.clients + out.server_cpu_s
    assert charged == pytest.approx(next(ticks) - 1)
    assert min(out.client_cpu_s, out.server_cpu_s) > 0
