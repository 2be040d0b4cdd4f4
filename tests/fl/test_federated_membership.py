"""Membership attacks on updates and sums: one question in three views."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import get_args

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from attacks import Adversary, auc
from attacks.membership.federated.registry import ATTACKS
from fl.attack_settings import FederatedName
from fl.config import Config
from fl.data import Dataset
from fl.errors import ConfigError
from fl.federation import Federation
from fl.finding import Finding, Missing, Paired, Ranking
from fl.membership import attacked, federated
from fl.membership.asked import asked_of
from fl.membership.changes import CHANGES, COHORT, HONEST
from fl.membership.targets import RELEASED
from fl.models import build
from fl.record_gradients import Gradients
from fl.run import RunRecord
from fl.settings import ModelConfig
from fl.shots import WORST_CASE
from tests.fl import tiny

UPLOADS = "all uploads"
# Ten clients with few records and random labels: only memory helps.
OVERFIT = (
    "federation.clients=10",
    "training.rounds=4",
    "training.local_epochs=10",
    "training.learning_rate=0.3",
    "model.hidden=[32]",
)
Runs = Sequence[tuple[RunRecord, Federation]]
Overfit = tuple[Config, Runs, list[Finding]]


def _random_labels(records: int) -> Dataset:
    raw = tiny.dataset(records=records, features=40)
    rng = np.random.default_rng(5)
    return replace(
        raw,
        features=rng.random(raw.features.shape).astype(np.float32),
        labels=rng.permutation(raw.labels),
    )


def _found(runs: Runs, settings: Config, name: str, *attacks: str) -> list[Finding]:
    chosen = settings.attacks.model_copy(update={"federated": attacks})
    asked = settings.model_copy(update={"attacks": chosen})
    nothing = Missing(metric="AUC", why="not trained in this test.")
    return federated.findings(runs, tiny.protection(name, asked), nothing, asked)


def _ranking(found: Sequence[Finding], view: str, attack: str = "fedmia") -> Ranking:
    title = ATTACKS[attack].title
    measure = next(
        one.measures[0] for one in found if one.view == view and one.attack == title
    )
    assert isinstance(measure, Ranking)
    return measure


def _auc(ranking: Ranking) -> float:
    each = [
        auc(group.scores[group.members], group.scores[~group.members])
        for group in ranking.groups
    ]
    return float(np.mean(each))


def _records(ranking: Ranking, *, members: bool) -> set[int]:
    return {
        int(record)
        for group in ranking.groups
        for record in group.records[group.members == members]
    }


@pytest.fixture(scope="module")
def overfit() -> Overfit:
    settings = tiny.config(*OVERFIT)
    runs = [tiny.trained(settings, "none", raw=_random_labels(300))]
    return settings, runs, _found(runs, settings, "none", *ATTACKS)


@pytest.fixture(scope="module")
def masked(overfit: Overfit) -> Runs:
    return [tiny.trained(overfit[0], "secagg", raw=_random_labels(300))]


def test_the_configuration_names_the_attacks_that_there_are() -> None:
    assert set(get_args(FederatedName)) == set(ATTACKS) | federated.APART
    with pytest.raises(ConfigError, match="once"):
        tiny.config('attacks.federated=["fedmia", "fedmia"]')


@pytest.mark.parametrize("attack", sorted(ATTACKS))
def test_what_is_found_in_uploads_stands_above_what_a_sum_shows(
    overfit: Overfit, attack: str
) -> None:
    _, _, found = overfit
    each, summed = (_auc(_ranking(found, view, attack)) for view in (UPLOADS, CHANGES))
    assert each > 0.78
    assert each > summed + 0.1


def test_the_three_views_are_asked_about_the_same_records(overfit: Overfit) -> None:
    _, runs, found = overfit
    rankings = [_ranking(found, view) for view in (UPLOADS, CHANGES, RELEASED)]
    ((_, fed),) = runs
    for members, among in ((True, fed.train_ids), (False, fed.held_out.ids)):
        asked = [_records(one, members=members) for one in rankings]
        assert asked[0] == asked[1] == asked[2]
        assert asked[0] <= set(among.tolist())
    theirs = set(fed.clients[-1].ids.tolist())
    assert _records(rankings[0], members=True) == set(fed.train_ids.tolist()) - theirs


def test_the_population_is_asked_nothing_and_held_out_records_are_the_clients_own() -> (
    None
):
    settings = tiny.config("federation.partition=dirichlet", "federation.alpha=0.5")
    run, fed = tiny.trained(settings, "none", raw=tiny.dataset(records=600))
    took_part = set(run.snapshots[0].inside)
    asked = asked_of(took_part, fed, 1, seed=run.seed)
    labels, held_out = fed.dataset.labels, set(fed.held_out.ids.tolist())
    known = set(asked.population.tolist())
    assert known < held_out
    for name, inside in asked.members.items():
        outside = asked.nonmembers[name]
        assert set(outside.tolist()) <= held_out - known
        mixes = [
            np.bincount(labels[rows], minlength=3) / len(rows)
            for rows in (inside, outside)
        ]
        assert np.abs(mixes[0] - mixes[1]).max() < 0.15


def test_a_person_is_in_the_population_whole_or_not_at_all() -> None:
    settings = tiny.config(*OVERFIT)
    raw = tiny.dataset(records=300)
    raw = replace(raw, subjects=np.arange(300) // 5)
    fed = tiny.federation(settings, raw=raw)
    persons = fed.dataset.subjects
    assert persons is not None
    one = asked_of({each.name for each in fed.clients}, fed, 1, seed=0)
    inside = np.isin(fed.held_out.ids, one.population)
    whose = persons[fed.held_out.ids]
    assert 10 <= len(one.population) <= len(fed.held_out.ids) // 3
    assert not np.isin(whose[inside], whose[~inside]).any()


def test_no_score_depends_on_who_was_a_member(
    overfit: Overfit, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings, runs, before = overfit
    ((run, fed),) = runs
    one = asked_of(run.snapshots[0].inside, fed, 1, seed=run.seed)
    turned = replace(one, members=one.nonmembers, nonmembers=one.members)
    monkeypatch.setattr(attacked, "asked_of", lambda *_, **__: turned)
    after = _found(runs, settings, "none", *ATTACKS)
    for first, second in zip(before, after, strict=True):
        (left,), (right,) = first.measures, second.measures
        assert isinstance(left, Ranking) and isinstance(right, Ranking)
        for a, b in zip(left.groups, right.groups, strict=True):
            scores = dict(zip(a.records.tolist(), a.scores.tolist(), strict=True))
            again = dict(zip(b.records.tolist(), b.scores.tolist(), strict=True))
            assert scores == again


def test_under_masks_uploads_say_nothing_and_sums_are_the_same_as_without(
    overfit: Overfit, masked: Runs
) -> None:
    settings, _, without = overfit
    attacks = ("fedmia-cosine", "matched-filter", "fedmia")
    found = _found(masked, settings, "secagg", *attacks)
    views = {(one.view, one.adversary) for one in found}
    both = (Adversary.SERVER, Adversary.SERVER_PLUS)
    assert views == {
        *(("all masked uploads", one) for one in both),
        *((COHORT, one) for one in both),
        (HONEST, Adversary.SERVER_PLUS),
        (CHANGES, Adversary.CLIENT),
        *((RELEASED, one) for one in Adversary),
    }
    for attack in attacks:
        assert 0.35 < _auc(_ranking(found, "all masked uploads", attack)) < 0.65
        # The same sums are released, so they say the same of the same records.
        (one,), (other,) = (
            _ranking(each, CHANGES, attack).groups for each in (found, without)
        )
        np.testing.assert_array_equal(one.records, other.records)
        assert np.corrcoef(one.scores, other.scores)[0, 1] > 0.99
    for one in found:
        assert (one.prevented is not None) == (one.view == "all masked uploads")


def test_a_shared_key_opens_every_upload_to_a_server_with_a_colluder() -> None:
    settings = tiny.config("training.rounds=1")
    run, fed = tiny.trained(settings, "he-bfv")
    found = _found([(run, fed)], settings, "he-bfv", "fedmia-cosine")
    views = {(one.view, one.adversary): one for one in found}
    opened = "all uploads, opened with the shared key"
    assert views["all encrypted uploads", Adversary.SERVER].prevented is not None
    assert ("all encrypted uploads", Adversary.SERVER_PLUS) not in views
    assert views[opened, Adversary.SERVER_PLUS].prevented is None
    plain, _ = tiny.trained(settings, "none")
    wanted = _found([(plain, fed)], settings, "none", "fedmia-cosine")
    for one, other in zip(
        _ranking(found, opened, "fedmia-cosine").groups,
        _ranking(wanted, UPLOADS, "fedmia-cosine").groups,
        strict=True,
    ):
        np.testing.assert_array_equal(one.records, other.records)
        np.testing.assert_allclose(one.scores, other.scores, rtol=0.02, atol=0.02)


def test_a_colluders_records_teach_the_server_what_members_look_like(
    overfit: Overfit,
) -> None:
    settings, runs, _ = overfit
    (one,) = _found(runs, settings, "none", "nasr-passive")
    assert one.adversary is Adversary.SERVER_PLUS
    (measure,) = one.measures
    assert isinstance(measure, Ranking)
    assert _auc(measure) > 0.75
    asked = _records(measure, members=True) | _records(measure, members=False)
    assert not asked & set(runs[0][1].clients[-1].ids.tolist())
    alone = settings.model_copy(
        update={"federation": settings.federation.model_copy(update={"corrupt": 0})}
    )
    (refused,) = _found(runs, alone, "none", "nasr-passive")
    assert isinstance(refused.measures[0], Missing)
    assert "federation.corrupt" in refused.measures[0].why


def test_a_loss_that_a_malicious_server_raised_is_pulled_back_by_an_owner(
    overfit: Overfit, masked: Runs
) -> None:
    settings, runs, _ = overfit
    found = _found(runs, settings, "none", "nasr-active")
    assert {one.scenario for one in found} == {WORST_CASE}
    measure = found[0].measures[0]
    assert isinstance(measure, Ranking)
    assert _auc(measure) > 0.6
    hidden, *_, summed = _found(masked, settings, "secagg", "nasr-active")
    assert hidden.prevented is not None
    assert isinstance(hidden.measures[0], Ranking)
    assert 0.35 < _auc(hidden.measures[0]) < 0.65
    assert isinstance(summed.measures[0], Ranking) and summed.prevented is None


def test_uploads_say_whose_a_record_is(overfit: Overfit) -> None:
    settings, runs, _ = overfit
    measure = _found(runs, settings, "none", "source-inference")[0].measures[0]
    assert isinstance(measure, Paired)
    assert measure.values.mean() > 0.2  # of ten clients
    assert measure.nulls.mean() < 0.15
    assert len(measure.values) == 9  # the colluder's records are not asked about


def test_too_few_clients_or_records_are_said_to_be_too_few() -> None:
    settings = tiny.config("training.rounds=1")
    run, fed = tiny.trained(settings, "none")
    pair = {name: run.snapshots[0].updates[name] for name in ("client-0", "client-4")}
    messages = tuple(
        one
        for one in run.snapshots[0].aggregate.transcript.messages
        if one.sender in ("server", *pair)
    )
    transcript = replace(run.snapshots[0].aggregate.transcript, messages=messages)
    small = replace(run.snapshots[0].aggregate, transcript=transcript)
    short = replace(run, snapshots=(replace(run.snapshots[0], aggregate=small),))
    found = _found([(short, fed)], settings, "none", "fedmia", "gradient-cosine")
    measures = {one.attack: one.measures[0] for one in found if one.view == UPLOADS}
    why = measures[ATTACKS["fedmia"].title]
    assert isinstance(why, Missing) and "no kept round" in why.why
    assert isinstance(measures[ATTACKS["gradient-cosine"].title], Ranking)
    few = replace(fed, held_out=replace(fed.held_out, ids=fed.held_out.ids[:20]))
    measure = _found([(run, few)], settings, "none", "matched-filter")[0].measures[0]
    assert isinstance(measure, Missing) and "10 or more" in measure.why


def test_attacks_that_would_cost_too_much_are_left_out_and_said() -> None:
    settings = tiny.config("training.rounds=1", "attacks.core_seconds=1e-9")
    run, fed = tiny.trained(settings, "none")
    found = _found([(run, fed)], settings, "none", "fedmia-cosine")
    assert {one.view for one in found} == {UPLOADS, CHANGES, RELEASED}
    for one in found:
        assert isinstance(one.measures[0], Missing)
        assert "attacks.core_seconds" in one.measures[0].why


class _Odd(torch.nn.Module):
    """No layer by hand, and dropout, so that no stack can be made of it."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = torch.nn.Linear(6, 3)
        self.drop = torch.nn.Dropout(0.5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.drop(torch.sin(self.inner(x)))
        return out


class _Smooth(torch.nn.Module):
    """A pure function that vmap can run."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = torch.nn.Linear(6, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.sin(self.inner(x))


@pytest.mark.parametrize("kind", ["logreg", "mlp", "cnn", "loop", "vmap"])
def test_gradients_that_are_not_made_are_those_that_are(kind: str) -> None:
    shape = (2, 8, 8) if kind == "cnn" else (6,)
    torch.manual_seed(0)
    if kind in ("loop", "vmap"):
        model: torch.nn.Module = _Odd() if kind == "loop" else _Smooth()
    else:
        settings = ModelConfig.model_validate({"kind": kind, "hidden": (5,)})
        model = build(settings, shape, 3, 0)
    model.eval()
    x, y = torch.rand((7, *shape)), torch.arange(7) % 3
    rows = []
    for one, label in zip(x, y, strict=True):
        loss = torch.nn.functional.cross_entropy(model(one[None]), label[None])
        parts = torch.autograd.grad(loss, list(model.parameters()))
        rows.append(torch.cat([part.flatten() for part in parts]))
    wanted: NDArray[np.float32] = torch.stack(rows).numpy()
    directions = np.random.default_rng(0).normal(size=(3, wanted.shape[1]))
    found = Gradients(model, x, y)
    np.testing.assert_allclose(found.norms(), np.linalg.norm(wanted, axis=1), rtol=1e-4)
    np.testing.assert_allclose(
        found.along(directions), directions @ wanted.T, atol=1e-4
    )
    some = np.array([5, 2])
    np.testing.assert_allclose(found.made(some), wanted[some], atol=1e-5)
