"""The command as people use it: exit statuses, sentences, and nothing half-written."""

from __future__ import annotations

from pathlib import Path

import pytest

from fl.cli import BAD_INPUT, run
from fl.parallel import WORKERS, workers
from tests.fl.synthetic import write_hospitals

SMALL = (
    "--set=training.rounds=2",
    "--set=repeats=1",
    "--set=federation.clients=10",
    "--set=federation.participation=1.0",
    "--set=federation.corrupt=2",
    "--set=federation.drop=3",
    '--set=protections.names=["none", "secagg"]',
    "--quiet",
)
TINY = (
    *SMALL,
    "--set=data.limit=400",
    "--set=attacks.victims=2",
    "--set=attacks.iterations=2",
    "--set=attacks.batches=[1]",
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
    "a key that the source ignores": (
        ["audit", "--set=data.positive=> 0"],
        "positive is a key of .csv data",
    ),
    "no process": (["audit", "--jobs=0"], "--jobs"),
    "zero clients": (["audit", "--set=federation.clients=0"], "clients"),
    "one client": (["audit", "--set=federation.clients=1"], "clients"),
    "cohort too small": (["audit", "--set=federation.clients=4"], "clients"),
    "one label": (["audit", "one.toml"], "label"),
    "undeclared NaN": (["audit", "nan.toml"], "nan.csv"),
    "more dropouts than planned": (
        ["audit", "--set=federation.dropout=0.9"],
        "raise drop or lower dropout",
    ),
    "too many clients": (["audit", "--set=federation.clients=5000"], "clients"),
    "a weight above the bound": (
        ["audit", "--set=training.weight_max=5"],
        "training.weight_max",
    ),
    "fewer records than clients": (
        ["audit", "few.toml", "--set=federation.clients=7"],
        "federation.clients",
    ),
    "model does not fit the data": (
        ["audit", "--dry-run", "--set=data.source=wine", "--set=model.kind=cnn"],
        "cnn",
    ),
    "user data that raises": (
        ["audit", "--dry-run", "--set=data.source=mine:boom"],
        "mine.py, line 2: no luck",
    ),
    "user model that raises": (
        ["audit", "--dry-run", "--set=model.kind=mine:Net"],
        "no layers",
    ),
    "forcing a folder that is no run": (
        ["audit", "--out=thesis", "--force", *TINY],
        "not the folder of a run",
    ),
    "forcing the working directory": (
        ["audit", "--out=.", "--force", *TINY],
        "--out",
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
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.txt").write_text("years of work\n")
    (tmp_path / "mine.py").write_text(
        "def boom():\n    raise ValueError('no luck')\n\n\n"
        "class Net:\n    def __init__(self, shape, classes):\n"
        "        raise KeyError('no layers')\n"
    )
    few = "".join(f"{i},{i % 2}\n" for i in range(12))
    (tmp_path / "few.csv").write_text("a,y\n" + few)
    (tmp_path / "few.toml").write_text('[data]\nsource = "few.csv"\nlabel = "y"\n')
    (tmp_path / "one.csv").write_text("a,y\n" + "1,1\n" * 30)
    (tmp_path / "one.toml").write_text('[data]\nsource = "one.csv"\nlabel = "y"\n')
    (tmp_path / "nan.csv").write_text("a,y\n" + "1,1\n2,0\n" * 30 + "?,1\n")
    (tmp_path / "nan.toml").write_text('[data]\nsource = "nan.csv"\nlabel = "y"\n')
    before = {path.name for path in tmp_path.rglob("*")}
    arguments, words = BAD[case]
    assert run(arguments) == BAD_INPUT
    assert words in _sentence(capsys)
    after = {path.name for path in tmp_path.rglob("*")}
    assert after - before <= {"runs", "__pycache__"} | {
        name for name in after if name.endswith(".pyc")
    }


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


def test_jobs_is_how_many_processes_share_the_work(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(WORKERS, "9")  # put back at the end
    assert run(["audit", "--dry-run", "--jobs", "3"]) == 0
    assert workers() == 3


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
    assert run(["train", *SMALL]) == 0
    assert (tmp_path / "runs" / "latest").resolve() != first
    assert (first / "report.html").exists()
    capsys.readouterr()
    assert run(["report", str(first)]) == 0
    assert capsys.readouterr().out.strip().splitlines()[:3] == said[:3]


def test_force_replaces_a_whole_run(tmp_path: Path) -> None:
    assert run(["train", *SMALL, "--out=taken"]) == 0
    (tmp_path / "taken" / "old.txt").write_text("old\n")
    assert run(["train", *SMALL, "--out=taken", "--force"]) == 0
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


def test_a_run_is_named_after_its_data(tmp_path: Path) -> None:
    assert run(["train", *SMALL, "--set=data.source=wine"]) == 0
    assert (tmp_path / "runs" / "latest").resolve().name.endswith("-wine")


def test_the_version_is_the_packages(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--version"]) == 0
    assert capsys.readouterr().out.startswith("blindsum 0.")


def test_models_of_the_users_records_are_the_owners_alone(tmp_path: Path) -> None:
    write_hospitals(tmp_path)
    config = Path(__file__).resolve().parents[2] / "examples" / "hospitals.toml"
    arguments = ["train", str(config), "--set=data.folder=.", *SMALL[:2], "--quiet"]
    assert run(arguments) == 0
    modes = {
        path.stat().st_mode & 0o777
        for path in (tmp_path / "runs" / "latest").glob("model-*.npz")
    }
    assert modes == {0o600}


def test_ctrl_c_says_where_the_run_lies_and_leaves_latest_alone(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("fl.stages.training.run", stop)
    assert run(["audit", *TINY]) == 130
    said = _sentence(capsys)
    (folder,) = (tmp_path / "runs").iterdir()
    assert folder.name in said
    assert (folder / "config.json").exists()
