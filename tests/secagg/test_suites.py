"""A plan's suite says graph and cipher; suites do not mix, and policies choose."""

from itertools import product

import numpy as np
import pytest

import secagg
from secagg import masks, usage
from secagg.errors import DecodeError, ParameterError
from secagg.invite import Invite
from secagg.keys import Secret
from secagg.params import PLAN_BYTES, decode_plan
from secagg.ring import Ring
from secagg.usage import CIPHERS, SUITE_BYTES, SUITES
from tests.secagg.harness import CONTEXT, Network, make_updates, open_policy

PLANS = {
    (graph, cipher): secagg.plan(n, 1, 1, graph=graph, cipher=cipher)
    for (graph, n), cipher in product((("complete", 4), ("k-regular", 6)), CIPHERS)
}


def test_every_graph_with_every_cipher_is_a_suite_of_its_own():
    numbers = {plan.encode()[1] for plan in PLANS.values()}
    assert numbers == set(SUITES) == set(PLAN_BYTES) and len(numbers) == len(PLANS)
    assert {suite: number for number, suite in SUITES.items()} == SUITE_BYTES


@pytest.mark.parametrize("plan", PLANS.values(), ids=map(str, PLANS))
def test_a_plan_in_bytes_names_its_cipher(plan):
    data = plan.encode()
    assert decode_plan(data) == plan
    cipher = SUITES[data[1]].cipher
    assert cipher == plan.cipher
    for number in set(SUITES) - {data[1]}:
        changed = data[:1] + bytes([number]) + data[2:]
        if len(data) != PLAN_BYTES[number]:
            with pytest.raises(DecodeError):
                decode_plan(changed)
        else:
            assert decode_plan(changed).cipher != plan.cipher
            assert decode_plan(changed).digest() != plan.digest()


@pytest.mark.parametrize("number", [0, 5, 255])
def test_an_unknown_suite_is_refused(number):
    data = PLANS["complete", CIPHERS[0]].encode()
    with pytest.raises(DecodeError, match=r"suite in 1\.\.4"):
        decode_plan(data[:1] + bytes([number]) + data[2:])


@pytest.mark.parametrize("cipher", ["", "aes-128-ctr", "CHACHA20", None])
def test_a_cipher_that_is_none_is_refused(cipher):
    with pytest.raises(ParameterError) as caught:
        secagg.plan(4, 1, 1, cipher=cipher)
    assert caught.value.argument == "cipher"


@pytest.mark.parametrize("plan", PLANS.values(), ids=map(str, PLANS))
def test_sums_are_right_with_every_suite_and_a_dropout(plan):
    updates = make_updates(plan.clients, 40)
    out = secagg.run_round(plan, updates, vanish={"c2": "masked_input"}, seed=3)
    left = [vector for name, vector in updates.items() if name != "c2"]
    assert np.abs(out.mean - np.mean(left, axis=0)).max() <= out.max_error


def test_masks_of_two_suites_never_cancel():
    """Not by the cipher, and not by the keys: the suite is in the round's id."""
    ids = [
        Invite(b"session", PLANS["complete", cipher], ("a", "b", "c", "d"), 5).round_id
        for cipher in CIPHERS
    ]
    assert ids[0] != ids[1]
    agreed, ring = Secret(b"s" * 32), Ring(40)

    def masked(me, round_id, cipher):
        binding = masks.Binding(round_id, b"k" * 32)
        key = masks.pair_key(agreed, pair=(0, 1), binding=binding, context=CONTEXT)
        words = ring.zeros(50)
        masks.add_masks(
            words, me=me, own=Secret(b"0" * 32), pairs={1 - me: key}, cipher=cipher
        )
        masks.remove_all(words, [(Secret(b"0" * 32), 1)], cipher=cipher)
        return words

    one = masked(0, ids[0], CIPHERS[0])
    assert not (one + masked(1, ids[0], CIPHERS[0])).any()
    for round_id, cipher in [(ids[1], CIPHERS[0]), (ids[0], CIPHERS[1])]:
        noise = one + masked(1, round_id, cipher)
        assert len(np.unique(noise)) == len(noise)


def test_a_client_refuses_a_round_under_another_suite():
    plan, other = (PLANS["complete", cipher] for cipher in CIPHERS)
    updates = make_updates(4, 5)
    client = secagg.Client(other, open_policy(other), me="c1")
    network = Network(plan, updates, clients={"c1": client})
    assert network.run().result().survivors == set(updates) - {"c1"}
    assert "plan other than agreed" in str(client.fault)


def test_a_policy_allows_the_ciphers_it_names():
    plan = PLANS["complete", usage.CHACHA20]
    open_policy(plan).check(plan)
    open_policy(plan, ciphers={usage.CHACHA20}).check(plan)
    with pytest.raises(ParameterError, match="cipher='chacha20'"):
        open_policy(plan, ciphers=frozenset({usage.AES_256_CTR})).check(plan)


@pytest.mark.parametrize("ciphers", [(), "chacha20", {"rot13"}])
def test_a_policy_without_a_known_cipher_cannot_be_built(ciphers):
    with pytest.raises(ParameterError) as caught:
        secagg.Policy(ciphers=ciphers)
    assert caught.value.argument in ("ciphers", "cipher")
