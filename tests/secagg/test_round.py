"""The whole protocol: exact sums over u3, or a typed abort, for every dropout."""

from fractions import Fraction
from itertools import combinations, product

import numpy as np
import pytest

import secagg
from secagg.encoder import Encoder
from secagg.errors import AbortError, IntegrityError, ParameterError
from secagg.invite import Step
from tests.secagg.harness import CONTEXT, Network, make_updates

STEPS = [str(step) for step in Step]


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


@pytest.mark.parametrize("n", [2, 3, 4, 5])
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


@pytest.mark.slow
def test_every_mixed_dropout_of_five_clients():
    updates = make_updates(5, 2)
    weights = dict.fromkeys(updates, 3)
    plan = secagg.plan(clients=5, corrupt=0, drop=3)
    for steps in product([None, *STEPS], repeat=5):
        vanish = {name: step for name, step in zip(updates, steps, strict=True) if step}
        check_dropouts(plan, updates, weights, vanish)


@pytest.mark.parametrize("value_bits", [4, 16, 24, 32])
def test_rings_of_every_word_size_work(value_bits):
    encoder = Encoder(value_bits=value_bits, weight_max=5)
    plan = secagg.plan(clients=6, corrupt=1, drop=2, encoder=encoder)
    updates = make_updates(6, 40, seed=value_bits)
    weights = dict(zip(updates, (1, 2, 3, 4, 5, 5), strict=True))
    out = secagg.run_round(
        plan, updates, weights=weights, vanish={"c2": "masked_input", "c4": "unmask"}
    )
    assert_is_the_mean(out, updates, weights, set(updates) - {"c2"})


def test_a_seed_repeats_the_round_bit_for_bit_and_none_does_not():
    plan = secagg.plan(clients=4, corrupt=1, drop=1)
    updates = make_updates(4, 5)

    def run(seed, session=b"s"):
        out = secagg.run_round(plan, updates, seed=seed, session=session)
        return [wire.data for wire in out.transcript.messages]

    assert run(1) == run(1)
    assert run(1) != run(2)
    assert run(1) != run(1, b"t")
    assert run(None) != run(None)


def test_the_order_of_the_updates_does_not_matter():
    plan = secagg.plan(clients=4, corrupt=1, drop=1)
    updates = make_updates(4, 5)
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
def test_bad_arguments_are_the_callers_fault(arguments, message):
    plan = secagg.plan(clients=4, corrupt=1, drop=1)
    with pytest.raises(ParameterError, match=message):
        secagg.run_round(plan, make_updates(4, 5), **arguments)


def test_bad_updates_name_the_client():
    plan = secagg.plan(clients=4, corrupt=1, drop=1)
    updates = make_updates(4, 5)
    with pytest.raises(ParameterError, match=r"'c2'.*clip the update"):
        secagg.run_round(plan, updates | {"c2": np.full(5, 100.0)})
    with pytest.raises(ParameterError, match="one common length"):
        secagg.run_round(plan, updates | {"c2": np.ones(4)})
    with pytest.raises(ParameterError, match="exactly the planned cohort"):
        secagg.run_round(plan, make_updates(3, 5))


def test_bytes_add_up_to_the_transcript():
    plan = secagg.plan(clients=4, corrupt=1, drop=1)
    out = secagg.run_round(plan, make_updates(4, 50), vanish={"c3": "share_keys"})
    assert sum(out.bytes_up_per_client.values()) + sum(
        out.bytes_down_per_client.values()
    ) == sum(len(wire.data) for wire in out.transcript.messages)
    assert out.bytes_up_per_client["c3"] < out.bytes_up_per_client["c0"]
    assert out.faults == ()


def test_different_contexts_give_no_sum():
    plan = secagg.plan(clients=4, corrupt=1, drop=1)
    updates = make_updates(4, 5)
    network = Network(plan, updates, contexts={"c1": secagg.context(b"other model")})
    server = network.run()
    with pytest.raises(IntegrityError, match="c1") as caught:
        server.result()
    assert caught.value.step == "masked_input"
    # It ended before any share was revealed, and every client knows.
    assert not [wire for wire in network.wires if wire.step == "unmask"]
    assert all(client.aborted for client in network.clients.values())


def test_different_contexts_give_noise_even_to_a_server_that_does_not_check(
    monkeypatch,
):
    from secagg.tally import Tally

    monkeypatch.setattr(Tally, "check_contexts", lambda self: None)
    plan = secagg.plan(clients=4, corrupt=1, drop=1)
    contexts = {"c1": secagg.context(b"other model")}
    server = Network(plan, make_updates(4, 5), contexts=contexts).run()
    with pytest.raises(IntegrityError) as caught:
        server.result()
    assert caught.value.step == "unmask"


def test_masked_uploads_are_uniform_words():
    # 1024 bins over 40 000 words of one client; chi-square with 1023 degrees of
    # freedom has mean 1023 and deviation 45: the bound is five deviations.
    encoder = Encoder(value_bits=24, weight_max=255)
    plan = secagg.plan(clients=3, corrupt=0, drop=0, encoder=encoder)
    updates = {f"c{i}": np.zeros(40_000) for i in range(3)}
    out = secagg.run_round(plan, updates, seed=5)
    for upload in out.transcript.uploads().values():
        words = np.rint(upload.vector * encoder.scale).astype(np.int64)
        for shift in (0, encoder.ring_bits(3) - 10):
            counts = np.bincount((words >> shift) & 1023, minlength=1024)
            expected = len(words) / 1024
            statistic = float(((counts - expected) ** 2 / expected).sum())
            assert abs(statistic - 1023) < 5 * 45.3


def test_masks_are_not_reused_between_rounds_or_clients():
    plan = secagg.plan(clients=3, corrupt=0, drop=0)
    updates = {f"c{i}": np.zeros(50) for i in range(3)}
    seen = set()
    for session in (b"1", b"2"):
        out = secagg.run_round(plan, updates, seed=5, session=session, context=CONTEXT)
        for upload in out.transcript.uploads().values():
            seen.add(upload.vector.tobytes())
    assert len(seen) == 6
