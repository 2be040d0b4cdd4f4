"""`python -m benchmarks membership`, made small: its figures, and what is left out."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from attacks.membership.federated.registry import ATTACKS
from benchmarks import __main__ as program
from benchmarks import default_attack, four_sets, membership, views
from benchmarks.default_attack import Pair
from benchmarks.four_sets import FOLDER
from fl import audit
from fl.parallel import WORKERS
from fl.report.schema import LeakageRow, Scenario, Verdict

ADULT = """\
age,sex,capital_gain,income
45,Male,0,<=50K
90,Female,99999,>50K
28,Female,10,<=50K
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(FOLDER, str(tmp_path))
    return tmp_path


def test_sets_whose_file_is_not_there_are_left_out_aloud(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "adult.csv").write_text(ADULT)
    assert four_sets.present() == ("digits", "adult")
    said = capsys.readouterr().out
    assert "location: left out; no location30.npz" in said
    assert "mnist: left out; no mnist.npz" in said


def test_every_record_is_scaled_by_constants_into_the_unit_interval(
    folder: Path,
) -> None:
    (folder / "adult.csv").write_text(ADULT)
    rng = np.random.default_rng(0)
    images = rng.integers(256, size=(9, 28, 28), dtype=np.uint8)
    np.savez(folder / "mnist.npz", x_train=images, y_train=np.arange(9) % 3)
    places = rng.integers(2, size=(9, 5), dtype=np.uint8)
    np.savez(folder / "location30.npz", x=places, y=1 + np.arange(9) % 3)
    for name in four_sets.NAMES:
        found = four_sets.load(name)
        assert found.x.dtype == np.float32 and found.y.dtype == np.int64
        assert found.x.min() >= 0 and found.x.max() <= 1
        assert set(found.y) == set(range(found.classes))
    adult = four_sets.load("adult")
    order = np.argsort(adult.x[:, 0])  # 28, 45 and 90 years
    wanted = [[28 / 90, 1, 0, 10 / 99_999], [0.5, 0, 1, 0], [1, 1, 0, 1]]
    np.testing.assert_allclose(adult.x[order], wanted, rtol=1e-6)
    assert list(adult.y[order]) == [0, 0, 1]


def test_the_best_attack_is_ahead_only_where_its_gain_is_seen_in_every_seed(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def pair(seed: int, base: float) -> Pair:
        tpr = {
            "loss": base,
            "lira": base + 0.1 + 0.001 * seed,
            "rmia": base + 0.09 + 0.03 * seed * (-1) ** seed,
        }
        return Pair(gap=0.1, auc=tpr, tpr=tpr)

    found = {
        (name, seed): pair(seed, base)
        for name, base in (("one", 0.1), ("two", 0.3))
        for seed in range(5)
    }
    figures = default_attack._gains(found, ("loss", "lira", "rmia"))
    said = capsys.readouterr().out
    assert "lira has the highest TPR at 2% FPR" in said
    assert figures["tpr_gain_of_lira_on_loss_low"] > 0.09
    assert figures["tpr_gain_of_lira_on_rmia_low"] < 0
    lines = {line.split()[1]: line for line in said.splitlines()[1:3]}
    assert " ahead " in lines["loss"] and "not told apart" in lines["rmia"]
    assert "on two alone: lira is ahead of 1; not told from rmia" in said


def test_each_seed_draws_its_own_models_and_the_same_ones_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(default_attack, "EPOCHS", 1)
    jobs = [("digits", seed, ("loss", "lira")) for seed in (0, 1, 0)]
    one, other, again = map(default_attack.run, jobs)
    assert one == again
    assert one != other
    assert set(one.auc) == set(one.tpr) == {"loss", "lira"}


def test_a_table_of_views_is_that_of_the_audits_page(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pages = []
    real = audit.run

    def watched(*given: object, **named: object) -> audit.AuditResult:
        pages.append(real(*given, **named))  # type: ignore[arg-type]
        return pages[-1]

    monkeypatch.setattr(audit, "run", watched)
    monkeypatch.setenv(WORKERS, "1")  # starting others takes longer than all of it
    monkeypatch.setattr(four_sets, "RECORDS", 120)
    monkeypatch.setattr(views, "CLIENTS", 6)
    small = (
        "federation.clients=6",
        "training.rounds=2",
        "model.hidden=[4]",
        "attacks.federated=[]",
    )
    monkeypatch.setattr(views, "SETTINGS", (*views.SETTINGS, *small))
    figures = views.measure(["digits"], quick=True)
    said = capsys.readouterr().out
    (page,) = pages
    for row in page.report.leakage:
        if row.value is not None and row.attack == "LiRA" and row.metric == "AUC":
            name = f"view_digits_{row.protection}_released_model_lira_auc"
            assert figures[name] == row.value
            assert figures[f"{name}_low"] == row.low
            assert figures[f"{name}_high"] == row.high
    assert "the honest clients' sum" in said and "one client's model" in said


def test_fedmia_is_compared_on_uploads_in_the_clear_and_on_sums() -> None:
    def row(protection: str, view: str, value: float) -> LeakageRow:
        return LeakageRow(
            protection=protection,
            adversary="server",
            view=view,
            scenario=Scenario.AS_CONFIGURED,
            attack=ATTACKS["fedmia-cosine"].title,
            metric="AUC",
            value=value,
            low=value - 0.05,
            high=value + 0.05,
            confidence=0.95,
            n=100,
            n_failed=0,
            null=0.2,
            verdict=Verdict.LEAKS,
            min_detectable=None,
            seeds=(0,),
            seconds=0.0,
            why="",
        )

    rows = [
        row("none", views.APART, 0.8),
        row("secagg", views.TOGETHER, 0.6),
        row("secagg", "all masked uploads", 0.9),
    ]
    found = {(one.protection, one.view, one.attack, one.metric): one for one in rows}
    figures = views._fedmia("digits", found)
    assert figures == {"fedmia_cosine_client_less_aggregate_digits": pytest.approx(0.2)}
    assert views._fedmia("digits", {}) == {}


def test_the_last_line_holds_the_figures_of_every_part(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for number, part in enumerate(("shadow_speed", "tightness", "planted")):
        made = {f"of_{part}": float(number)}
        monkeypatch.setattr(
            getattr(membership, part), "measure", lambda _, made=made: made
        )
    for part in ("default_attack", "views"):
        monkeypatch.setattr(
            getattr(membership, part),
            "measure",
            lambda names, _, part=part: {f"of_{part}": float(len(names))},
        )
    monkeypatch.delenv(FOLDER, raising=False)
    arguments = ["benchmarks", "membership", "--quick", "--data", "/nowhere"]
    monkeypatch.setenv(FOLDER, "")  # put back what the command sets
    monkeypatch.setattr("sys.argv", arguments)
    assert program.main() == 0
    record = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert record["benchmark"] == "membership"
    assert record["figures"] == {
        "sets": 1.0,
        "of_shadow_speed": 0.0,
        "of_tightness": 1.0,
        "of_planted": 2.0,
        "of_default_attack": 1.0,
        "of_views": 1.0,
    }
