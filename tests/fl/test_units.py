"""The unit of privacy in a run: one record or one person, at every step of the way."""

from __future__ import annotations

import os
from dataclasses import replace
from functools import lru_cache
from itertools import repeat
from pathlib import Path

import numpy as np
import pytest
import torch

import fl.audit as audits
import fl.local.private
from attacks import EpsilonBound, clopper_pearson_bound, one_run_audit
from dp.sgd import DpSgd
from dp.statement import subject_mechanism, subject_trust
from fl import membership, privacy
from fl.canaries import Trial, play
from fl.canaries.records import direction_of, grown_by, plant
from fl.config import Config, load_config
from fl.course import open_books
from fl.data import Dataset, load
from fl.errors import ConfigError, DataError
from fl.federation import Client, Federation
from fl.models import build, to_vector
from fl.partition import check_sites, partition, split
from fl.preparation import _try_out, prepare
from fl.progress import Silent
from fl.protection import Protection
from fl.protections import build as protect
from fl.run import train
from fl.seeds import seed_for
from fl.updates import Turn, clipped_changes
from tests.fl import tiny
from tests.fl.local.test_subjects import clipped_one_by_one

# The file is never read: records are given.
PEOPLE = ("data.source=made_up.npz", "data.subject=who")
BY_RECORD = (*PEOPLE, "privacy.example.unit=example")


def people(each: int = 3, *, records: int = 120) -> Dataset:
    """Return made-up records of which so many in a row are one person's."""
    raw = tiny.dataset(records=records)
    return replace(raw, subjects=np.arange(records, dtype=np.int64) // each)


def everywhere(sites: int, *, each: int = 4) -> Dataset:
    """Return records whose people go round so many of four sites."""
    raw = people(each)
    rows = np.arange(len(raw))
    return replace(raw, sites=rows % sites + rows // 60, site_names=tuple("abcdef"))


# ---------------------------------------------------------------- who is where


@pytest.mark.parametrize("kind", ["iid", "dirichlet"])
@pytest.mark.parametrize("each", [1, 3, 7])
def test_nobody_is_on_both_sides_or_at_two_clients(kind: str, each: int) -> None:
    raw = people(each)
    assert raw.subjects is not None
    for seed in range(5):
        inside, outside = split(raw, 0.4, seed)
        assert sorted([*inside, *outside]) == list(range(len(raw)))
        assert not set(raw.subjects[inside]) & set(raw.subjects[outside])
        assert 0.3 < len(outside) / len(raw) < 0.5
        shares = partition(raw, inside, clients=5, kind=kind, alpha=0.5, seed=seed)  # type: ignore[arg-type]
        assert sorted(np.concatenate(shares).tolist()) == inside.tolist()
        assert min(len(share) for share in shares) > 0
        owners = [set(raw.subjects[share].tolist()) for share in shares]
        assert sum(len(own) for own in owners) == len(set.union(*owners))


def test_people_of_one_record_each_are_dealt_as_records_are() -> None:
    raw, plain = people(1), tiny.dataset()
    for kind in ("iid", "dirichlet"):
        inside, outside = split(raw, 0.4, 3)
        assert [inside.tolist(), outside.tolist()] == [
            one.tolist() for one in split(plain, 0.4, 3)
        ]
        for one, two in zip(
            partition(raw, inside, clients=5, kind=kind, alpha=0.5, seed=3),  # type: ignore[arg-type]
            partition(plain, inside, clients=5, kind=kind, alpha=0.5, seed=3),  # type: ignore[arg-type]
            strict=True,
        ):
            np.testing.assert_array_equal(one, two)


def test_more_clients_than_people_are_refused() -> None:
    raw = people(30)
    with pytest.raises(DataError, match="persons to train on are too few"):
        partition(raw, np.arange(60), clients=5, kind="iid", alpha=1.0, seed=0)


def test_strangers_and_non_members_are_other_people() -> None:
    fed = tiny.federation(tiny.config(*PEOPLE), raw=people())
    subjects = fed.dataset.subjects
    assert subjects is not None
    for client in fed.clients:
        np.testing.assert_array_equal(client.subjects, subjects[client.ids])
        some = client.take(np.array([2, 0]))
        assert some.subjects is not None and client.subjects is not None
        assert some.subjects.tolist() == client.subjects[[2, 0]].tolist()
    trained = set(subjects[fed.train_ids].tolist())
    assert not trained & set(subjects[fed.held_out.ids].tolist())
    known = {tuple(row) for row in fed.held_out.x.tolist()}
    assert {tuple(row) for row in fed.strangers.tolist()} <= known
    assert fed.persons == len(trained) < len(fed.train_ids)


def test_a_shadow_holds_all_records_of_a_person_or_none() -> None:
    settings = tiny.config(*PEOPLE, "attacks.shadows=16")
    fed = tiny.federation(settings, raw=people())

    class Notes:
        def logits(self, members: np.ndarray, *, seed: int) -> np.ndarray:
            return np.zeros((*members.shape, 3), dtype=np.float32)

    shadows = membership.train_shadows(Notes(), fed, settings, seed=0)
    assert isinstance(shadows, membership.Shadows)
    by_person = shadows.members.reshape(16, -1, 3)
    assert (by_person == by_person[:, :, :1]).all()
    assert len(np.unique(by_person[:, :, 0].sum(axis=0))) == 1


# ---------------------------------------------------------------- what is declared


def unit_of(*sets: str) -> str:
    return tiny.config(*sets).privacy.example.unit


def test_who_names_people_protects_people_unless_records_are_asked_for() -> None:
    assert unit_of() == "example"
    assert unit_of(*PEOPLE) == "subject"
    assert unit_of(*BY_RECORD) == "example"
    settings = tiny.config(*PEOPLE)
    again = Config.model_validate(settings.resolved(), strict=False)
    assert again == settings


@pytest.mark.parametrize(
    ("sets", "part"),
    [
        (("privacy.example.unit=subject",), "data.subject is empty"),
        (("privacy.example.max_sites_per_subject=2",), "give data.subject"),
        ((*BY_RECORD, "privacy.example.max_records_per_subject=2"), "remove one"),
        ((*PEOPLE, "privacy.example.max_records_per_subject=0"), "greater than"),
        (("privacy.example.unit=client",), "'example' or 'subject'"),
    ],
)
def test_a_unit_that_cannot_be_is_refused(sets: tuple[str, ...], part: str) -> None:
    with pytest.raises(ConfigError, match=part):
        tiny.config(*sets)


def test_somebody_at_more_sites_than_declared_is_refused() -> None:
    raw = everywhere(2)
    check_sites(raw, "iid", 1)  # people are dealt out whole
    check_sites(raw, "site", 2)
    check_sites(everywhere(1), "site", 1)
    with pytest.raises(DataError, match=r"at 2 sites, .*raise it to 2"):
        check_sites(raw, "site", 1)
    with pytest.raises(DataError, match="nothing says to whom"):
        check_sites(tiny.dataset(), "iid", 1)


@pytest.mark.usefixtures("known_noise")
@pytest.mark.parametrize(
    ("each", "part"),
    [
        (3, None),  # 24 persons are trained on
        (15, "persons to train on are fewer than two for each of 5 clients"),
    ],
)
def test_persons_are_what_a_federation_is_measured_by(
    each: int, part: str | None
) -> None:
    settings = tiny.config(*PEOPLE)
    protections = [noised(settings)]
    if part is None:
        _try_out(people(each), protections, settings)
        return
    with pytest.raises(DataError, match=part):
        _try_out(people(each), protections, settings)


@pytest.mark.usefixtures("known_noise")
def test_delta_is_held_against_the_number_of_persons() -> None:
    settings = tiny.config(*PEOPLE, "privacy.delta=0.0099")
    raw = people(3, records=600)  # 120 persons and 360 records to train on
    with pytest.raises(ConfigError, match="expose one whole subject of 120"):
        _try_out(raw, [noised(settings)], settings)


# ---------------------------------------------------------------- what is spent


def noised(settings: Config) -> Protection:
    return protect("dp-sgd", settings, settings.federation.clients)


def trained(settings: Config, raw: Dataset) -> tuple[set[int], set[str], float]:
    fed = tiny.federation(settings, raw=raw)
    run = train(fed, noised(settings), settings, seed=0, keep=())
    return (
        {one.releases for one in run.accounts},
        {one.unit for one in run.accounts},
        max(one.epsilon for one in run.accounts),
    )


@pytest.fixture
def known_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    """The noise for epsilon 8 without sampling, which takes seconds to search for."""
    monkeypatch.setattr(
        privacy, "_multiplier", lambda _, rate, count: 0.6005 * count**0.5
    )


@pytest.mark.usefixtures("known_noise")
@pytest.mark.slow
def test_a_person_at_several_sites_spends_at_each() -> None:
    base = (*PEOPLE, "training.rounds=1", "privacy.example.steps=2")
    twice = (*base, "privacy.example.max_sites_per_subject=2")
    one, two = (noised(tiny.config(*sets)).example for sets in (base, twice))
    longer = noised(tiny.config(*base[:-1], "privacy.example.steps=4")).example
    assert one is not None and two is not None and longer is not None
    assert two.noise_multiplier == longer.noise_multiplier > one.noise_multiplier
    releases, units, epsilon = trained(tiny.config(*twice), people())
    assert (releases, units) == ({4}, {"subject"})
    budget = tiny.config(*twice).privacy.epsilon
    assert 0.98 * budget < epsilon <= budget


@pytest.mark.usefixtures("known_noise")
def test_the_unit_stands_beside_protection_ledger_and_proof() -> None:
    for sets, unit, word in ((PEOPLE, "subject", "person"), (BY_RECORD, "example", "")):
        settings = tiny.config(*sets)
        found = noised(settings)
        assert found.unit == unit
        assert f"unit is one {word or 'record'}" in found.proves
        books = open_books(found, settings)
        assert books is not None and books.unit == unit


# ---------------------------------------------------------------- the canary patient

RUNS, CLAIMED = 800, 1.0


@lru_cache
def patient(unit: str) -> EpsilonBound:
    """Bound epsilon by how well a patient's five records show in a client's upload.

    Everything is the run's own: noise for epsilon 1, the engine, the clipped upload. Of
    independent runs half have the patient, and nothing else differs; the first half of
    each sets the threshold, the second is judged.
    """
    sets = PEOPLE if unit == "subject" else BY_RECORD
    settings = tiny.config(*sets, "training.rounds=1", f"privacy.epsilon={CLAIMED}")
    fed = tiny.federation(settings, raw=people(2, records=60))
    without, model = fed.clients[0], build(settings.model, (6,), 3, 0)
    assert without.subjects is not None
    x = fed.held_out.x[:1].repeat(5, 1)
    y = (fed.held_out.y[:1].repeat(5) + 1) % 3  # all mislabelled alike
    planted = Client(
        name=without.name,
        x=torch.cat([without.x, x]),
        y=torch.cat([without.y, y]),
        ids=np.concatenate([without.ids, [-1] * 5]),
        subjects=np.concatenate([without.subjects, [-1] * 5]),
    )
    gradient, start = direction_of(model, x[0], y[0]), to_vector(model)[None]
    scores = []
    for client in (planted, without):
        seeds = (seed_for(0, client.records, number) for number in range(RUNS))
        turns = [Turn(client, 0, seed) for seed in seeds]
        sent = clipped_changes(model, start, turns, noised(settings), settings, 0)
        scores.append(-np.stack(sent).astype(np.float64) @ gradient)
    first, second = (
        [one[half] for one in scores]
        for half in (slice(RUNS // 2), slice(RUNS // 2, None))
    )
    threshold = np.quantile(first[1], 0.97)
    members, others = ((one > threshold).sum() for one in second)
    return clopper_pearson_bound(
        hits=int(members),
        members=RUNS // 2,
        alarms=int(others),
        nonmembers=RUNS // 2,
        delta=1e-5,
    )


def test_a_patient_with_five_records_is_caught_under_the_unit_example() -> None:
    # The claim about one record is kept; the patient was never promised it.
    found = patient("example")
    assert found.value > CLAIMED
    assert found.right / found.guesses > 0.6


def test_a_patient_with_five_records_is_not_caught_under_the_unit_subject() -> None:
    found = patient("subject")
    assert found.value <= CLAIMED < found.ceiling
    assert found.right / found.guesses < 0.55


def test_the_patient_is_caught_if_records_are_clipped_one_by_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(fl.local.private, "sampler", clipped_one_by_one)
    assert patient.__wrapped__("subject").value > CLAIMED


# ---------------------------------------------------------------- canaries


def trial(*sets: str) -> Trial:
    settings = tiny.config(*PEOPLE, *sets)
    return Trial(
        protection=noised(settings),
        federation=tiny.federation(settings, raw=people(records=400)),
        config=settings,
        seed=0,
    )


@pytest.mark.usefixtures("known_noise")
def test_a_canary_subject_has_as_many_records_as_anybody_may() -> None:
    planned = trial("privacy.example.max_records_per_subject=4", "attacks.canaries=40")
    planted = plant(planned, 4)
    before: Federation = planned.federation
    for number, client in enumerate(grown_by(before, planted)):
        old = before.clients[number]
        assert client.subjects is not None and old.subjects is not None
        new = client.subjects[old.records :]
        own = int((planted.included & (planted.owner == number)).sum())
        assert client.records == old.records + 4 * own
        people, counts = np.unique(new, return_counts=True)
        assert len(people) == own and (counts == 4).all()
        assert not set(people.tolist()) & set(old.subjects.tolist())
        for person in people:
            alike = client.x[torch.from_numpy(client.subjects == person)]
            assert (alike == alike[0]).all()


def test_canary_subjects_are_played_with_and_find_missing_noise(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    played: list[int] = []
    real = plant

    def note(planned: Trial, copies: int) -> object:
        played.append(copies)
        return real(planned, copies)

    monkeypatch.setattr("fl.canaries.records.plant", note)
    planned = trial(
        "privacy.epsilon=0.5",
        "attacks.canaries=120",
        "model.kind=logreg",
        "federation.clients=40",
        "training.rounds=4",
    )
    bounds = []
    for silent in (False, True):
        if silent:
            monkeypatch.setattr(
                DpSgd, "noises", lambda _, n, seeds: repeat(np.zeros((len(seeds), n)))
            )
        found = play(planned)
        bounds.append(one_run_audit(found.scores, found.included, delta=1e-5))
    assert bounds[0].value <= 0.5 < bounds[1].value
    assert set(played) == {8}


# ---------------------------------------------------------------- the page

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


def test_the_example_has_writers_with_several_scans(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(EXAMPLES)
    settings = load_config("writers.toml")
    raw = load(settings.data, 0)
    assert raw.subjects is not None
    scans = np.bincount(raw.subjects)
    assert (len(scans), scans.min(), scans.max()) == (600, 1, 6)
    assert settings.privacy.example.unit == "subject"
    check_sites(raw, settings.federation.partition, 1)


def test_a_statement_says_what_a_subject_is_bounded_by() -> None:
    one, two = subject_trust(1), subject_trust(2)
    assert "more than one of" in one and "counts" not in one
    assert "more than 2 of" in two and "counts 2 times" in two
    assert "at most 5 examples" in subject_mechanism(5)


@pytest.mark.slow
def test_nobodys_name_is_in_a_finished_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    rows = [
        f"zebra{i // 3},{rng.random():.3f},{rng.random():.3f},{i % 2}"
        for i in range(150)
    ]
    Path("t.csv").write_text("\n".join(["keeper,a,b,y", *rows]) + "\n")
    settings = tiny.config(
        "data.source=t.csv",
        "data.label=y",
        "data.subject=keeper",
        "data.bounds={a = [0, 1], b = [0, 1]}",
        "model.kind=logreg",
        "repeats=1",
        "profile=quick",
        'protections.names=["none", "dp-sgd"]',
    )
    done = audits.run(settings, out=Path("run"), force=False, progress=Silent())
    files = [one for one in done.folder.rglob("*") if one.is_file()]
    assert any(one.name == "report.html" for one in files)
    for one in files:
        assert b"zebra" not in one.read_bytes(), one.name
    (row,) = [one for one in done.report.privacy if one.protection == "dp-sgd"]
    assert row.unit == "subject"
    assert {one.unit for one in done.report.ledger} == {"subject"}
    said = " ".join(done.report.statements[0].sentences)
    assert "one subject" in said and "at most 8 examples of a subject" in said
    assert any("whole persons" in line for line in done.report.not_covered)


@pytest.mark.slow
def test_sites_that_share_people_are_refused_before_anything_is_written(
    tmp_path: Path,
) -> None:
    for site in ("n", "s"):
        rows = [f"p{i},0.{i},{i % 2}" for i in range(60)]
        (tmp_path / f"{site}.csv").write_text("\n".join(["who,a,y", *rows]) + "\n")
    sets = (
        f"data.folder={tmp_path}",
        'data.sites={n = "n.csv", s = "s.csv"}',
        "data.label=y",
        "data.subject=who",
        "data.bounds={a = [0, 1]}",
        "model.kind=logreg",
        "privacy.example.sampling_rate=1.0",
        "privacy.allow_useless=true",
        "federation.corrupt=0",
        "federation.drop=0",
        'protections.names=["dp-sgd"]',
    )
    with pytest.raises(DataError, match=r"^dp-sgd: .*at 2 sites"):
        prepare(load_config(os.devnull, sets))
    prepare(load_config(os.devnull, [*sets, "privacy.example.max_sites_per_subject=2"]))
