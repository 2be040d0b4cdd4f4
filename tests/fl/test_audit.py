"""The whole path, small: train, attack through real messages, decide, write, read."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import jsonschema
import numpy as np
import pytest
from numpy.typing import NDArray

import fl.audit as audits
import fl.protections
import secagg
from attacks import LinearInversion
from fl import preparation
from fl.audit import AuditResult
from fl.config import Config, load_config
from fl.progress import Silent, Task
from fl.protection import Protection
from fl.report import LeakageRow, Report, Scenario, Verdict, from_json
from fl.report.schema import SCHEMA_ID
from fl.settings import USUAL
from secagg.aggregator import Aggregate

ROOT = Path(__file__).resolve().parents[2]
SMALL = (
    "data.limit=400",
    'protections.names=["none", "secagg"]',
    "training.rounds=4",
    "repeats=2",
    "attacks.victims=6",
    "attacks.iterations=8",
    "attacks.batches=[1, 8]",
)


def _config(*sets: str) -> Config:
    return load_config(os.devnull, [*SMALL, *sets])


def _run(folder: Path, *sets: str) -> AuditResult:
    config = _config(*sets)
    return audits.run(config, out=folder / "run", force=False, progress=Silent())


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> AuditResult:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("os.cpu_count", lambda: 1)
        return _run(tmp_path_factory.mktemp("audit"))


def _rows(report: Report, **wanted: str) -> list[LeakageRow]:
    return [
        row
        for row in report.leakage
        if all(getattr(row, name) == value for name, value in wanted.items())
    ]


def test_report_json_follows_the_schema_that_ships(done: AuditResult) -> None:
    schema = json.loads((ROOT / "fl/report/report.schema.json").read_text())
    text = (done.folder / "report.json").read_text()
    jsonschema.validate(json.loads(text), schema)
    assert from_json(text) == done.report
    assert json.loads(text)["schema"] == SCHEMA_ID


def test_every_file_of_the_run_is_there_and_no_draft_is_left(done: AuditResult) -> None:
    names = {path.name for path in done.folder.iterdir()}
    assert {"report.json", "report.html", "report.md", "rounds.jsonl"} <= names
    assert {
        f"model-{p}-seed{s}.npz" for p in ("none", "secagg") for s in (0, 1)
    } <= names
    assert [path.name for path in done.folder.parent.iterdir()] == ["run"]


def test_batch_one_is_recovered_exactly_and_certified_without_protection(
    done: AuditResult,
) -> None:
    for checkpoint in ("untrained", "trained"):
        rows = _rows(
            done.report,
            protection="none",
            adversary="server",
            view=f"one upload, batch 1, {checkpoint} model",
            attack=LinearInversion.name,
        )
        exact = next(row for row in rows if row.metric.startswith("exact"))
        assert exact.verdict is Verdict.RECOVERED
        assert exact.value == 1.0
        assert exact.n == 6
        assert "6 of them certified" in exact.why


def test_a_single_masked_upload_gives_the_null(done: AuditResult) -> None:
    rows = [
        row
        for row in _rows(done.report, protection="secagg", adversary="server")
        if row.view.startswith("one masked upload") and row.value is not None
    ]
    assert {row.scenario for row in rows} == set(Scenario)
    for row in rows:
        assert row.verdict is Verdict.PREVENTED, (row.view, row.attack, row.metric)
        assert row.low is not None and row.null is not None
        assert row.low <= row.null
        assert "masks" in row.why


def test_both_protections_train_the_same_model(done: AuditResult) -> None:
    by_name = {row.protection: row.value for row in done.report.utility}
    assert abs((by_name["none"] or 0) - (by_name["secagg"] or 1)) <= 0.005
    assert [gate.name for gate in done.report.gates if not gate.passed] == []


def test_every_cell_of_the_matrix_has_a_row(done: AuditResult) -> None:
    seen = {(r.protection, r.adversary, r.scenario) for r in done.report.leakage}
    assert seen == {
        (protection, adversary, scenario)
        for protection in ("none", "secagg")
        for adversary in ("server", "server+A", "client", "outsider")
        for scenario in Scenario
    }


def test_the_verdicts_of_the_page_hold_together(done: AuditResult) -> None:
    # Holm's steps, in each half of the budget: what was left is judged at the level
    # of all that was left, and nothing at a lower one.
    tests: dict[bool, dict[tuple[str, ...], tuple[float, bool]]] = {True: {}, False: {}}
    for row in done.report.leakage:
        if row.confidence is None:
            continue
        # Adversaries who see the same thing share one test.
        key = (row.protection, row.scenario, row.view, row.attack, row.metric)
        answer = (row.confidence, row.verdict in (Verdict.LEAKS, Verdict.RECOVERED))
        ranking = row.metric.startswith(("AUC", "TPR"))
        assert tests[ranking].setdefault(key, answer) == answer
    for family in tests.values():
        left = [confidence for confidence, found in family.values() if not found]
        assert left
        assert sum(1 - one for one in left) == pytest.approx(0.025)
        for confidence, _ in family.values():
            assert 1 - 0.025 / len(left) <= confidence + 1e-12
            assert confidence <= 1 - 0.025 / len(family) + 1e-12


def _without_times(value: object) -> object:
    timed = re.compile(r"seconds|_s$|started_utc|cpu|^cores$")
    if isinstance(value, dict):
        return {k: _without_times(v) for k, v in value.items() if not timed.search(k)}
    if isinstance(value, list):
        return [_without_times(item) for item in value]
    return value


MATRIX = (
    "data.limit=400",
    "federation.clients=8",
    "federation.corrupt=1",
    "federation.drop=2",
    "training.rounds=3",
    "privacy.allow_useless=true",
    "privacy.example.sampling_rate=1.0",
    "model.hidden=[16]",
    "repeats=1",
    "profile=quick",
    "attacks.victims=4",
    "attacks.iterations=2",
    "attacks.batches=[1]",
    "attacks.canaries=20",
)


def _whole(folder: Path) -> AuditResult:
    config = load_config(os.devnull, MATRIX)
    return audits.run(config, out=folder / "run", force=False, progress=Silent())


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> AuditResult:
    """All six protections, as nobody asked for by name."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("os.cpu_count", lambda: 1)
        return _whole(tmp_path_factory.mktemp("matrix"))


def test_the_whole_matrix_has_a_row_in_every_cell(whole: AuditResult) -> None:
    report = whole.report
    schema = json.loads((ROOT / "fl/report/report.schema.json").read_text())
    jsonschema.validate(json.loads((whole.folder / "report.json").read_text()), schema)
    cells = {(r.protection, r.adversary, r.scenario) for r in report.leakage}
    assert cells == {
        (protection, adversary, scenario)
        for protection in USUAL
        for adversary in ("server", "server+A", "client", "outsider")
        for scenario in Scenario
    }
    measured = {
        (r.protection, r.adversary) for r in report.leakage if r.value is not None
    }
    assert len(measured) == len(USUAL) * 4
    assert [gate.name for gate in report.gates if not gate.passed] == []
    assert report.refused == ()
    for table in (report.utility, report.privacy, report.cost):
        assert {row.protection for row in table} == set(USUAL)


def test_every_noise_is_accounted_for_and_measured(whole: AuditResult) -> None:
    report = whole.report
    noised = set(USUAL) - {"none", "secagg", "he-bfv"}
    for row in report.privacy:
        assert (row.epsilon_upper is not None) == (row.protection in noised)
        assert (row.epsilon_lower is not None) == (row.protection in noised)
        if row.epsilon_upper is not None and row.epsilon_lower is not None:
            assert row.epsilon_lower <= row.epsilon_upper <= 8.0
            assert row.n_canaries >= 16
            # All bounds share one error of 5 %.
            assert row.confidence == pytest.approx(1 - 0.05 / len(noised))
    assert {row.protection for row in report.ledger} == noised
    assert {one.protection for one in report.statements} == noised
    assert {(row.noise, row.violated) for row in report.drill} >= {("left out", True)}


def test_the_same_seed_is_the_same_run_in_worker_processes_and_in_one(
    whole: AuditResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    again = _whole(tmp_path)
    first, second = (
        _without_times(json.loads((one.folder / "report.json").read_text()))
        for one in (whole, again)
    )
    assert isinstance(first, dict) and isinstance(second, dict)
    for part in first:
        assert first[part] == second[part], part
    for path in whole.folder.glob("model-*.npz"):
        with np.load(path) as one, np.load(again.folder / path.name) as other:
            np.testing.assert_array_equal(one["parameters"], other["parameters"])


class _Unmasked:
    """A planted bug: claims to mask, sends every update in the clear."""

    name = "secagg"

    def aggregate(
        self,
        vectors: Mapping[str, NDArray[np.float32]],
        weights: Mapping[str, int],
        *,
        context: bytes,
        session: bytes,
        vanish: Mapping[str, str] | None = None,
        seed: bytes | None = None,
    ) -> Aggregate:
        return secagg.PlainSum().aggregate(
            vectors,
            weights,
            context=context,
            session=session,
            vanish=vanish or {},
            seed=seed,
        )


def test_a_protection_that_forgets_its_masks_fails_its_gate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = fl.protections.build

    def planted(name: str, config: Config, clients: int) -> Protection:
        unmasked = _Unmasked()
        return replace(real(name, config, clients), aggregator=lambda _: unmasked)

    monkeypatch.setattr(preparation, "build", planted)
    result = audits.run(
        _config('protections.names=["secagg"]', "repeats=1"),
        out=tmp_path / "run",
        force=False,
        progress=Silent(),
        only="inversion",
    )
    failed = {gate.name for gate in result.report.gates if not gate.passed}
    assert failed == {"masked and encrypted uploads tell nothing"}


class _StopsAfter:
    """A reporter that presses Ctrl-C once a piece of work of this name was done."""

    def __init__(self, name: str) -> None:
        self._name = name

    def task(self, name: str, total: int) -> Task:
        return _Stopping(self._name)


class _Stopping:
    def __init__(self, name: str) -> None:
        self._name = name

    def advance(self, detail: str = "", steps: int = 1) -> None:
        if detail.startswith(self._name):
            raise KeyboardInterrupt


def test_ctrl_c_keeps_what_was_done_and_says_what_was_not(tmp_path: Path) -> None:
    result = audits.run(
        _config(),
        out=tmp_path / "run",
        force=False,
        progress=_StopsAfter("none, seed 1: accuracy"),
    )
    assert result.interrupted
    assert {row.verdict for row in result.report.leakage} == {Verdict.NOT_MEASURED}
    assert all("Ctrl-C" in row.why for row in result.report.leakage)
    assert result.report.utility[0].n > 0
    assert (result.folder / "report.html").exists()


def test_ctrl_c_before_anything_is_complete_keeps_the_log(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        audits.run(
            _config(),
            out=tmp_path / "run",
            force=False,
            progress=_StopsAfter("none, seed 0: accuracy"),
        )
    lines = (tmp_path / "run" / "rounds.jsonl").read_text().splitlines()
    assert len(lines) == 4
    assert json.loads(lines[-1])["protection"] == "none"
