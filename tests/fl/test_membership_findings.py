"""Membership attacks on a run's models: no bit before scoring, shadows told apart."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from numpy.typing import NDArray

import attacks
from attacks import Adversary
from attacks.membership import ATTACKS, Shadowing
from fl import membership
from fl.attack_settings import MembershipName
from fl.config import Config
from fl.data import Dataset
from fl.errors import ConfigError
from fl.federation import Federation
from fl.finding import Finding, Group, Missing, Ranking
from fl.membership import LIRA, LOSS, Shadows, train_shadows
from fl.membership.targets import over_rounds
from fl.progress import Silent
from fl.run import RunRecord
from fl.shadows import FederatedTrainer
from fl.shots import WORST_CASE
from fl.verdict import decide
from tests.fl import tiny

# One pass after another over few records with random labels: only memory helps.
MEMORISING = (
    "training.rounds=30",
    "training.local_epochs=3",
    "training.learning_rate=0.5",
    "model.hidden=[48]",
)


def _random_labels(records: int = 120) -> Dataset:
    raw = tiny.dataset(records=records, features=16)
    rng = np.random.default_rng(5)
    return replace(
        raw,
        features=rng.random(raw.features.shape).astype(np.float32),
        labels=rng.permutation(raw.labels),
    )


def _no_shadows() -> Missing:
    return Missing(metric="AUC", why="not trained in this test.")


def _findings(
    runs: list[tuple[RunRecord, Federation]],
    settings: Config,
    name: str,
    shadows: Shadows | Missing,
) -> list[Finding]:
    return membership.findings(runs, tiny.protection(name, settings), shadows, settings)


def _ranking(found: list[Finding], attack: str, view: str) -> Ranking:
    measure = next(f for f in found if f.attack == attack and f.view == view).measures[
        0
    ]
    assert isinstance(measure, Ranking)
    return measure


@pytest.fixture(scope="module")
def memorised() -> tuple[Config, list[tuple[RunRecord, Federation]]]:
    settings = tiny.config(*MEMORISING)
    raw = _random_labels()
    return settings, [
        tiny.trained(settings, "none", seed=seed, raw=raw) for seed in (0, 1)
    ]


def _verdict(ranking: Ranking) -> tuple[float, float, float]:
    finding = Finding(
        protection="none",
        adversary=Adversary.OUTSIDER,
        view="released model",
        scenario="as configured",
        attack=LOSS,
        measures=(ranking,),
        seeds=(0,),
    )
    (row,) = decide([finding], seed=0)
    assert row.low is not None and row.high is not None and row.value is not None
    return row.value, row.low, row.high


def test_a_model_that_memorises_is_found_out(
    memorised: tuple[Config, list[tuple[RunRecord, Federation]]],
) -> None:
    settings, runs = memorised
    found = _findings(runs, settings, "none", _no_shadows())
    value, low, _ = _verdict(_ranking(found, LOSS, "released model"))
    assert value > 0.8
    assert low > 0.5


def test_shuffled_membership_bits_are_not_told_apart(
    memorised: tuple[Config, list[tuple[RunRecord, Federation]]],
) -> None:
    settings, runs = memorised
    found = _findings(runs, settings, "none", _no_shadows())
    rng = np.random.default_rng(0)
    shuffled = Ranking(
        groups=tuple(
            Group(
                scores=group.scores,
                members=rng.permutation(group.members),
                records=group.records,
            )
            for group in _ranking(found, LOSS, "released model").groups
        )
    )
    _, low, high = _verdict(shuffled)
    assert low < 0.5 < high


def test_members_are_the_trainers_records_and_the_rest_is_held_out(
    memorised: tuple[Config, list[tuple[RunRecord, Federation]]],
) -> None:
    settings, runs = memorised
    found = _findings(runs, settings, "none", _no_shadows())
    for group, (_, fed) in zip(
        _ranking(found, LOSS, "released model").groups, runs, strict=True
    ):
        assert set(group.records[group.members]) == set(fed.train_ids)
        assert set(group.records[~group.members]) == set(fed.held_out.ids)
    own = _ranking(found, LOSS, "one client's model").groups
    honest = [
        set(client.ids.tolist())
        for _, fed in runs
        for client in fed.clients
        if client.name not in {one.name for one in fed.colluders(1)}
    ]
    assert [set(group.records[group.members].tolist()) for group in own] == honest
    sets = [set(fed.held_out.ids.tolist()) for _, fed in runs for _ in range(4)]
    for group, held_out in zip(own, sets, strict=True):
        assert set(group.records[~group.members].tolist()) <= held_out


def test_a_clients_non_members_have_the_mix_of_classes_of_its_members() -> None:
    # Labels alone must not tell who was a member: a skewed client stands out else.
    settings = tiny.config("federation.partition=dirichlet", "federation.alpha=0.5")
    run, fed = tiny.trained(settings, "none", raw=tiny.dataset(records=600))
    found = _findings([(run, fed)], settings, "none", _no_shadows())
    labels = fed.dataset.labels
    for group in _ranking(found, LOSS, "one client's model").groups:
        mixes = [
            np.bincount(labels[group.records[side]], minlength=3) / side.sum()
            for side in (group.members, ~group.members)
        ]
        assert np.abs(mixes[0] - mixes[1]).max() < 0.1


def test_scores_do_not_depend_on_who_was_a_member(
    memorised: tuple[Config, list[tuple[RunRecord, Federation]]],
) -> None:
    settings, runs = memorised
    # The same model, with members and held-out records declared the other way round.
    run, fed = runs[0]
    other = replace(
        fed,
        clients=(fed.clients[0].take(np.arange(3)),),
        held_out=replace(fed.held_out, ids=fed.train_ids),
    )
    groups = [
        _ranking(
            _findings([(run, one)], settings, "none", _no_shadows()),
            LOSS,
            "released model",
        ).groups[0]
        for one in (fed, other)
    ]
    scores = [
        dict(zip(g.records.tolist(), g.scores.tolist(), strict=True)) for g in groups
    ]
    for record in set(scores[0]) & set(scores[1]):
        assert scores[0][record] == scores[1][record]


def test_under_masks_only_colluders_see_more_than_the_released_model() -> None:
    settings = tiny.config()
    runs = [tiny.trained(settings, "secagg")]
    found = _findings(runs, settings, "secagg", _no_shadows())
    views = {(f.adversary, f.view) for f in found if f.attack == LOSS}
    assert views == {
        (Adversary.OUTSIDER, "released model"),
        (Adversary.CLIENT, "released model"),
        (Adversary.SERVER, "released model"),
        (Adversary.SERVER_PLUS, "released model"),
        (Adversary.SERVER_PLUS, "the honest clients' sum"),
    }
    ((group,)) = _ranking(found, LOSS, "the honest clients' sum").groups
    fed = runs[0][1]
    theirs = set(fed.clients[-1].ids.tolist())
    assert not theirs & set(group.records.tolist())


EVERYBODY = {
    (adversary, "released model")
    for adversary in (
        Adversary.OUTSIDER,
        Adversary.CLIENT,
        Adversary.SERVER,
        Adversary.SERVER_PLUS,
    )
}
OWN, OPENED = "one client's model", "one client's model, opened with the shared key"
INSIDE = {
    "dp-sgd": {(Adversary.SERVER, OWN), (Adversary.SERVER_PLUS, OWN)},
    "central-dp": {(Adversary.SERVER, OWN), (Adversary.SERVER_PLUS, OWN)},
    "he-bfv": {(Adversary.SERVER_PLUS, OPENED)},
    "he-ckks": {(Adversary.SERVER_PLUS, OPENED)},
    "secagg+central-dp": {
        (Adversary.SERVER, "sum of the cohort"),
        (Adversary.SERVER_PLUS, "sum of the cohort"),
        (Adversary.SERVER_PLUS, "the honest clients' sum"),
    },
}


@pytest.mark.parametrize("name", INSIDE)
def test_models_that_only_some_can_build_are_attacked_by_them_alone(name: str) -> None:
    settings = tiny.config("training.rounds=1")
    run, fed = tiny.trained(settings, name)
    found = _findings([(run, fed)], settings, name, _no_shadows())
    views = {(f.adversary, f.view) for f in found if f.attack == LOSS}
    assert views == EVERYBODY | INSIDE[name]
    if name != "he-bfv":
        return
    # The opened upload is the client's own model, up to the encoder's error.
    groups = _ranking(found, LOSS, OPENED).groups
    plain_run, _ = tiny.trained(settings, "none")
    plain = _findings([(plain_run, fed)], settings, "none", _no_shadows())
    for one, other in zip(groups, _ranking(plain, LOSS, OWN).groups, strict=True):
        np.testing.assert_allclose(one.scores, other.scores, atol=1e-3)
        np.testing.assert_array_equal(one.records, other.records)


@pytest.mark.parametrize("name", ["dp-sgd", "central-dp", "secagg+central-dp"])
def test_a_last_round_of_colluders_alone_is_no_view_of_others(name: str) -> None:
    settings = tiny.config("training.rounds=1")
    run, fed = tiny.trained(settings, name)
    (colluder,) = fed.colluders(1)
    last = run.snapshots[-1]
    transcript = replace(
        last.aggregate.transcript,
        messages=tuple(
            one
            for one in last.aggregate.transcript.messages
            if one.sender in ("server", colluder.name)
        ),
    )
    alone = replace(
        last.aggregate, survivors=frozenset({colluder.name}), transcript=transcript
    )
    short = replace(run, snapshots=(replace(last, aggregate=alone),))
    found = _findings([(short, fed)], settings, name, _no_shadows())
    views = {(f.adversary, f.view) for f in found if f.attack == LOSS}
    assert EVERYBODY <= views
    assert not {view for _, view in views} & {OWN, "the honest clients' sum"}


def test_shadows_are_noised_like_their_target(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 1)
    settings = tiny.config("training.rounds=1", "model.hidden=[64]")
    fed = tiny.federation(settings)
    members = attacks.balanced_memberships(2, 120, 0.5, 0)

    def logits(name: str) -> NDArray[np.float32]:
        used = tiny.protection(name, settings)
        task = Silent().task("", 2)
        return FederatedTrainer(fed, used, settings, task).logits(members, seed=1)

    plain, noised = logits("none"), logits("central-dp")
    np.testing.assert_allclose(logits("secagg"), plain)
    np.testing.assert_allclose(logits("secagg+central-dp"), noised, atol=1e-3)
    assert np.abs(noised - plain).max() > 0.5


def test_adversaries_who_see_the_same_model_share_one_ranking() -> None:
    settings = tiny.config()
    found = _findings([tiny.trained(settings, "none")], settings, "none", _no_shadows())
    released = [f for f in found if f.attack == LOSS and f.view == "released model"]
    assert len(released) == 4
    assert len({id(f.measures[0]) for f in released}) == 1
    assert len({f.seconds for f in released}) == 1


def test_the_worst_case_is_said_to_be_missing() -> None:
    settings = tiny.config()
    found = _findings([tiny.trained(settings, "none")], settings, "none", _no_shadows())
    (worst,) = [f for f in found if f.scenario == WORST_CASE]
    assert isinstance(worst.measures[0], Missing)
    assert "canar" in worst.measures[0].why


class _Counting:
    """A trainer that trains nothing; notes what it was asked for."""

    def __init__(self, records: int, classes: int) -> None:
        self.members: NDArray[np.bool_] | None = None
        self._shape = (records, classes)

    def logits(self, members: NDArray[np.bool_], *, seed: int) -> NDArray[np.float32]:
        self.members = members
        rng = np.random.default_rng(seed)
        return rng.normal(size=(len(members), *self._shape)).astype(np.float32)


def test_every_record_is_in_and_out_of_equally_many_shadows() -> None:
    settings = tiny.config()
    fed = tiny.federation(settings)
    trainer = _Counting(120, 3)
    shadows = train_shadows(trainer, fed, settings, seed=0)
    assert isinstance(shadows, Shadows)
    assert trainer.members is not None
    # 72 of 120 records are trained on, so a record is in round(0.6 x 16) shadows.
    assert set(trainer.members.sum(axis=0).tolist()) == {10}
    assert set(trainer.members.sum(axis=1).tolist()) <= {74, 75, 76}
    assert shadows.phi.shape == shadows.members.shape == (16, 120)


@pytest.mark.parametrize("fraction", ["0.05", "0.95"])
def test_too_few_shadows_without_a_record_are_said_to_be_too_few(
    fraction: str,
) -> None:
    settings = tiny.config(f"data.test_fraction={fraction}")
    fed = tiny.federation(settings, raw=tiny.dataset(records=200))
    trainer = _Counting(200, 3)
    shadows = train_shadows(trainer, fed, settings, seed=0)
    assert isinstance(shadows, Missing)
    assert "attacks.shadows" in shadows.why and "data.test_fraction" in shadows.why
    assert trainer.members is None
    run, fed = tiny.trained(settings, "none", raw=tiny.dataset(records=200))
    found = _findings([(run, fed)], settings, "none", shadows)
    rows = [row for row in decide(found, seed=0) if row.attack == LIRA]
    assert all(row.value is None and row.why for row in rows)


def test_the_time_of_the_shadows_counts_as_time_of_the_attack() -> None:
    settings = tiny.config()
    run, fed = tiny.trained(settings, "none")
    shadows = train_shadows(_Counting(120, 3), fed, settings, seed=0)
    assert isinstance(shadows, Shadows)
    slow = replace(shadows, seconds=1000.0)
    found = _findings([(run, fed)], settings, "none", slow)
    taken = {f.attack: f.seconds for f in found if f.scenario != WORST_CASE}
    assert taken[LIRA] > 1000
    assert taken[LOSS] < 100


def test_shadow_models_repeat_and_differ_and_are_trained_on_their_rows_only(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 1)
    settings = tiny.config("training.rounds=2")
    fed = tiny.federation(settings)
    plain = tiny.protection("none", settings)
    trainer = FederatedTrainer(fed, plain, settings, Silent().task("", 3))
    members = attacks.balanced_memberships(3, 120, 0.5, 0)
    first = trainer.logits(members, seed=1)
    assert first.shape == (3, 120, 3)
    np.testing.assert_array_equal(first, trainer.logits(members, seed=1))
    assert not np.allclose(first[0], first[1])
    # A record that no shadow may train on can hold anything without any effect.
    unused = int(np.flatnonzero(~members[0])[0])
    labels = fed.dataset.labels.copy()
    labels[unused] = (labels[unused] + 1) % 3
    changed = replace(fed, dataset=replace(fed.dataset, labels=labels))
    again = FederatedTrainer(changed, plain, settings, Silent().task("", 3))
    found = again.logits(members, seed=1)
    np.testing.assert_array_equal(found[0], first[0])
    assert not np.array_equal(found, first)


def test_the_configuration_names_the_attacks_that_there_are_and_each_once() -> None:
    assert get_args(MembershipName) == tuple(ATTACKS)
    page = (Path(__file__).parents[2] / "docs" / "attacks.md").read_text()
    _, _, table = page.partition("## Membership attacks on a released model")
    table, _, _ = table.partition("*Shadows*")
    assert re.findall(r"^\| `([a-z-]+)`", table, re.MULTILINE) == list(ATTACKS)
    for wrong in ('["lyra"]', "[]", '["lira", "lira"]'):
        with pytest.raises(ConfigError):
            tiny.config(f"attacks.membership={wrong}")


def _memorised_shadows(fed: Federation) -> Shadows:
    """Shadows that nobody trained: surer of the label where they know the record."""
    labels = fed.dataset.labels
    members = attacks.balanced_memberships(16, len(labels), 0.6, 0)
    logits = np.random.default_rng(0).normal(size=(16, len(labels), 3))
    logits[:, np.arange(len(labels)), labels] += 2 * members
    return Shadows(
        logits=logits.astype(np.float32), labels=labels, members=members, seconds=1.0
    )


def test_every_attack_looks_at_what_it_can_use_and_at_nothing_else(
    memorised: tuple[Config, list[tuple[RunRecord, Federation]]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Forty regressions would take seconds, and say nothing about who sees what.
    regression = "attacks.membership.registry.quantile_regression"
    monkeypatch.setattr(regression, lambda _, __, phi, ___, seed: phi)
    settings, runs = memorised
    attacked = settings.attacks.model_copy(update={"membership": tuple(ATTACKS)})
    settings = settings.model_copy(update={"attacks": attacked})
    shadows = _memorised_shadows(runs[0][1])
    found = _findings(runs[:1], settings, "none", shadows)
    seen = {(f.attack, f.view) for f in found if f.scenario != WORST_CASE}
    titles = {name: attack.title for name, attack in ATTACKS.items()}
    for name, attack in ATTACKS.items():
        views = {view for title, view in seen if title == titles[name]}
        if attack.needs.rounds:
            assert views == {"released models of the kept rounds"}
        elif attack.needs.shadows is Shadowing.NONE:
            assert views == {"released model", "one client's model"}
        else:  # shadows are trained like the released model alone
            assert views == {"released model"}
    for one in found:
        over = one.view == "released models of the kept rounds"
        assert not (over and one.adversary is Adversary.OUTSIDER)
        for measure in one.measures:
            if isinstance(measure, Ranking):
                (_, fed) = runs[0]
                outside = measure.groups[0].records[~measure.groups[0].members]
                assert set(outside) <= set(fed.held_out.ids)
    learnt = {f.attack for f in found if f.seconds >= 1 and f.scenario != WORST_CASE}
    assert learnt >= {
        titles[name]
        for name, attack in ATTACKS.items()
        if attack.needs.shadows is not Shadowing.NONE
    }


def test_over_the_rounds_stand_the_models_that_were_released_and_none_untrained() -> (
    None
):
    settings = tiny.config("training.rounds=4")
    run, fed = tiny.trained(settings, "none")
    view = over_rounds([(run, fed)], tiny.protection("none", settings))
    (target,) = view.targets
    expected = [one.before for one in run.snapshots[1:]]
    np.testing.assert_array_equal(target.earlier, expected)
    said = target.rounds(settings)
    assert said.shape == (4, len(fed.dataset.labels), 3)
    np.testing.assert_array_equal(said[-1], target.logits(settings))


def test_an_attack_without_what_it_needs_says_so_beside_those_that_run() -> None:
    settings = tiny.config(
        'attacks.membership=["quantile", "rmia"]', "data.test_fraction=0.1"
    )
    run, fed = tiny.trained(settings, "none")
    found = _findings([(run, fed)], settings, "none", _no_shadows())
    why = {
        f.attack: f.measures[0].why
        for f in found
        if f.view == "released model" and isinstance(f.measures[0], Missing)
        if f.scenario != WORST_CASE
    }
    assert "at least 20 population records" in why["quantile regression"]
    assert why["RMIA"] == _no_shadows().why


@pytest.mark.slow
def test_the_likelihood_ratio_finds_members_that_were_memorised() -> None:
    settings = tiny.config(*MEMORISING, "attacks.shadows=16")
    raw = _random_labels()
    run, fed = tiny.trained(settings, "none", raw=raw)
    plain = tiny.protection("none", settings)
    trainer = FederatedTrainer(fed, plain, settings, Silent().task("", 16))
    shadows = train_shadows(trainer, fed, settings, seed=3)
    found = _findings([(run, fed)], settings, "none", shadows)
    _, low, _ = _verdict(_ranking(found, LIRA, "released model"))
    assert low > 0.5


def test_what_stays_with_the_clients_is_not_measured_for_others_and_says_why() -> None:
    settings = tiny.config("training.rounds=1")
    run, fed = tiny.trained(settings, "he-ckks")
    found = _findings([(run, fed)], settings, "he-ckks", _no_shadows())
    for one in found:
        if one.scenario != "as configured":
            continue
        inside = one.adversary in (Adversary.CLIENT, Adversary.SERVER_PLUS)
        missing = [each for each in one.measures if isinstance(each, Missing)]
        assert inside or (missing and "stays with the clients" in missing[0].why)
    assert {one.adversary for one in found} == set(Adversary)


def test_persons_are_asked_of_as_records_are_where_they_are_known() -> None:
    settings = tiny.config(*MEMORISING, 'attacks.membership=["loss"]')
    raw = _random_labels()
    people = replace(raw, subjects=np.arange(120) // 4)
    found = _findings(
        [tiny.trained(settings, "none", raw=people)], settings, "none", _no_shadows()
    )
    by_record = _ranking(found, LOSS, "released model").groups[0]
    by_person = _ranking(found, f"{LOSS}, by person", "released model").groups[0]
    assert len(by_person.scores) == len(np.unique(people.subjects[by_record.records]))
    aucs = [
        attacks.auc(one.scores[one.members], one.scores[~one.members])
        for one in (by_record, by_person)
    ]
    assert aucs[1] > aucs[0] > 0.6
    alone = _findings(
        [tiny.trained(settings, "none", raw=raw)], settings, "none", _no_shadows()
    )
    assert not [one for one in alone if one.attack.endswith("by person")]
