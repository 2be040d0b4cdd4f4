"""The ledger stands before every release, and the noise is there that it counts."""

from __future__ import annotations

import math
from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch.nn import functional

import dp
import fl.course
from fl import privacy
from fl.config import Config
from fl.federation import Client, Federation
from fl.models import build, load_vector
from fl.round import draw_cohort, local_updates
from fl.run import Account, RunRecord
from fl.updates import private_recipe
from tests.fl import tiny

CENTRAL = ("central-dp", "secagg+central-dp")
NOISED = ("dp-sgd", *CENTRAL)
HALF = (
    "federation.clients=8",
    "federation.participation=0.5",
    "federation.corrupt=0",
    "training.rounds=6",
)
WIDE = "model.hidden=[400]"  # 4003 parameters: deviations are known to 1.1 %


def _cohorts(fed: Federation, settings: Config) -> list[list[str]]:
    return [
        [c.name for c in draw_cohort(fed, settings, seed=0, index=index)]
        for index in range(settings.training.rounds)
    ]


def _accounts(run: RunRecord) -> dict[str, Account]:
    return {one.party: one for one in run.accounts}


def test_a_client_that_used_up_its_rounds_is_refused_and_sits_out() -> None:
    settings = tiny.config(*HALF, "privacy.example.rounds=2")
    run, fed = tiny.trained(settings, "dp-sgd")
    joined: Counter[str] = Counter()
    for index, cohort in enumerate(_cohorts(fed, settings)):
        admitted = {name for name in cohort if joined[name] < 2}
        joined.update(cohort)
        assert run.rounds[index].survivors == len(admitted)
        assert run.rounds[index].aborted == (not admitted)
        for snapshot in run.snapshots:
            if snapshot.index == index:
                assert set(snapshot.updates) == admitted
    assert max(joined.values()) > 2, "nobody would have been refused"
    accounts = _accounts(run)
    assert set(accounts) == set(joined)
    for name, rounds in joined.items():
        assert accounts[name].releases == min(rounds, 2)
        assert accounts[name].refused == max(rounds - 2, 0)
        assert accounts[name].unit == "example"


@pytest.mark.parametrize("name", NOISED)
def test_nobody_spends_more_than_the_budget(name: str) -> None:
    settings = tiny.config(*HALF, "privacy.epsilon=3.0", "privacy.example.steps=2")
    run, _ = tiny.trained(settings, name)
    spent = [one.epsilon for one in run.accounts]
    assert 0 < max(spent) <= 3.0
    course = [one.epsilon for one in run.rounds if one.epsilon is not None]
    assert len(course) == settings.training.rounds
    assert all(before <= after for before, after in pairwise(course))
    assert max(spent) <= course[-1] * (1 + 1e-9)
    if name != "dp-sgd":
        (account,) = run.accounts
        assert (account.party, account.releases) == (privacy.EVERYBODY, 6)
        # The least noise: the last planned release uses the budget up.
        assert account.epsilon > 2.97


def test_steps_of_one_round_are_spent_one_by_one() -> None:
    settings = tiny.config("privacy.example.steps=3", "training.rounds=2")
    run, _ = tiny.trained(settings, "dp-sgd")
    assert {one.releases for one in run.accounts} == {6}


@pytest.mark.parametrize("name", ["none", "secagg", "he-bfv"])
def test_without_noise_there_is_no_account(name: str) -> None:
    run, _ = tiny.trained(tiny.config("training.rounds=1"), name)
    assert run.accounts == ()
    assert run.rounds[0].epsilon is None


@pytest.mark.parametrize("name", NOISED)
def test_a_round_is_paid_for_before_it_is_played(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = tiny.config()
    opened: list[dp.Ledger] = []
    paid: list[int] = []
    real_ledger, real_round = privacy.ledger, fl.course.run_one

    def ledger(unit: str, relation: str, config: Config) -> dp.Ledger:
        opened.append(real_ledger(unit, relation, config))
        return opened[-1]

    def run_one(*given: object, **named: object) -> object:
        paid.append(sum(entry.count for entry in opened[0].entries()))
        return real_round(*given, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(privacy, "ledger", ledger)
    monkeypatch.setattr(fl.course, "run_one", run_one)
    tiny.trained(settings, name)
    each = 5 if name == "dp-sgd" else 1
    assert paid == [each, 2 * each, 3 * each]


@pytest.mark.parametrize("name", NOISED)
def test_a_budget_that_does_not_last_refuses_rounds_and_the_model_stays(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = tiny.config()
    event = tiny.protection(name, settings).event(100)
    assert event is not None
    lasting = dp.Ledger(dp.Budget(epsilon=1e6, delta=1e-5), unit="example")
    lasting.spend("anybody", event)
    budget = dp.Budget(epsilon=lasting.epsilon("anybody") * 1.01, delta=1e-5)
    monkeypatch.setattr(
        privacy, "ledger", lambda unit, relation, _: dp.Ledger(budget, unit=unit)
    )
    run, _ = tiny.trained(settings, name)
    assert [one.aborted for one in run.rounds] == [False, True, True]
    assert [one.survivors for one in run.rounds] == [5, 0, 0]
    assert len({one.accuracy for one in run.rounds}) == 1
    assert len({one.loss for one in run.rounds}) == 1
    (snapshot,) = run.snapshots
    np.testing.assert_array_equal(run.final, snapshot.before + snapshot.released)
    assert {(one.releases, one.refused) for one in run.accounts} == {(1, 2)}


@pytest.mark.parametrize("name", CENTRAL)
@pytest.mark.parametrize("rate", [1.0, 0.5])
def test_the_servers_noise_has_the_deviation_that_the_ledger_counts(
    name: str, rate: float
) -> None:
    settings = tiny.config(
        WIDE,
        "federation.clients=8",
        f"federation.participation={rate}",
        "privacy.client.clip_norm_l2=0.5",
    )
    run, _ = tiny.trained(settings, name)
    central = tiny.protection(name, settings).central
    assert central is not None
    wanted = central.noise_multiplier * 0.5 / (rate * 8)
    noises = []
    for snapshot in run.snapshots:
        inside = snapshot.aggregate.survivors
        total = np.sum([snapshot.updates[n].astype(float) for n in inside], axis=0)
        noises.append(snapshot.released - total / (rate * 8))
        assert noises[-1].std() == pytest.approx(wanted, rel=0.05)
        assert abs(noises[-1].mean()) < 5 * wanted / math.sqrt(len(total))
    for one, other in pairwise(noises):
        assert abs(np.corrcoef(one, other)[0, 1]) < 5 / math.sqrt(len(one))


def _clipped_sum(client: Client, model: torch.nn.Module, bound: float) -> np.ndarray:
    """The sum of the clipped gradients of single records, the slow way."""
    total = 0.0
    for x, y in zip(client.x, client.y, strict=True):
        loss = functional.cross_entropy(model(x[None]), y[None])
        parts = torch.autograd.grad(loss, list(model.parameters()))
        one = torch.cat([part.flatten() for part in parts]).double().numpy()
        total = total + one * min(1.0, bound / float(np.linalg.norm(one)))
    return np.asarray(total)


def test_a_clients_noise_has_the_deviation_that_its_ledger_counts() -> None:
    settings = tiny.config(
        WIDE,
        "privacy.example.clip_norm_l2=0.3",
        "privacy.example.batch_size=10",
        "privacy.example.learning_rate=0.7",
    )
    fed = tiny.federation(settings)
    protection = tiny.protection("dp-sgd", settings)
    assert protection.example is not None
    model = build(settings.model, fed.input_shape, fed.classes, 3)
    before = tiny.trained(settings, "none")[0].snapshots[0].before
    wanted = 0.7 / 10 * protection.example.noise_multiplier * 0.3
    noises = []
    for client in fed.clients[:2]:
        update = local_updates(
            model, before, [client], protection, settings, seed=0, index=0
        )[client.name]
        load_vector(model, before)
        exact = -0.7 / 10 * _clipped_sum(client, model, 0.3)
        noises.append(update - exact)
        assert noises[-1].std() == pytest.approx(wanted, rel=0.05)
        assert np.linalg.norm(update) < settings.training.clip_norm_l2
    assert abs(np.corrcoef(*noises)[0, 1]) < 5 / math.sqrt(len(noises[0]))


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_noisy_steps_take_the_optimiser_of_their_own_section(optimizer: str) -> None:
    own = tiny.config(
        f"privacy.example.optimizer={optimizer!r}",
        "privacy.example.learning_rate=0.01",
        "training.optimizer='adam'",
    )
    fed, protection = tiny.federation(own), tiny.protection("dp-sgd", own)
    model = build(own.model, fed.input_shape, fed.classes, 3)
    before = tiny.trained(own, "none")[0].snapshots[0].before
    one = fed.clients[0]
    found = local_updates(model, before, [one], protection, own, seed=0, index=0)
    # The first step of Adam is as long as its rate in every coordinate.
    is_adam = np.allclose(np.abs(found[one.name]), 0.01, rtol=1e-3)
    assert is_adam == (optimizer == "adam")
    assert private_recipe(protection.example).rule.momentum == 0.0
    fast = tiny.protection("dp-sgd", tiny.config("privacy.example.momentum=0.9"))
    assert private_recipe(fast.example).rule.momentum == 0.9


@pytest.mark.parametrize("name", CENTRAL)
def test_updates_that_were_not_clipped_are_never_released(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = tiny.config("privacy.client.clip_norm_l2=0.01")
    run, _ = tiny.trained(settings, name)
    for snapshot in run.snapshots:
        for update in snapshot.updates.values():
            assert 0.0099 < np.linalg.norm(update.astype(float)) <= 0.01
    real = dp.clip_l2
    monkeypatch.setattr(dp, "clip_l2", lambda vector, _: real(vector, 1e6))
    with pytest.raises(ValueError):
        tiny.trained(settings, name)


def test_the_weight_of_a_client_is_public_where_its_records_are_not() -> None:
    settings = tiny.config("training.rounds=1", "federation.partition=dirichlet")
    for name in NOISED:
        run, _ = tiny.trained(settings, name)
        assert set(run.snapshots[0].weights.values()) == {1}
    run, fed = tiny.trained(settings, "none")
    sizes = {client.name: client.records for client in fed.clients}
    assert run.snapshots[0].weights == sizes
    assert len(set(sizes.values())) > 1
