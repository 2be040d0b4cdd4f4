"""Whole runs that are stopped, killed and gone on with, as people do it."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fl.begun
import fl.stages.training
from fl import models
from fl.begun import begin, begun_in
from fl.cli import BAD_INPUT, run
from fl.config import load_config
from fl.diary import RunDiary
from fl.folder import RunFolder
from fl.stages import epsilon, membership
from tests.fl import tiny
from tests.fl.equal import plain

ROOT = Path(__file__).resolve().parents[2]
SMALL = (
    "data.source=made-up.npz",
    "federation.clients=5",
    "federation.corrupt=1",
    "federation.drop=1",
    "training.rounds=4",
    "repeats=2",
    "log.checkpoint_seconds=0",
    'protections.names=["none", "secagg"]',
)
NOISED = (
    *SMALL,
    "repeats=1",
    "training.rounds=2",
    "privacy.example.sampling_rate=1.0",
    "attacks.victims=2",
    "attacks.iterations=2",
    "attacks.batches=[1]",
    "attacks.canaries=20",
    "model.kind=logreg",
    'protections.names=["none", "dp-sgd"]',
)

PLAIN = ('protections.names=["none"]',)


def _sets(sets: tuple[str, ...]) -> list[str]:
    return [*(f"--set={one}" for one in sets), "--quiet"]


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BLINDSUM_WORKERS", "1")
    _provide(tmp_path)


def _provide(folder: Path) -> None:
    """Put the configuration and the data into a folder."""
    (folder / "empty.toml").write_text("")
    made = tiny.dataset(features=16)
    pictures = made.features.reshape(-1, 1, 4, 4)
    np.savez(folder / "made-up.npz", x=pictures, y=made.labels)


GIVEN = {"empty.toml", "made-up.npz"}


def _content(folder: Path) -> dict[str, object]:
    """Return all that a finished run holds, without times."""
    found: dict[str, object] = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.suffix == ".npz":
            with np.load(path) as arrays:
                found[name] = plain({key: arrays[key] for key in arrays.files})
        elif path.suffix == ".jsonl":
            found[name] = plain(
                [json.loads(one) for one in path.read_text().splitlines()]
            )
        elif path.suffix == ".json":
            found[name] = plain(json.loads(path.read_text()))
        elif path.is_file():
            found[name] = "times within"
    return found


def _tree(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def _stop_after(rounds: int, how: Callable[[], None]) -> Callable[..., None]:
    """Return a diary's `write` that ends the process's work after so many rounds."""
    real, left = RunDiary.write, rounds

    def write(self: RunDiary, checkpoint: object) -> None:
        nonlocal left
        real(self, checkpoint)  # type: ignore[arg-type]
        left -= 1
        if not left:
            how()

    return write


def _press_ctrl_c() -> None:
    raise KeyboardInterrupt


def _said(capsys: pytest.CaptureFixture[str]) -> str:
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1, lines
    assert lines[0].startswith("blindsum: ")
    return lines[0]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training that was never stopped."""
    place = tmp_path_factory.mktemp("whole") / "run"
    _provide(place.parent)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BLINDSUM_WORKERS", "1")
        patch.chdir(place.parent)
        assert run(["train", "empty.toml", "--out=run", *_sets(SMALL)]) == 0
    return place


@pytest.mark.parametrize("rounds", [1, 6, 16])
def test_a_training_stopped_by_ctrl_c_goes_on_to_the_same_files(
    rounds: int,
    whole: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(RunDiary, "write", _stop_after(rounds, _press_ctrl_c))
        assert run(["train", "empty.toml", "--out=cut", *_sets(SMALL)]) == 130
    assert "--resume cut goes on with it" in _said(capsys)
    lines = (tmp_path / "cut" / "rounds.jsonl").read_text().splitlines()
    assert len(lines) == rounds
    assert run(["train", "--resume", "cut", "--quiet"]) == 0
    assert _content(tmp_path / "cut") == _content(whole)
    assert {path.name for path in tmp_path.iterdir()} == {"cut"} | GIVEN


def test_a_training_that_is_killed_goes_on_to_the_same_files(
    whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = "import sys; from fl.cli import run; sys.exit(run(sys.argv[1:]))"
    # Slower than the test looks, so that it is killed in the middle.
    code = f"import time, fl.diary as d; r = d.append\n{code[:11]}\n" + (
        "d.append = lambda *a: (r(*a), time.sleep(0.2))\n" + code[12:]
    )
    arguments = ["train", "empty.toml", "--out=cut", *_sets(SMALL)]
    process = subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    log = tmp_path / ".cut.part" / "rounds.jsonl"
    deadline = time.monotonic() + 120
    while not (log.exists() and log.read_bytes().count(b"\n") >= 6):
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.02)
    assert run(["train", "--resume", "cut", "--quiet"]) == BAD_INPUT
    assert "another process is at work on cut" in _said(capsys)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "cut").exists()
    # Whoever would begin anew in its place is told of it.
    assert run(arguments) == BAD_INPUT
    assert "--resume cut" in _said(capsys)
    assert run(["train", "--resume", "cut", "--quiet"]) == 0
    assert _content(tmp_path / "cut") == _content(whole)


def _children(parent: int) -> set[int]:
    """Return the worker processes of a process."""
    found = set()
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
            command = (folder / "cmdline").read_text()
        except OSError:
            continue
        if int(fields[1]) == parent and "popen_loky" in command:
            found.add(int(folder.name))
    return found


def _lives(process: int) -> bool:
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


@pytest.mark.slow
def test_workers_end_with_the_process_that_is_killed_and_leave_it_resumable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    longer = _sets((*SMALL, "repeats=3", "training.rounds=100"))
    assert run(["train", "empty.toml", "--out=whole", *longer]) == 0
    code = "import sys; from fl.cli import run; sys.exit(run(sys.argv[1:]))"
    process = subprocess.Popen(
        [sys.executable, "-c", code, "train", "empty.toml", "--out=cut", *longer],
        env={**os.environ, "PYTHONPATH": str(ROOT), "BLINDSUM_WORKERS": "2"},
    )
    log = tmp_path / ".cut.part" / "rounds.jsonl"
    deadline = time.monotonic() + 120
    while not (log.exists() and log.read_bytes().count(b"\n") >= 30):
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.02)
    workers = _children(process.pid)
    assert len(workers) == 2
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert log.read_bytes().count(b"\n") < 600
    assert run(["train", "--resume", "cut", "--quiet"]) == 0
    assert _content(tmp_path / "cut") == _content(tmp_path / "whole")
    while any(map(_lives, workers)):
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_a_cut_off_run_is_replaced_by_force_only(draft: Path, tmp_path: Path) -> None:
    arguments = ["train", "empty.toml", "--out=cut", *_sets(SMALL)]
    assert run(arguments) == BAD_INPUT
    assert run([*arguments, "--force"]) == 0
    assert {path.name for path in tmp_path.iterdir()} == {"cut"} | GIVEN


class _DefectError(Exception):
    """A defect of ours."""


def _fail() -> None:
    raise _DefectError


@pytest.fixture(scope="module")
def cut_off(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that ended by a defect, which leaves its draft as a kill does."""
    folder = tmp_path_factory.mktemp("cut-off")
    _provide(folder)
    with pytest.MonkeyPatch.context() as patch, pytest.raises(_DefectError):
        patch.setenv("BLINDSUM_WORKERS", "1")
        patch.chdir(folder)
        patch.setattr(RunDiary, "write", _stop_after(6, _fail))
        run(["train", "empty.toml", "--out=cut", *_sets(SMALL)])
    return folder / ".cut.part"


@pytest.fixture
def draft(cut_off: Path, tmp_path: Path) -> Path:
    """A copy of it in the working directory."""
    return shutil.copytree(cut_off, tmp_path / ".cut.part")


def test_a_defect_after_the_first_round_loses_nothing(
    whole: Path, draft: Path, tmp_path: Path
) -> None:
    assert run(["train", "--resume", str(draft), "--quiet"]) == 0
    assert _content(tmp_path / "cut") == _content(whole)


def _fill_the_disk() -> None:
    raise OSError(28, "No space left on device")


def test_a_full_disk_after_the_first_round_is_one_sentence_and_loses_nothing(
    whole: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(RunDiary, "write", _stop_after(2, _fill_the_disk))
        arguments = ["train", "empty.toml", "--out=cut", *_sets(SMALL)]
        assert run(arguments) == BAD_INPUT
    said = _said(capsys)
    assert "No space left" in said and "--resume cut" in said
    assert run(["train", "--resume=cut", "--quiet"]) == 0
    assert _content(tmp_path / "cut") == _content(whole)


REFUSED: dict[str, tuple[list[str], str]] = {
    "a configuration": (
        ["train", "empty.toml", "--resume=cut"],
        "as it was configured",
    ),
    "another key": (["train", "--resume=cut", "--set=seed=3"], "as it was configured"),
    "another seed": (["train", "--resume=cut", "--seed=3"], "as it was configured"),
    "another place": (["train", "--resume=cut", "--out=x"], "as it was configured"),
    "force": (["train", "--resume=cut", "--force"], "as it was configured"),
    "a tracker": (["train", "--resume=cut", "--tensorboard"], "as it was configured"),
    "a dry run": (["audit", "--resume=cut", "--dry-run"], "as it was configured"),
    "another command": (["audit", "--resume=cut"], "blindsum train --resume cut"),
    "another family": (
        ["attack", "membership", "--resume=cut"],
        "blindsum train --resume cut",
    ),
    "nothing there": (["train", "--resume=gone"], "not the folder of a run"),
    "the folder above": (["train", "--resume=."], "cut off in it: .cut.part"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_gone_on_with_is_one_sentence_and_changes_nothing(
    case: str,
    draft: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    before = _tree(tmp_path)
    arguments, words = REFUSED[case]
    assert run(arguments) == BAD_INPUT
    assert words in _said(capsys)
    assert _tree(tmp_path) == before


def test_a_finished_run_is_left_as_it_is(
    whole: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = _tree(whole)
    assert run(["train", f"--resume={whole}"]) == BAD_INPUT
    assert "is finished; there is nothing left to do" in _said(capsys)
    assert _tree(whole) == before


def _other_config(draft: Path, patch: pytest.MonkeyPatch) -> None:
    path = draft / "config.json"
    path.write_text(path.read_text().replace('"rounds": 4', '"rounds": 5'))


def _other_data(draft: Path, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(fl.begun, "data_hash", lambda _: "0" * 64)


def _other_software(draft: Path, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(fl.begun, "versions", lambda: {"torch": "0.0.1"})


def _other_commit(draft: Path, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(fl.begun, "commit", lambda: "abcdef")


def _damaged_piece(draft: Path, patch: pytest.MonkeyPatch) -> None:
    path = draft / "resume" / "run-none-seed0.piece"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def _damaged_beginning(draft: Path, patch: pytest.MonkeyPatch) -> None:
    path = draft / "resume" / "begun"
    path.write_bytes(path.read_bytes().replace(b"train", b"audit"))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (_other_config, "config.json is not what the run was begun with"),
        (_other_data, "begun with data"),
        (_other_software, "which may change its bits"),
        (_other_commit, "begun with commit"),
        (_damaged_piece, "run-none-seed0.piece is damaged"),
        (_damaged_beginning, "begun is damaged"),
    ],
)
def test_a_run_that_would_come_out_otherwise_is_refused_and_left_as_it_is(
    change: Callable[[Path, pytest.MonkeyPatch], None],
    words: str,
    draft: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    change(draft, monkeypatch)
    before = _tree(tmp_path)
    assert run(["train", "--resume=cut", "--quiet"]) == BAD_INPUT
    assert words in _said(capsys)
    assert _tree(tmp_path) == before


def test_a_damaged_piece_that_is_deleted_is_made_again(
    whole: Path, draft: Path, tmp_path: Path
) -> None:
    (draft / "resume" / "run-none-seed0.piece").unlink()
    assert run(["train", "--resume=cut", "--quiet"]) == 0
    assert _content(tmp_path / "cut") == _content(whole)


def test_two_processes_cannot_go_on_with_one_run(
    draft: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = _tree(tmp_path)
    with (draft / "resume" / "lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for arguments in (
            ["train", "--resume=cut", "--quiet"],
            ["train", "empty.toml", "--out=cut", "--force", *_sets(SMALL)],
        ):
            assert run(arguments) == BAD_INPUT
            assert "another process is at work on cut" in _said(capsys)
    assert _tree(tmp_path) == before


def test_a_run_without_a_name_of_its_own_goes_on_and_becomes_the_latest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch, pytest.raises(_DefectError):
        patch.setattr(RunDiary, "write", _stop_after(2, _fail))
        run(["train", "empty.toml", *_sets(SMALL)])
    (draft,) = (tmp_path / "runs").iterdir()
    assert draft.name.startswith(".") and draft.name.endswith("-made-up.part")
    assert run(["train", "--resume", str(draft), "--quiet"]) == 0
    latest = tmp_path / "runs" / "latest"
    assert latest.resolve().name == draft.name[1:-5]
    assert run(["train", "--resume", str(latest)]) == BAD_INPUT


def _ran(place: Path) -> int:
    return run(["audit", "empty.toml", f"--out={place}", *_sets(NOISED)])


@pytest.fixture(scope="module")
def audited(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    """An audit that was never stopped."""
    place = tmp_path_factory.mktemp("audited") / "run"
    _provide(place.parent)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BLINDSUM_WORKERS", "1")
        patch.chdir(place.parent)
        assert _ran(place) == 0
    return _content(place)


@pytest.mark.parametrize(
    "stage",
    [pytest.param("training", marks=pytest.mark.slow), "inversion", "epsilon"],
)
def test_an_audit_stopped_in_any_stage_ends_with_the_same_report(
    stage: str,
    audited: dict[str, object],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    place = tmp_path / "run"
    with monkeypatch.context() as patch:
        if stage == "training":
            patch.setattr(RunDiary, "write", _stop_after(3, _press_ctrl_c))
        elif stage == "inversion":
            patch.setattr("fl.inversion.outcomes", lambda *_: _press_ctrl_c())
        else:
            patch.setattr(epsilon, "drill", lambda *_: _press_ctrl_c())
        assert _ran(place) == 130
    assert f"--resume {place}" in _said(capsys)
    assert (place / "report.html").exists() == (stage != "training")
    first = _manifest(place) if stage != "training" else None
    if stage == "epsilon":  # what was finished is not done again
        for done in (
            (membership.membership, "train_shadows"),
            (epsilon.canaries, "play"),
            (fl.stages.training, "baselines"),
        ):
            monkeypatch.setattr(*done, lambda *_, **__: pytest.fail("done again"))
    assert run(["audit", "--resume", str(place), "--quiet"]) == 0
    found = _content(place)
    assert set(found) == set(audited)
    for name, content in audited.items():
        assert found[name] == content, name
    if first is not None:  # one audit, of two sittings
        last = _manifest(place)
        assert last["started_utc"] == first["started_utc"]
        assert last["seconds"] > first["seconds"]


def _manifest(place: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((place / "report.json").read_text())["manifest"]
    return found


def test_a_benchmark_of_attacks_goes_on_too(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    family = ["attack", "inversion"]
    arguments = [*family, "empty.toml", "--out=cut", *_sets((*NOISED[:-1], *PLAIN))]
    with monkeypatch.context() as patch:
        patch.setattr(RunDiary, "write", _stop_after(1, _press_ctrl_c))
        assert run(arguments) == 130
    assert "--resume cut" in _said(capsys)
    assert run([*family, "--resume=cut", "--quiet"]) == 0
    assert (tmp_path / "cut" / "report.html").exists()
    assert not (tmp_path / "cut" / "resume").exists()


def test_what_nobody_asked_for_by_name_may_still_be_left_out(tmp_path: Path) -> None:
    for sets in ((), ('protections.names=["none"]',)):
        config = load_config(os.devnull, sets)
        folder = RunFolder(draft=tmp_path / str(len(sets)), place=tmp_path / "run")
        folder.resume.mkdir(parents=True)
        begun = begin(
            folder,
            config,
            tiny.dataset(),
            command="audit",
            started=datetime.now(UTC),
            link=False,
            force=False,
        )
        read = begun_in(folder, "audit")
        assert read == begun
        fields = read.config.protections.model_fields_set
        assert fields == config.protections.model_fields_set
        assert bool(fields) == bool(sets)


def test_the_code_of_the_users_own_model_decides_a_run_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = tmp_path / "own_net_of_a_test.py"
    code.write_text(
        "import torch\n\nNet = lambda shape, classes: torch.nn.Linear(6, 3)\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    config = load_config(os.devnull, ["model.kind=own_net_of_a_test:Net"])
    models.build(config.model, (6,), 3, 0)
    before = fl.begun.makings(config, tiny.dataset())
    assert fl.begun.makings(config, tiny.dataset()) == before
    code.write_text(code.read_text() + "# changed\n")
    after = fl.begun.makings(config, tiny.dataset())
    assert {name for name in after if after[name] != before[name]} == {"model code"}
