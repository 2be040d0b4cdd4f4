"""Which messages are attacked: fair turns, never a colluder, the same for everybody."""

from __future__ import annotations

import pytest
import torch

from attacks import Adversary
from fl.config import Config
from fl.looks import MASKED_UPLOAD, PLAIN_UPLOAD
from fl.shots import AS_CONFIGURED, WORST_CASE, Shot, from_run
from tests.fl import tiny

BOTH = ("none", "secagg")


def _worst(settings: Config, name: str, *, trials: int, batch: int = 4) -> list[Shot]:
    return tiny.worst_shots(settings, name, trials=trials, batch=batch)


def _owner(shot: Shot, settings: Config, name: str) -> str:
    """The client whose records the truth is made of."""
    fed = tiny.federation(settings, name)
    rows = {tuple(row) for row in shot.x.flatten(1).tolist()}
    owners = [
        client.name
        for client in fed.clients
        if rows <= {tuple(row) for row in client.x.flatten(1).tolist()}
    ]
    assert len(owners) == 1
    return owners[0]


@pytest.mark.parametrize("name", BOTH)
def test_every_honest_client_has_its_turn_and_no_colluder_has(name: str) -> None:
    settings = tiny.config("federation.corrupt=2")
    fed = tiny.federation(settings)
    honest = {c.name for c in fed.clients} - {c.name for c in fed.colluders(2)}
    single = {PLAIN_UPLOAD, MASKED_UPLOAD}
    for shots in (
        tiny.own_shots(settings, name),
        _worst(settings, name, trials=len(honest)),
    ):
        victims = [
            _owner(shot, settings, name)
            for shot in shots
            if shot.observation.view in single
        ]
        assert len(victims) == len(honest) == 3
        assert set(victims) == honest


@pytest.mark.parametrize("make", [tiny.own_shots, lambda s, n: _worst(s, n, trials=3)])
def test_both_protections_have_the_same_victims_and_records(make: object) -> None:
    settings = tiny.config()
    assert callable(make)
    plain, masked = (
        [s for s in make(settings, name) if s.observation.clients_summed == 1]
        for name in BOTH
    )
    assert len(plain) == len(masked) == 3
    for one, other in zip(plain, masked, strict=True):
        assert torch.equal(one.x, other.x)
        assert torch.equal(one.y, other.y)
        assert one.number == other.number


def test_views_and_who_sees_them() -> None:
    settings = tiny.config()
    plain, masked = (_worst(settings, name, trials=1) for name in BOTH)
    server = (Adversary.SERVER, Adversary.SERVER_PLUS)
    label = ", batch 4, untrained model"
    assert [(shot.view, shot.adversaries) for shot in plain] == [
        (PLAIN_UPLOAD + label, server),
        ("change of the released model" + label, (Adversary.CLIENT,)),
    ]
    assert [(shot.observation.clients_summed, shot.adversaries) for shot in masked] == [
        (1, server),
        (5, server),
        (4, (Adversary.CLIENT,)),
        (4, server[1:]),
    ]
    assert {shot.scenario for shot in plain + masked} == {WORST_CASE}
    assert {shot.scenario for shot in tiny.own_shots(settings, "none")} == {
        AS_CONFIGURED
    }


def test_only_a_single_masked_upload_claims_to_be_prevented() -> None:
    settings = tiny.config()
    for shot in _worst(settings, "secagg", trials=2):
        alone = shot.observation.clients_summed == 1
        assert (shot.prevented is not None) == alone
    for shot in _worst(settings, "none", trials=2) + tiny.own_shots(settings, "none"):
        assert shot.prevented is None


def test_the_truth_of_a_sum_is_all_that_is_in_it_and_no_more() -> None:
    settings = tiny.config()
    fed = tiny.federation(settings)
    last = fed.clients[-1]
    for shots in (
        tiny.own_shots(settings, "secagg"),
        _worst(settings, "secagg", trials=1),
    ):
        whole, partial = shots[1], shots[2]
        theirs = {tuple(row) for row in last.x.flatten(1).tolist()}
        inside = {tuple(row) for row in whole.x.flatten(1).tolist()}
        honest = {tuple(row) for row in partial.x.flatten(1).tolist()}
        assert inside & theirs
        assert not honest & theirs
        assert honest < inside
        assert len(whole.x) == len(whole.y)


def test_without_colluders_only_a_client_sees_the_sum_of_the_others() -> None:
    settings = tiny.config("federation.corrupt=0")
    assert [
        s.observation.clients_summed for s in _worst(settings, "secagg", trials=1)
    ] == [
        1,
        5,
        4,
    ]


def test_a_victim_is_one_whose_upload_is_in_the_sum() -> None:
    settings = tiny.config(
        "federation.dropout=0.15", "federation.drop=2", "training.rounds=6"
    )
    run, fed = tiny.trained(settings, "secagg")
    shots = list(from_run(run, fed, tiny.protection("secagg", settings), settings))
    assert any(len(s.aggregate.survivors) < 5 for s in run.snapshots)
    alone = [shot for shot in shots if shot.observation.clients_summed == 1]
    for snapshot, shot in zip(run.snapshots, alone, strict=True):
        owner = _owner(shot, settings, "secagg")
        assert owner in snapshot.aggregate.survivors


def test_an_observation_never_holds_the_truth() -> None:
    settings = tiny.config()
    for shot in tiny.own_shots(settings, "none") + _worst(settings, "none", trials=1):
        assert shot.observation.labels is None
        assert all(
            field not in ("x", "y", "pool")
            for field in shot.observation.__dataclass_fields__
        )
