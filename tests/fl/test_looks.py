"""Who sees what of a round, under every protection: the whole table, nothing more."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional

from attacks import Adversary, Observation
from fl.config import Config
from fl.federation import Federation
from fl.looks import Look, looks
from fl.models import build
from fl.round import Snapshot, run_one
from fl.run import RunRecord
from fl.view import Scene, of_sum
from tests.fl import tiny

SERVER, PLUS, CLIENT = Adversary.SERVER, Adversary.SERVER_PLUS, Adversary.CLIENT
RELEASED = "change of the released model"
SUM, OTHERS = "sum of the cohort", "the honest clients' sum"
OPENED = "one upload, opened with the shared key"
# view -> who sees it, whether a proof covers it, and how many clients are in it.
TABLE: dict[str, dict[str, tuple[set[Adversary], bool, int]]] = {
    "none": {
        "one upload": ({SERVER, PLUS}, False, 1),
        RELEASED: ({CLIENT}, False, 4),
    },
    "secagg": {
        "one masked upload": ({SERVER, PLUS}, True, 1),
        SUM: ({SERVER, PLUS}, False, 5),
        RELEASED: ({CLIENT}, False, 4),
        OTHERS: ({PLUS}, False, 4),
    },
    "he-bfv": {
        "one encrypted upload": ({SERVER}, True, 1),
        OPENED: ({PLUS}, False, 1),
        SUM: ({SERVER, PLUS}, False, 5),
        RELEASED: ({CLIENT}, False, 4),
    },
    "he-ckks": {
        "one encrypted upload": ({SERVER}, True, 1),
        OPENED: ({PLUS}, False, 1),
        RELEASED: ({CLIENT}, False, 4),
    },
    "dp-sgd": {
        "one noised upload": ({SERVER, PLUS}, False, 1),
        RELEASED: ({CLIENT}, False, 4),
    },
    "central-dp": {
        "one upload": ({SERVER, PLUS}, False, 1),
        RELEASED: ({CLIENT}, False, 4),
    },
    "secagg+central-dp": {
        "one masked upload": ({SERVER, PLUS}, True, 1),
        SUM: ({SERVER, PLUS}, False, 5),
        RELEASED: ({CLIENT}, False, 4),
        OTHERS: ({PLUS}, False, 4),
    },
}


def _scene(name: str, fed: Federation, settings: Config) -> Scene:
    return Scene(
        federation=fed,
        config=settings,
        protection=tiny.protection(name, settings),
        training=settings.training,
        records=len(fed.train_ids) / len(fed.clients),
    )


def _looks(name: str, *sets: str) -> tuple[list[Look], RunRecord, Scene]:
    settings = tiny.config("training.rounds=1", *sets)
    run, fed = tiny.trained(settings, name)
    scene = _scene(name, fed, settings)
    return list(looks(scene, run.snapshots[0], 0)), run, scene


def _by_view(found: Iterable[Look]) -> dict[str, Look]:
    return {look.observation.view: look for look in found}


def _change(observation: Observation, scene: Scene) -> np.ndarray:
    """Undo the division by rate and steps: what was seen, as a change of the model."""
    assert observation.gradient is not None
    parts = [part.flatten() for part in observation.gradient.values()]
    return (
        -torch.cat(parts).numpy() * scene.rate(0, observation.steps) * observation.steps
    )


@pytest.mark.parametrize("name", TABLE)
def test_the_table_of_adversaries_is_the_designs(name: str) -> None:
    found, _, _ = _looks(name)
    assert len({look.observation.view for look in found}) == len(found)
    assert {
        look.observation.view: (
            set(look.adversaries),
            look.prevented is not None,
            look.observation.clients_summed,
        )
        for look in found
    } == TABLE[name]
    for look in found:
        assert look.observation.adversary in look.adversaries
        assert len(look.names) == look.observation.clients_summed


@pytest.mark.parametrize("name", TABLE)
def test_without_colluders_nobody_gets_more_than_the_server(name: str) -> None:
    found, _, _ = _looks(name, "federation.corrupt=0")
    views = {look.observation.view for look in found}
    assert views == set(TABLE[name]) - {OTHERS, OPENED}


def test_every_adversary_who_sees_messages_sees_some_under_every_protection() -> None:
    for name, views in TABLE.items():
        seen = set().union(*(who for who, _, _ in views.values()))
        assert seen == {SERVER, PLUS, CLIENT}, name


@pytest.mark.parametrize("name", ["he-bfv", "he-ckks"])
def test_a_colluder_opens_what_the_server_cannot_read(name: str) -> None:
    found, run, scene = _looks(name, "model.hidden=[64]")
    by_view, snapshot = _by_view(found), run.snapshots[0]
    (victim,) = by_view[OPENED].names
    assert by_view["one encrypted upload"].names == [victim]
    update = snapshot.updates[victim]
    opened = _change(by_view[OPENED].observation, scene)
    assert np.abs(opened - update).max() <= 2 * snapshot.aggregate.max_error
    assert np.abs(update).max() > 100 * snapshot.aggregate.max_error
    for client, truth in snapshot.updates.items():
        read = torch.from_numpy(
            snapshot.aggregate.transcript.uploads()[client].vector
        ).double()
        cosine = functional.cosine_similarity(
            read, torch.from_numpy(truth).double(), dim=0
        )
        # Independent directions have cosines of deviation 1 / sqrt(parameters).
        assert abs(float(cosine)) < 5 / len(truth) ** 0.5
        assert snapshot.opened[client].weight == snapshot.weights[client]
    assert set(snapshot.opened) == set(snapshot.updates)


@pytest.mark.parametrize("name", sorted(set(TABLE) - {"he-bfv", "he-ckks"}))
def test_there_is_no_key_to_open_anything_with_elsewhere(name: str) -> None:
    _, run, _ = _looks(name)
    assert run.snapshots[0].opened == {}


def test_nothing_is_opened_where_nobody_looks() -> None:
    settings = tiny.config()
    fed = tiny.federation(settings)
    protection = tiny.protection("he-bfv", settings)
    model = build(settings.model, fed.input_shape, fed.classes, 0)
    quiet = run_one(
        model, fed.clients, protection, settings, seed=0, index=0, look=False
    )
    assert quiet.opened == {}


def _exact(snapshot: Snapshot, scene: Scene) -> np.ndarray:
    central = scene.protection.central
    assert central is not None
    total = np.sum([one.astype(float) for one in snapshot.updates.values()], axis=0)
    return np.asarray(total / central.denominator)


@pytest.mark.parametrize("name", ["central-dp", "secagg+central-dp"])
def test_clients_see_the_noise_and_the_server_sees_below_it(name: str) -> None:
    found, run, scene = _looks(name)
    by_view, snapshot = _by_view(found), run.snapshots[0]
    central = scene.protection.central
    assert central is not None
    noise = central.noise_multiplier * central.clip_norm_l2 / central.denominator
    exact = _exact(snapshot, scene)
    noised = _change(by_view[RELEASED].observation, scene)
    assert (noised - exact).std() == pytest.approx(noise, rel=0.3)
    if name == "central-dp":
        (victim,) = by_view["one upload"].names
        read = _change(by_view["one upload"].observation, scene)
        np.testing.assert_allclose(read, snapshot.updates[victim], atol=1e-6)
        return
    summed = _change(by_view[SUM].observation, scene)
    assert np.abs(summed - exact).max() < 1e-3 * noise
    others = _change(by_view[OTHERS].observation, scene)
    honest = [snapshot.updates[one].astype(float) for one in by_view[OTHERS].names]
    np.testing.assert_allclose(others, np.mean(honest, axis=0), atol=1e-3 * noise)


@pytest.mark.parametrize("name", TABLE)
def test_a_round_of_colluders_alone_shows_nobodys_records(name: str) -> None:
    # Few may be left to join once ledgers refuse, and coins may fall so.
    _, run, scene = _looks(name)
    snapshot = run.snapshots[0]
    (colluder,) = scene.colluders()
    alone = replace(snapshot.aggregate, survivors=frozenset({colluder.name}))
    left = replace(snapshot, aggregate=alone)
    assert list(looks(scene, left, 0)) == []


@pytest.mark.parametrize("name", ["dp-sgd", "central-dp", "secagg+central-dp"])
def test_records_of_a_client_are_guessed_by_what_is_public(name: str) -> None:
    found, run, scene = _looks(name, "federation.partition=dirichlet")
    sizes = {client.records for client in scene.federation.clients}
    assert len(sizes) > 1
    for look in found:
        assert look.observation.batch_size == round(scene.records)
    assert of_sum(scene, run.snapshots[0]).batch_size == round(scene.records)
