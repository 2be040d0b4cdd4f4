import numpy as np
import pytest

import secagg
from secagg.encoder import Encoder
from secagg.errors import DecodeError, ParameterError
from secagg.params import Plan, decode_plan
from secagg.policy import Policy


def test_the_example_of_the_documentation():
    plan = secagg.plan(clients=10, corrupt=2, drop=3)
    assert (plan.threshold, plan.honest_min, plan.share_threshold) == (7, 5, 6)
    sentence = str(plan)
    assert "any 3 may vanish" in sentence and "any 2 clients" in sentence
    assert "at least 5 honest inputs" in sentence


@pytest.mark.parametrize("n", range(2, 12))
def test_every_accepted_plan_keeps_both_secrets_from_the_colluders(n):
    for corrupt in range(n + 1):
        for drop in range(n + 1):
            if n - drop - corrupt < 2:
                with pytest.raises(ParameterError):
                    Plan(clients=n, corrupt=corrupt, drop=drop)
                continue
            plan = Plan(clients=n, corrupt=corrupt, drop=drop)
            # Colluders hold `corrupt` shares of each kind of an honest client's
            # secrets; one more honest share than that is always needed.
            assert plan.share_threshold > corrupt
            # The others of the fewest remaining clients still suffice.
            assert plan.threshold - 1 >= plan.share_threshold
            assert decode_plan(plan.encode()) == plan


def test_corrupt_has_no_default_and_zero_must_be_written():
    with pytest.raises(TypeError):
        secagg.plan(clients=10, drop=1)
    with pytest.raises(ParameterError, match="pass corrupt=1"):
        secagg.plan(clients=10, corrupt=0.05, drop=1)
    alone = secagg.plan(clients=10, corrupt=0, drop=1)
    assert "the server alone" in str(alone)


def test_fractions_are_of_the_decimal_that_was_written():
    plan = secagg.plan(clients=100, corrupt=0.29, drop=0.07)
    assert (plan.corrupt, plan.drop) == (29, 7)
    assert secagg.plan(clients=10, corrupt=0.1, drop=0.05).drop == 0


@pytest.mark.parametrize(
    ("arguments", "cure"),
    [
        ({"clients": 1, "corrupt": 0, "drop": 0}, "2..1024"),
        ({"clients": 1025, "corrupt": 0, "drop": 0}, "2..1024"),
        ({"clients": 10, "corrupt": 2, "drop": 7}, "use drop <= 6"),
        ({"clients": 10, "corrupt": 9, "drop": 1}, "invite at least 12 clients"),
        ({"clients": 10, "corrupt": -1, "drop": 1}, "corrupt=-1"),
        ({"clients": 10, "corrupt": 1, "drop": -1}, "drop=-1"),
        ({"clients": 10, "corrupt": 1.5, "drop": 1}, "fraction"),
        ({"clients": 10, "corrupt": True, "drop": 1}, "integer"),
        ({"clients": 10.0, "corrupt": 1, "drop": 1}, "integer"),
        (
            {"clients": 10, "corrupt": 1, "drop": 1, "threat": "malicious_server"},
            "semi_honest",
        ),
    ],
)
def test_refusals_name_the_cure(arguments, cure):
    with pytest.raises(ParameterError, match=cure):
        secagg.plan(**arguments)


def test_plan_refuses_an_encoder_whose_ring_is_too_wide():
    wide = Encoder(value_bits=32, weight_max=2**32 - 1)
    with pytest.raises(ParameterError, match="more than 64"):
        secagg.plan(clients=4, corrupt=0, drop=0, encoder=wide)


def test_digest_changes_with_every_field():
    base = {"clients": 10, "corrupt": 2, "drop": 3}
    changes = [
        {},
        {"clients": 11},
        {"corrupt": 1},
        {"drop": 2},
        {"encoder": Encoder(clip_norm_l2=8)},
        {"encoder": Encoder(value_bits=20)},
        {"encoder": Encoder(weight_max=10)},
    ]
    assert len({secagg.plan(**base | change).digest() for change in changes}) == 7


@pytest.mark.parametrize("at", range(21))
def test_tampered_plans_are_refused_or_differ(at):
    plan = secagg.plan(clients=10, corrupt=2, drop=3)
    data = bytearray(plan.encode())
    assert len(data) == 21
    data[at] ^= 0xFF
    try:
        assert decode_plan(bytes(data)) != plan
    except DecodeError:
        pass
    with pytest.raises(DecodeError):
        decode_plan(bytes(data[:-1]))


@pytest.mark.parametrize(
    "policy",
    [
        Policy(min_clients=11),
        Policy(min_threshold=8),
        Policy(min_honest=6),
        Policy(max_clip_norm_l2=15.0),
        Policy(max_weight=100),
    ],
)
def test_policy_refuses_each_broken_floor(policy):
    plan = secagg.plan(clients=10, corrupt=2, drop=3)
    Policy(min_clients=10, min_threshold=7, min_honest=5).check(plan)
    with pytest.raises(ParameterError, match="policy"):
        policy.check(plan)


@pytest.mark.parametrize(
    "arguments",
    [
        {"min_clients": 1},
        {"min_threshold": 0},
        {"min_honest": 1},
        {"roster": {"a": b"short"}},
    ],
)
def test_policy_refuses_floors_without_meaning(arguments):
    with pytest.raises(ParameterError):
        Policy(**arguments)


def test_policy_roster_cannot_be_changed_afterwards():
    roster = {"a": bytes(32)}
    policy = Policy(roster=roster)
    roster["b"] = bytes(32)
    assert set(policy.roster) == {"a"}
    with pytest.raises(TypeError):
        policy.roster["b"] = bytes(32)


def test_contexts_are_injective_in_their_parts():
    assert secagg.context(b"ab", b"c") != secagg.context(b"a", b"bc")
    assert secagg.context(b"a") != secagg.context(b"a", b"")
    for bad in ((), ("a",), (np.zeros(1),)):
        with pytest.raises(ParameterError):
            secagg.context(*bad)
