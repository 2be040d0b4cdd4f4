"""How many hide in a sum: honest counts, and what was measured on sums of that size."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import pytest

from attacks import LinearInversion
from fl import crowd
from fl.config import Config
from fl.evidence import Evidence, Repeat
from fl.folder import RunFolder
from fl.inversion import Assault, outcomes
from fl.models import build, to_vector
from fl.outcomes import collect
from fl.progress import Silent
from fl.report import LeakageRow, Verdict
from fl.settings import FederationConfig
from fl.shots import Shot, crowd_view, from_crowd
from fl.stages import Setting
from fl.stages import inversion as stage
from fl.utility import baselines
from fl.verdict import decide
from fl.workload import workload
from tests.fl import tiny

PLANS = [
    dict(clients=5, corrupt=1, drop=1),
    dict(clients=30, corrupt=9, drop=11),
    dict(clients=4, corrupt=0, drop=0),
    dict(clients=100, participation=0.25, corrupt=5, drop=5),
]
plans = pytest.mark.parametrize("plan", PLANS, ids=str)


@plans
def test_every_size_of_the_table_is_attacked_once_and_no_other(
    plan: dict[str, float],
) -> None:
    federation = FederationConfig.model_validate(plan)
    attacked = [
        federation.cohort - vanished - count
        for vanished, counts in crowd.sizes(federation)
        for count in counts
    ]
    shown = {row.honest for row in crowd.rows(federation, ()) if row.honest is not None}
    assert len(attacked) == len(set(attacked))
    assert set(attacked) == shown
    assert min(shown) == federation.cohort - federation.drop - federation.corrupt >= 2
    assert max(shown) == federation.cohort


@plans
def test_the_table_spans_the_plan_and_shows_its_limit(plan: dict[str, float]) -> None:
    federation = FederationConfig.model_validate(plan)
    rows = crowd.rows(federation, ())
    colluders = sorted({row.colluders for row in rows})
    vanished = sorted({row.dropouts for row in rows})
    assert len(rows) == len(colluders) * len(vanished)
    assert len(colluders) <= crowd.SIDE and len(vanished) <= crowd.SIDE + 1
    assert (colluders[0], colluders[-1]) == (0, federation.corrupt)
    assert (vanished[0], vanished[-1]) == (0, federation.drop + 1)
    for row in rows:
        beyond = row.dropouts > federation.drop
        honest = federation.cohort - row.colluders - row.dropouts
        assert row.honest == (None if beyond else honest)
        assert row.value is None and row.verdict is None


def _row(honest: int, metric: str, verdict: Verdict, **changed: object) -> LeakageRow:
    row = dict(
        protection="secagg",
        adversary="server",
        view=crowd_view(honest),
        scenario="worst case",
        attack="linear",
        metric=metric,
        value=20.0,
        low=15.0 if verdict is not Verdict.NOT_DETECTED else 5.0,
        high=25.0,
        confidence=0.99,
        n=8,
        n_failed=0,
        null=10.0,
        verdict=verdict,
        min_detectable=3.0 if verdict is Verdict.NOT_DETECTED else None,
        seeds=(0,),
        seconds=0.1,
        why="because." if verdict is Verdict.NOT_MEASURED else "",
    )
    return LeakageRow.model_validate(row | changed)


def test_a_cell_is_the_worst_row_of_its_size_as_it_stands_in_the_matrix() -> None:
    federation = FederationConfig(clients=5, corrupt=1, drop=1)
    leakage = [
        _row(4, "PSNR (dB)", Verdict.NOT_DETECTED),
        _row(4, "exact recoveries", Verdict.LEAKS),
        _row(3, "PSNR (dB)", Verdict.NOT_DETECTED),
    ]
    by_honest = {row.honest: row for row in crowd.rows(federation, leakage)}
    cell, row = by_honest[4], leakage[1]
    for name in "attack metric value low high confidence n null verdict".split():
        assert getattr(cell, name) == getattr(row, name)
    assert by_honest[3].verdict is Verdict.NOT_DETECTED
    assert by_honest[5].verdict is None
    assert by_honest[None].verdict is None


def test_the_table_is_about_masks_without_noise() -> None:
    settings = tiny.config()
    made = {
        name: tiny.protection(name, settings)
        for name in ("none", "he-bfv", "dp-sgd", "secagg+central-dp", "secagg")
    }
    assert crowd.crowd_protection(list(made.values())) is made["secagg"]
    del made["secagg"]
    assert crowd.crowd_protection(list(made.values())) is None


def _shots(settings: Config, vanished: int, counts: tuple[int, ...]) -> list[Shot]:
    fed = tiny.federation(settings, "secagg")
    start = to_vector(build(settings.model, fed.input_shape, fed.classes, 1))
    return [
        shot
        for trial in range(3)
        for shot in from_crowd(
            start,
            fed,
            tiny.protection("secagg", settings),
            settings,
            colluders=counts,
            dropouts=vanished,
            trial=trial,
            seed=0,
        )
    ]


@pytest.mark.parametrize(("vanished", "count"), product((0, 1), (0, 1)))
def test_a_crowd_holds_one_record_of_each_honest_survivor(
    vanished: int, count: int
) -> None:
    settings = tiny.config("federation.clients=6")
    honest = 6 - vanished - count
    fed = tiny.federation(settings)
    theirs = {tuple(row) for row in fed.clients[-1].x.tolist()}
    for shot in _shots(settings, vanished, (count,)):
        assert shot.view == crowd_view(honest)
        assert shot.observation.clients_summed == len(shot.x) == honest
        assert shot.observation.records == honest
        inside = {tuple(row) for row in shot.x.tolist()}
        assert bool(inside & theirs) == (count == 0)
        assert shot.prevented is None


def test_what_the_table_shows_is_what_the_matrix_shows(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 1)
    settings = tiny.config("federation.clients=6")
    federation = settings.federation
    jobs = [
        Assault(shot=shot, attacks=(LinearInversion(),))
        for vanished, counts in crowd.sizes(federation)
        for shot in _shots(settings, vanished, counts)
    ]
    found = collect([one for job in jobs for one in outcomes(job)])
    leakage = decide(found, seed=0)
    measured = {row.view: row for row in leakage}
    for row in crowd.rows(federation, leakage):
        if row.honest is None:
            continue
        assert crowd_view(row.honest) in measured
        same = [
            one
            for one in leakage
            if one.view == crowd_view(row.honest)
            and (one.attack, one.metric) == (row.attack, row.metric)
        ]
        assert same and all(
            (one.value, one.low, one.high, one.null, one.verdict)
            == (row.value, row.low, row.high, row.null, row.verdict)
            for one in same
        )


def test_without_masks_no_crowd_is_attacked(tmp_path: Path) -> None:
    settings = tiny.config("training.rounds=1")
    run, fed = tiny.trained(settings, "none")
    setting = Setting(
        raw=tiny.dataset(),
        protections=(tiny.protection("none", settings),),
        config=settings,
        folder=RunFolder(draft=tmp_path, place=tmp_path),
        progress=Silent(),
    )
    repeat = Repeat(
        seed=0,
        runs={"none": run},
        federations={"none": fed},
        baseline=baselines(fed, settings, seed=0),
    )
    assert (
        list(
            stage._crowds(
                setting, Evidence(repeats=[repeat]), (), workload(fed, settings)
            )
        )
        == []
    )
