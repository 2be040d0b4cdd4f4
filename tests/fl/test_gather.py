"""From runs to rows: every stage, every gate, and what the page does not speak of."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import secagg
from attacks import Adversary, CosineTV, LinearInversion
from fl import crowd, guarantees, tables
from fl.config import Config
from fl.coverage import not_covered
from fl.evidence import Evidence
from fl.finding import Missing
from fl.folder import RunFolder
from fl.gates import gates
from fl.gather import INVERSION, MEMBERSHIP, gather
from fl.pictures import galleries
from fl.plots import curves
from fl.progress import Silent, Task
from fl.protection import Protection
from fl.report import Gate, Verdict
from fl.shots import WORST_CASE, crowd_view
from fl.stages import Setting
from fl.stages.setting import MATCHED_BATCHES, effort
from fl.stages.training import ROUND_LOG
from fl.verdict import decide
from tests.fl import tiny

BOTH = ("none", "secagg")


def _protections(settings: Config) -> list[Protection]:
    return [tiny.protection(name, settings) for name in BOTH]


def _gather(
    settings: Config,
    folder: Path,
    *,
    families: tuple[str, ...] = (),
    progress: Silent | None = None,
) -> Evidence:
    setting = Setting(
        raw=tiny.dataset(),
        protections=tuple(_protections(settings)),
        config=settings,
        folder=RunFolder(draft=folder, place=folder),
        progress=progress or Silent(),
    )
    return gather(setting, families=families)


@pytest.fixture(scope="module")
def settings() -> Config:
    return tiny.config()


@pytest.fixture(scope="module")
def evidence(
    settings: Config, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Evidence]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("os.cpu_count", lambda: 1)
        yield _gather(
            settings, tmp_path_factory.mktemp("run"), families=(INVERSION, MEMBERSHIP)
        )


def _gate(evidence: Evidence, name: str) -> Gate:
    return next(gate for gate in gates(evidence, (), (), ()) if gate.name == name)


def test_every_repetition_runs_under_every_protection(
    evidence: Evidence, settings: Config
) -> None:
    assert [repeat.seed for repeat in evidence.repeats] == [0, 1]
    for repeat in evidence.repeats:
        assert tuple(repeat.runs) == BOTH
        assert {run.seed for run in repeat.runs.values()} == {repeat.seed}
        plain, masked = (repeat.federations[name] for name in BOTH)
        np.testing.assert_array_equal(plain.train_ids, masked.train_ids)


def test_the_worst_case_attacks_as_many_victims_as_it_says(
    evidence: Evidence, settings: Config
) -> None:
    trials, _ = effort(settings)
    worst = [o for o in evidence.outcomes if o.shot.scenario == WORST_CASE]
    linear = [o for o in worst if o.attempt.attack == LinearInversion.name]
    views = {(o.shot.protection, o.shot.view) for o in linear}
    crowds = {("secagg", crowd_view(honest)) for honest in (5, 4, 3)}
    assert crowds <= views
    # 2 batch sizes x 2 checkpoints, of 2 views in the clear and 4 under masks.
    assert len(views - crowds) == 2 * 2 * 6
    for protection, view in views - crowds:
        sample = [
            o for o in linear if (o.shot.protection, o.shot.view) == (protection, view)
        ]
        assert len(sample) == trials == 4
        assert len({o.shot.number for o in sample}) == trials


def test_effort_scales_with_the_profile() -> None:
    by_profile = {
        profile: effort(tiny.config(f"profile={profile}"))
        for profile in ("quick", "standard", "full")
    }
    assert by_profile["quick"] < by_profile["standard"] < by_profile["full"]
    assert by_profile["standard"] == (4, 4)
    assert min(effort(tiny.config("profile=quick", "attacks.victims=1"))) >= 1
    assert by_profile["full"][0] >= 50


def test_every_cell_has_a_finding_or_a_reason(
    evidence: Evidence, settings: Config
) -> None:
    found = evidence.findings(_protections(settings))
    cells = {(f.protection, f.adversary, f.scenario) for f in found}
    assert len(cells) == 2 * 4 * 2
    outside = [
        f
        for f in found
        if f.adversary is Adversary.OUTSIDER and f.scenario == WORST_CASE
    ]
    assert all(isinstance(f.measures[0], Missing) for f in outside)


def test_no_two_rows_of_a_page_are_the_same_measurement(
    evidence: Evidence, settings: Config
) -> None:
    rows = decide(evidence.findings(_protections(settings)), seed=0)
    keys = [
        (r.protection, r.adversary, r.view, r.scenario, r.attack, r.metric)
        for r in rows
    ]
    assert len(set(keys)) == len(keys)
    assert {r.verdict for r in rows} >= {Verdict.RECOVERED, Verdict.PREVENTED}


class _StopsAt(Silent):
    def __init__(self, name: str) -> None:
        self._name = name

    def task(self, name: str, total: int) -> Task:
        if name.startswith(self._name):
            raise KeyboardInterrupt
        return super().task(name, total)


def test_a_stop_keeps_the_stages_before_and_gives_the_reason_for_the_rest(
    settings: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 1)
    evidence = _gather(
        settings,
        tmp_path,
        families=(INVERSION, MEMBERSHIP),
        progress=_StopsAt("attack the worst case"),
    )
    assert len(evidence.repeats) == 2
    assert evidence.stopped == INVERSION
    assert {o.shot.scenario for o in evidence.outcomes} == {"as configured"}
    found = evidence.findings(_protections(settings))
    missing = [f for f in found if isinstance(f.measures[0], Missing)]
    assert any(f.scenario == WORST_CASE for f in missing)
    assert all(
        "Ctrl-C during inversion" in f.measures[0].why
        for f in missing
        if isinstance(f.measures[0], Missing)
    )
    assert "The rest of inversion" in not_covered(evidence, settings)[-1]


def test_without_a_stop_nothing_is_said_of_one(
    evidence: Evidence, settings: Config
) -> None:
    assert not any("Ctrl-C" in line for line in not_covered(evidence, settings))


def test_what_is_not_covered_names_the_numbers_of_this_run(
    evidence: Evidence, settings: Config
) -> None:
    said = " ".join(not_covered(evidence, settings))
    assert "rounds than 1, 2, 3," in said.replace("other ", "")
    assert "resample 2 repetitions" in said
    assert "partition" not in said


def test_matching_is_said_to_stop_where_it_stops(
    settings: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 1)
    more = tiny.config("attacks.batches=[6, 1, 2]", "attacks.victims=2", "repeats=1")
    evidence = _gather(more, tmp_path, families=(INVERSION,))
    matched = {
        o.shot.view.split("batch ")[1].split(",")[0]
        for o in evidence.outcomes
        if o.attempt.attack == CosineTV.name and o.shot.scenario == WORST_CASE
    }
    assert matched == {"1"}
    assert len(matched) == MATCHED_BATCHES
    assert any("batches above 1 " in line for line in not_covered(evidence, more))


def test_a_skewed_partition_is_said_to_blur_membership(
    settings: Config, tmp_path: Path
) -> None:
    skewed = tiny.config("federation.partition=dirichlet", "repeats=1")
    evidence = _gather(skewed, tmp_path)
    assert any("dirichlet partition" in line for line in not_covered(evidence, skewed))


def test_what_preparing_a_table_reveals_is_said(evidence: Evidence) -> None:
    settings = tiny.config("data.source=wine", "repeats=1")
    learnt = tiny.learnt(settings)
    told = replace(
        evidence.repeats[0],
        federations={
            name: replace(fed, learnt=learnt)
            for name, fed in evidence.repeats[0].federations.items()
        },
    )
    lines = not_covered(Evidence(repeats=[told]), settings)
    assert any(learnt.reveals in line for line in lines)


def test_the_sums_are_held_against_what_went_in(evidence: Evidence) -> None:
    name = "protected sums equal the plain sums"
    assert _gate(evidence, name).passed
    # 2 repetitions, 2 protections, 3 rounds; each is compared, also without a rival.
    assert "12 sums" in _gate(evidence, name).detail
    repeat = evidence.repeats[0]
    run = repeat.runs["secagg"]
    wrong = run.snapshots[1].aggregate.mean.copy()
    wrong[7] += 10 * run.snapshots[1].aggregate.max_error
    aggregate = replace(run.snapshots[1].aggregate, mean=wrong)
    snapshots = list(run.snapshots)
    snapshots[1] = replace(snapshots[1], aggregate=aggregate)
    alone = replace(repeat, runs={"secagg": replace(run, snapshots=tuple(snapshots))})
    gate = _gate(Evidence(repeats=[alone]), name)
    assert not gate.passed
    assert "1 beyond" in gate.detail


def test_a_certificate_is_wrong_only_if_its_record_did_not_come_back(
    evidence: Evidence,
) -> None:
    name = "certificates hold"
    assert _gate(evidence, name).passed
    certified = [o for o in evidence.outcomes if o.attempt.certified]
    assert certified

    def declared(exact: tuple[bool, bool]) -> Evidence:
        one = replace(certified[0], attempt=replace(certified[0].attempt, exact=exact))
        return replace(evidence, outcomes=[one])

    # A held-out record may lie as near as the true one; that is no false certificate.
    assert _gate(declared((True, True)), name).passed
    assert not _gate(declared((False, False)), name).passed
    assert not _gate(declared((False, True)), name).passed


def test_utility_has_one_row_per_protection_on_distinct_records(
    evidence: Evidence, settings: Config
) -> None:
    rows = tables.utility(evidence, settings)
    assert [(row.protection, row.metric) for row in rows] == [
        (name, "accuracy") for name in BOTH
    ]
    held_out = [
        set(repeat.federations["none"].held_out.ids.tolist())
        for repeat in evidence.repeats
    ]
    for row in rows:
        right = [repeat.runs[row.protection].correct for repeat in evidence.repeats]
        assert row.value == pytest.approx(np.mean([one.mean() for one in right]))
        assert row.n == len(set.union(*held_out))


def test_costs_are_means_over_rounds_of_what_crossed_the_wire(
    evidence: Evidence,
) -> None:
    for row in tables.cost(evidence):
        sent = [
            sum(
                len(m.data)
                for m in s.aggregate.transcript.messages
                if m.sender != "server"
            )
            for repeat in evidence.repeats
            for s in repeat.runs[row.protection].snapshots
        ]
        assert row.bytes_up == pytest.approx(np.mean(sent) / 5)


def test_the_crowd_is_what_is_left_of_the_clients() -> None:
    plan = secagg.plan(clients=9, corrupt=2, drop=3)
    federation = tiny.config(
        "federation.clients=9", "federation.corrupt=2", "federation.drop=3"
    ).federation
    rows = {(r.colluders, r.dropouts): r.honest for r in crowd.rows(federation, ())}
    assert rows[0, 0] == 9
    assert rows[2, 3] == 4 == plan.honest_min
    assert rows[1, 4] is None
    assert max(colluders for colluders, _ in rows) == 2


def test_nothing_claims_an_epsilon(evidence: Evidence, settings: Config) -> None:
    for row in guarantees.bounds(_protections(settings), evidence, settings):
        assert row.epsilon_upper is None and row.epsilon_lower is None


def test_curves_show_the_rows_and_the_runs(
    evidence: Evidence, settings: Config
) -> None:
    found = evidence.findings(_protections(settings))
    rows = decide(found, seed=0)
    made = {curve.title: curve for curve in curves(evidence, found, rows, (), settings)}
    accuracy = made["Held-out accuracy per round"]
    for series in accuracy.series[:2]:
        traces = [
            [r.accuracy for r in repeat.runs[series.name].rounds]
            for repeat in evidence.repeats
        ]
        assert series.y == pytest.approx(np.mean(traces, axis=0))
        assert series.low == pytest.approx(np.min(traces, axis=0))
    inversion = made["Linear-layer inversion against the batch size, worst case"]
    by_view = {
        (r.protection, r.view): r
        for r in rows
        if r.adversary == "server"
        and r.attack == LinearInversion.name
        and r.metric.startswith("PSNR")
    }
    measured = [s for s in inversion.series if s.role == "measured" and len(s.x) > 1]
    assert len(measured) == 3
    for series in measured:
        protection, _, view = series.name.partition(": ")
        for batch, y in zip(series.x, series.y, strict=True):
            row = by_view[protection, f"{view}, batch {batch:.0f}, trained model"]
            assert y == row.value
    (null,) = [s for s in inversion.series if s.role == "reference"]
    assert measured[0].name in null.name


def test_tables_of_numbers_have_no_pictures(evidence: Evidence) -> None:
    assert galleries(evidence.outcomes) == ()


def test_only_the_asked_families_are_run(settings: Config, tmp_path: Path) -> None:
    evidence = _gather(tiny.config("repeats=1"), tmp_path)
    assert evidence.outcomes == [] and evidence.rankings == []
    assert (tmp_path / ROUND_LOG).read_text().count("\n") == 2 * 3
