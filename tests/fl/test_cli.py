"""The command as people use it: exit statuses, sentences, and nothing half-written."""

from __future__ import annotations

from pathlib import Path

import pytest

from fl.cli import BAD_INPUT, run
from tests.fl.synthetic import write_hospitals

TINY = (
    "--set=training.rounds=2",
    "--set=repeats=1",
    "--set=attacks.victims=2",
    "--set=attacks.iterations=2",
    "--set=attacks.batches=[1]",
    "--quiet",
)


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def _sentence(capsys: pytest.CaptureFixture[str]) -> str:
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1, lines
    assert lines[0].startswith("blindsum: ")
    return lines[0]


BAD = {
    "no such config": (["audit", "missing.toml"], "missing.toml"),
    "malformed config": (["audit", "broken.toml"], "line 1"),
    "unknown key": (["audit", "--set=training.round=3"], "training.rounds"),
    "unknown section": (["audit", "--set=trainig.rounds=3"], "training"),
    "wrong type": (["audit", "--set=training.rounds=many"], "rounds"),
    "no such data": (["audit", "--set=data.path=none.npz"], "none.npz"),
    "zero clients": (["audit", "--set=federation.clients=0"], "clients"),
    "one client": (["audit", "--set=federation.clients=1"], "clients"),
    "cohort too small": (["audit", "--set=federation.clients=4"], "clients"),
    "one label": (["audit", "one.toml"], "label"),
    "undeclared NaN": (["audit", "nan.toml"], "nan.csv"),
    "more dropouts than planned": (
        ["audit", "--set=federation.dropout=0.9", *TINY],
        "federation.drop",
    ),
    "unknown profile": (["audit", "--profile=lazy"], "lazy"),
    "unknown command": (["audti"], "audti"),
    "unwritable folder": (["audit", "--out=a-file/run", *TINY], "a-file"),
    "existing folder": (["audit", "--out=taken", *TINY], "--force"),
    "no report": (["report", "taken"], "taken/report.json"),
    "impossible plan": (
        ["secagg", "plan", "--clients=3", "--corrupt=2", "--drop=1"],
        "clients",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_sentence_status_two_and_writes_nothing(
    case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "broken.toml").write_text("training = = 3\n")
    (tmp_path / "a-file").write_text("not a folder\n")
    (tmp_path / "taken").mkdir()
    (tmp_path / "one.csv").write_text("a,y\n" + "1,1\n" * 30)
    (tmp_path / "one.toml").write_text('[data]\nsource = "one.csv"\nlabel = "y"\n')
    (tmp_path / "nan.csv").write_text("a,y\n" + "1,1\n2,0\n" * 30 + "?,1\n")
    (tmp_path / "nan.toml").write_text('[data]\nsource = "nan.csv"\nlabel = "y"\n')
    before = {path.name for path in tmp_path.rglob("*")}
    arguments, words = BAD[case]
    assert run(arguments) == BAD_INPUT
    assert words in _sentence(capsys)
    after = {path.name for path in tmp_path.rglob("*")}
    assert after - before <= {"runs"}


def test_an_undeclared_hole_is_named_by_file_line_and_column(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_hospitals(tmp_path)
    path = tmp_path / "heart_va.csv"
    lines = path.read_text().splitlines()
    lines[9] = "nan" + lines[9][lines[9].index(",") :]
    path.write_text("\n".join(lines) + "\n")
    config = Path(__file__).resolve().parents[2] / "examples" / "hospitals.toml"
    assert run(["audit", str(config), "--set=data.folder=."]) == BAD_INPUT
    said = _sentence(capsys)
    assert "heart_va.csv" in said
    assert "line 10" in said
    assert "age" in said


def test_dry_run_says_the_plan_and_writes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["audit", "--dry-run"]) == 0
    said = capsys.readouterr().out
    assert "plan: " in said
    assert list(tmp_path.iterdir()) == []


def test_a_run_gets_a_folder_of_its_own_and_latest_points_at_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["audit", *TINY]) == 0
    said = capsys.readouterr().out.strip().splitlines()
    assert len(said) == 4
    assert said[-1].startswith("Page: runs/")
    first = (tmp_path / "runs" / "latest").resolve()
    assert (first / "report.html").exists()
    assert run(["train", *TINY[:2], "--quiet"]) == 0
    assert (tmp_path / "runs" / "latest").resolve() != first
    assert (first / "report.html").exists()
    capsys.readouterr()
    assert run(["report", str(first)]) == 0
    assert capsys.readouterr().out.strip().splitlines()[:3] == said[:3]


def test_force_replaces_a_whole_run(tmp_path: Path) -> None:
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "old.txt").write_text("old\n")
    assert run(["train", *TINY[:2], "--quiet", "--out=taken", "--force"]) == 0
    assert not (tmp_path / "taken" / "old.txt").exists()
    assert (tmp_path / "taken" / "rounds.jsonl").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]


@pytest.mark.parametrize(
    "command", ["audit", "train", "attack", "report", "doctor", "secagg"]
)
def test_every_command_explains_itself(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([command, "--help"]) == 0
    assert "Usage" in capsys.readouterr().out


@pytest.mark.parametrize("command", ["audit", "train", "attack"])
def test_long_commands_show_examples(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([command, "--help"]) == 0
    assert f"blindsum {command}" in capsys.readouterr().out.partition("Examples")[2]
