import numpy as np
import pytest

import secagg
from secagg.encoder import Encoder
from secagg.errors import DecodeError, ParameterError
from secagg.invite import Invite
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
        ({"clients": 1, "corrupt": 0, "drop": 0}, "must lie in 2"),
        ({"clients": 2**31, "corrupt": 0, "drop": 0}, "must lie in 2"),
        ({"clients": 1025, "corrupt": 0, "drop": 0}, "2..1024"),
        ({"clients": 10, "corrupt": 2, "drop": 7}, "use drop <= 6"),
        ({"clients": 10, "corrupt": 9, "drop": 1}, "invite at least 12 clients"),
        ({"clients": 10, "corrupt": -1, "drop": 1}, "corrupt=-1"),
        ({"clients": 10, "corrupt": 1, "drop": -1}, "drop=-1"),
        ({"clients": 10, "corrupt": 1.5, "drop": 1}, "fraction"),
        ({"clients": 10, "corrupt": True, "drop": 1}, "integer"),
        ({"clients": 10.0, "corrupt": 1, "drop": 1}, "integer"),
        (
            {"clients": 10, "corrupt": 1, "drop": 1, "threat": "honest"},
            "'semi_honest' or 'malicious_server'",
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


SPARSE = {"clients": 100, "corrupt": 5, "drop": 5}


def test_the_example_of_the_documentation_on_the_k_regular_graph():
    plan = secagg.plan(clients=1000, corrupt=0.05, drop=0.05)
    assert (plan.k, plan.t, plan.share_threshold) == (34, 18, 18)
    assert (plan.threshold, plan.honest_min) == (950, 900)
    assert (plan.sigma, plan.eta, plan.grinding_bits) == (40, 30, 0)
    sentence = str(plan)
    assert "34 neighbours each, threshold 18" in sentence
    assert "any 50 may vanish" in sentence and "any 50 clients" in sentence
    assert "at least 900 honest inputs" in sentence
    assert "2^-40" in sentence and "2^-30" in sentence
    assert sentence.count(". ") == 1


def test_production_numbers_come_out_of_plan_itself():
    found = {
        (n, threat): secagg.plan(n, 0.05, 0.05, threat, eta=20, graph="k-regular")
        for n in (100, 1000, 10**6)
        for threat in ("semi_honest", "malicious_server")
    }
    assert {at: (plan.k, plan.t) for at, plan in found.items()} == {
        (100, "semi_honest"): (12, 6),
        (1000, "semi_honest"): (30, 17),
        (10**6, "semi_honest"): (38, 22),
        (100, "malicious_server"): (16, 11),
        (1000, "malicious_server"): (52, 37),
        (10**6, "malicious_server"): (74, 52),
    }


def test_a_hundred_million_clients_can_be_planned():
    plan = secagg.plan(10**8, 0.05, 0.05)
    assert (plan.k, plan.t, plan.honest_min) == (50, 27, 9 * 10**7)
    assert plan.encoder.ring_bits(10**8) == 64 and plan.encoder.weight_max == 10_995
    hard = secagg.plan(10**8, 0.45, 0.45)
    assert hard.k > 6000 and 0.45 < hard.t / hard.k < 0.55


def test_a_server_that_grinds_costs_as_much_as_a_larger_sigma():
    ground = secagg.plan(1000, 50, 50, grinding_bits=20)
    strict = secagg.plan(1000, 50, 50, sigma=60)
    assert (ground.k, ground.t) == (strict.k, strict.t) > (34, 18)


def test_auto_takes_the_k_regular_graph_where_it_halves_the_neighbours():
    assert secagg.plan(63, 1, 1).complete
    assert secagg.plan(1000, 0, 50).complete  # nobody is corrupt
    assert secagg.plan(100, 0.45, 0.45).complete  # k would be 92
    assert secagg.plan(100, 5, 5).k == 12
    assert secagg.plan(100, 5, 5, graph="complete").k == 99
    assert secagg.plan(7, 1, 2, graph="k-regular").k == 4


@pytest.mark.parametrize("corrupt", [0, 0.0])
def test_a_sparse_graph_without_colluders_is_refused(corrupt):
    with pytest.raises(ParameterError, match=r"corrupt=0 is refused.*corrupt >= 1"):
        secagg.plan(1000, corrupt, 50, graph="k-regular")
    with pytest.raises(ParameterError, match="corrupt=0"):
        Plan(clients=1000, corrupt=0, drop=50, k=2, t=2)


@pytest.mark.parametrize(
    ("arguments", "cure"),
    [
        ({"drop": 93, "graph": "k-regular"}, "use drop <= 92 or graph='complete'"),
        ({"clients": 3, "corrupt": 1, "drop": 0, "graph": "k-regular"}, "complete"),
        ({"clients": 5000, "corrupt": 2500, "drop": 2498}, r"use drop <= 2497\."),
        ({"clients": 1025, "corrupt": 0, "drop": 0}, "smaller cohort.*corrupt >= 1"),
        ({"graph": "ring"}, "'auto', 'complete', 'k-regular'"),
        ({"sigma": 0, "graph": "k-regular"}, "sigma=0 must lie in 1..128"),
        ({"eta": 129, "graph": "k-regular"}, "eta=129"),
        ({"eta": 30.0, "graph": "k-regular"}, "eta=30.0 must be an integer"),
        ({"grinding_bits": -1, "graph": "k-regular"}, "grinding_bits=-1"),
        (
            {"drop": 48, "graph": "complete", "threat": "malicious_server"},
            "use drop <= 46",
        ),
    ],
)
def test_infeasible_requests_say_why_and_what_to_change(arguments, cure):
    with pytest.raises(ParameterError, match=cure) as caught:
        secagg.plan(**SPARSE | arguments)
    assert str(caught.value).count(". ") == 0 and str(caught.value).endswith(".")


def test_the_cure_for_too_many_dropouts_is_the_exact_limit():
    with pytest.raises(ParameterError, match="use drop <= 92 "):
        secagg.plan(**SPARSE | {"drop": 93}, graph="k-regular")
    secagg.plan(**SPARSE | {"drop": 92}, graph="k-regular")


@pytest.mark.parametrize("n", range(4, 12))
def test_no_plan_lets_a_lying_server_split_the_complete_graph(n):
    for corrupt in range(n - 1):
        for drop in range(n - 1 - corrupt):
            holders, t = n - 1, n - 1 - drop
            # Half of the honest holders may be told one thing, half the other.
            safe = 2 * t > holders + corrupt
            arguments = {"threat": "malicious_server", "graph": "complete"}
            if not safe:
                with pytest.raises(ParameterError, match="two halves"):
                    secagg.plan(n, corrupt, drop, **arguments)
                continue
            plan = secagg.plan(n, corrupt, drop, **arguments)
            assert plan.t == t and plan.honest_min == n - drop - corrupt
            assert "even if the server lies" in str(plan)


def test_the_honest_inputs_under_a_lying_server_do_not_count_on_the_graph():
    plan = secagg.plan(1000, 50, 50, threat="malicious_server")
    assert (plan.k, plan.t) == (62, 43)
    # 2 t = 86 is the first even number above k + X, X colluding neighbours at most;
    # a client and t - X honest neighbours are in one sum.
    assert (
        2 * plan.t - plan.k - 2 <= 43 + 1 - plan.honest_min <= 2 * plan.t - plan.k - 1
    )
    assert plan.honest_min == 22 and "at least 22 honest inputs" in str(plan)


def test_plans_against_a_lying_server_and_for_huge_cohorts_cannot_run():
    lying = secagg.plan(10, 1, 1, threat="malicious_server")
    huge = secagg.plan(10**5, 0.05, 0.05)
    for plan, cure in ((lying, "threat='semi_honest'"), (huge, "at most 65535")):
        for use in (
            plan.encode,
            plan.digest,
            plan.require_runnable,
            lambda plan=plan: secagg.Client(plan, Policy(), me="a"),
            lambda plan=plan: Invite(b"s", plan, ("a",), 1),
            lambda plan=plan: secagg.Server(
                plan, ["a"] * plan.clients, session=b"s", length=1
            ),
        ):
            with pytest.raises(ParameterError, match=cure):
                use()


def test_degrees_that_are_not_of_the_bounds_cannot_be_written_by_hand():
    good = secagg.plan(**SPARSE)
    assert Plan(**SPARSE, k=12, t=6) == good and (good.k, good.t) == (12, 6)
    assert Plan(**SPARSE, k=14, t=6).k == 14  # more neighbours than needed
    for k, t in ((12, 5), (12, 8), (10, 6), (13, 6), (98, 5), (-2, 1), (99, 6)):
        with pytest.raises(ParameterError, match=r"secagg\.plan|leave k and t out"):
            Plan(**SPARSE, k=k, t=t)
    with pytest.raises(ParameterError, match="integer"):
        Plan(**SPARSE, k=12, t=6.0)


def test_nothing_is_left_to_chance_on_the_complete_graph():
    plan = secagg.plan(10, 2, 3, sigma=80, eta=70, grinding_bits=3)
    assert (plan.k, plan.t) == (9, 6)
    assert (plan.sigma, plan.eta, plan.grinding_bits) == (None, None, None)
    assert plan == Plan(clients=10, corrupt=2, drop=3)


def test_the_digest_covers_every_field_of_a_k_regular_plan():
    base = secagg.plan(**SPARSE)
    others = [
        secagg.plan(**SPARSE | {"clients": 101}),
        secagg.plan(**SPARSE | {"corrupt": 4}),
        secagg.plan(**SPARSE | {"drop": 4}),
        secagg.plan(**SPARSE, sigma=39),
        secagg.plan(**SPARSE, eta=29),
        secagg.plan(**SPARSE, grinding_bits=1),
        secagg.plan(**SPARSE, encoder=Encoder(value_bits=20)),
        Plan(**SPARSE, k=14, t=6),
        Plan(**SPARSE, k=14, t=7),
        secagg.plan(**SPARSE, graph="complete"),
    ]
    assert len({plan.digest() for plan in (base, *others)}) == 11
    for plan in (base, *others):
        assert decode_plan(plan.encode()) == plan


@pytest.mark.parametrize("at", range(35))
def test_tampered_k_regular_plans_are_refused_or_differ(at):
    plan = secagg.plan(**SPARSE)
    for change in (0xFF, 1):
        data = bytearray(plan.encode())
        assert len(data) == 35
        data[at] ^= change
        try:
            assert decode_plan(bytes(data)) != plan
        except DecodeError:
            pass
    for wrong in (data[:-1], data[:1], bytes(data) + b"\0"):
        with pytest.raises(DecodeError):
            decode_plan(bytes(wrong))


def test_a_complete_graph_in_the_bytes_of_a_k_regular_one_is_refused():
    data = bytearray(secagg.plan(**SPARSE).encode())
    data[14:18] = (99).to_bytes(2, "little") + (94).to_bytes(2, "little")
    with pytest.raises(DecodeError, match="canonical"):
        decode_plan(bytes(data))


@pytest.mark.parametrize("at", range(22))
def test_tampered_plans_are_refused_or_differ(at):
    plan = secagg.plan(clients=10, corrupt=2, drop=3)
    data = bytearray(plan.encode())
    assert len(data) == 22
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


def test_policy_refuses_a_k_regular_plan_that_fails_too_often():
    weak = secagg.plan(**SPARSE, sigma=39)
    with pytest.raises(ParameterError, match="policy asks for min_sigma=40"):
        Policy().check(weak)
    Policy(min_sigma=39).check(weak)
    Policy(min_sigma=128).check(secagg.plan(10, 2, 3))  # nothing is left to chance
    for exponent in (0, 129, 40.0):
        with pytest.raises(ParameterError, match="min_sigma"):
            Policy(min_sigma=exponent)


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


@pytest.mark.parametrize("plan", [secagg.plan(10, 2, 3), secagg.plan(**SPARSE)])
def test_a_plan_of_another_version_is_refused_with_the_cure(plan):
    for version in (plan.encode()[0] - 1, plan.encode()[0] + 1, 0xFF):
        with pytest.raises(DecodeError, match="use one release everywhere"):
            decode_plan(bytes([version]) + plan.encode()[1:])
