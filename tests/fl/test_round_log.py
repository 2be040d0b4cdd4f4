"""Every round leaves one line while it runs; the finished log depends on no timing."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

import fl.progress
from fl.checkpoint import Checkpoint
from fl.diary import RunDiary
from fl.errors import ModelError
from fl.evidence import Evidence
from fl.folder import RunFolder
from fl.progress import Silent, Task
from fl.round_log import (
    Following,
    Line,
    append,
    line_of,
    put_in_order,
    read,
    rewrite,
    scalars,
)
from fl.run import RoundRecord, train
from fl.stages import Setting, training
from fl.stages.training import _told
from tests.fl import tiny


def _record(index: int, **more: object) -> RoundRecord:
    return RoundRecord(index=index, aborted=False, accuracy=0.5, loss=0.7, **more)  # type: ignore[arg-type]


def _line(protection: str, seed: int, index: int) -> Line:
    return line_of(protection, seed, _record(index))


class _Watching:
    """A diary that looks at the log after every round."""

    def __init__(self, log: Path, diary: RunDiary) -> None:
        self._log, self._diary = log, diary
        self.seen: list[int] = []

    def read(self) -> Checkpoint | None:
        return None

    def write(self, checkpoint: Checkpoint) -> None:
        self._diary.write(checkpoint)
        self.seen.append(len(read(self._log)))


def test_every_round_is_in_the_log_as_soon_as_it_is_played(tmp_path: Path) -> None:
    settings = tiny.config(
        "training.rounds=6", "federation.dropout=0.2", "privacy.example.rounds=3"
    )
    log, fed = tmp_path / "rounds.jsonl", tiny.federation(settings)
    diary = RunDiary(
        protection="dp-sgd", seed=3, rounds=6, every_s=0, log=log, shelf=None
    )
    watching = _Watching(log, diary)
    run = train(
        fed,
        tiny.protection("dp-sgd", settings),
        settings,
        seed=3,
        keep=(),
        diary=watching,
    )
    assert watching.seen == [1, 2, 3, 4, 5, 6]
    assert read(log) == [line_of("dp-sgd", 3, one) for one in run.rounds]
    lines = read(log)
    assert [line["index"] for line in lines] == list(range(6))
    for line in lines:
        assert line["cohort"] == 5
        assert line["seconds"] > 0
        admitted = line["cohort"] - line["refused"]
        # Who falls silent in the last step has been summed already.
        assert admitted - line["dropouts"] <= line["survivors"] <= admitted
    assert {line["refused"] for line in lines[3:]} == {5}
    assert sum(line["dropouts"] for line in lines) > 0
    spent = [line["epsilon"] for line in lines]
    assert spent == sorted(spent) and spent[0] > 0


def test_lines_of_many_writers_do_not_tear(tmp_path: Path) -> None:
    log = tmp_path / "rounds.jsonl"

    def write(seed: int) -> None:
        for index in range(100):
            append(log, {**_line("none", seed, index), "padding": "x" * 3000})

    writers = [threading.Thread(target=write, args=(seed,)) for seed in range(4)]
    for one in writers:
        one.start()
    for one in writers:
        one.join()
    put_in_order(log, ["none"])
    found = [(line["seed"], line["index"]) for line in read(log)]
    assert found == [(seed, index) for seed in range(4) for index in range(100)]


def test_the_order_of_the_log_is_that_of_the_plan_and_every_round_is_there_once(
    tmp_path: Path,
) -> None:
    log = tmp_path / "rounds.jsonl"
    wanted = [
        _line(name, seed, index)
        for seed in (0, 1)
        for name in ("secagg", "none")
        for index in (0, 1)
    ]
    for line in [*reversed(wanted), wanted[3]]:
        append(log, line)
    put_in_order(log, ["secagg", "none"])
    assert read(log) == wanted
    assert [path.name for path in tmp_path.iterdir()] == ["rounds.jsonl"]


def test_half_a_line_is_no_line(tmp_path: Path) -> None:
    log = tmp_path / "rounds.jsonl"
    assert read(log) == []
    append(log, _line("none", 0, 0))
    with log.open("a") as file:
        file.write('{"protection": "no')
    assert read(log) == [_line("none", 0, 0)]
    put_in_order(log, ["none"])
    assert json.loads(log.read_text()) == _line("none", 0, 0)


def test_a_loss_that_is_no_number_names_the_cure(tmp_path: Path) -> None:
    log = tmp_path / "rounds.jsonl"
    bad = {**_line("none", 0, 4), "loss": float("nan")}
    with pytest.raises(ModelError, match=r"round 5 under none .* lower the learning"):
        append(log, bad)
    assert not log.exists()


def test_whoever_follows_hears_of_every_line_once_and_of_the_last(
    tmp_path: Path,
) -> None:
    log, heard = tmp_path / "rounds.jsonl", list[Line]()
    with Following(log, [heard.extend]):
        append(log, _line("none", 0, 0))
        deadline = time.monotonic() + 30
        while not heard and time.monotonic() < deadline:
            time.sleep(0.01)
        assert len(heard) == 1  # while it runs
        append(log, _line("none", 0, 0))
        append(log, _line("none", 0, 1))
    assert heard == [_line("none", 0, 0), _line("none", 0, 1)]


def test_whoever_follows_later_hears_of_the_earlier_lines_too(tmp_path: Path) -> None:
    log, heard = tmp_path / "rounds.jsonl", list[Line]()
    rewrite(log, [_line("none", 0, 0), _line("none", 0, 1)])
    with Following(log, [heard.extend]):
        append(log, _line("none", 0, 2))
    assert [line["index"] for line in heard] == [0, 1, 2]


def test_a_fault_of_who_listens_is_raised_where_the_following_ends(
    tmp_path: Path,
) -> None:
    def deaf(_: Sequence[Line]) -> None:
        raise RuntimeError("deaf")

    log = tmp_path / "rounds.jsonl"
    append(log, _line("none", 0, 0))
    with pytest.raises(RuntimeError, match="deaf"), Following(log, [deaf]):
        pass


def test_an_aborted_round_has_no_bytes_to_plot() -> None:
    sent = scalars(line_of("none", 0, _record(0, bytes_up=5.0, epsilon=None)))
    assert sent["bytes_up"] == 5.0 and "epsilon" not in sent
    lost = RoundRecord(index=0, aborted=True, accuracy=0.5, loss=0.7, epsilon=1.5)
    found = scalars(line_of("none", 0, lost))
    assert "bytes_up" not in found and found["epsilon"] == 1.5


def test_progress_says_loss_epsilon_bytes_and_dropouts() -> None:
    record = _record(
        2, epsilon=1.25, bytes_up=2500.0, bytes_down=1500.0, cohort=9, dropouts=2
    )
    assert _told(line_of("dp-sgd", 7, record), 30) == (
        "dp-sgd, seed 7, round 3 of 30: loss 0.700, epsilon 1.25, 4.0 kB per client, "
        "2 of 9 dropped out"
    )
    lost = RoundRecord(index=0, aborted=True, accuracy=0.5, loss=0.7)
    assert _told(line_of("none", 0, lost), 3).endswith("loss 0.700, aborted")


def test_lines_of_progress_come_now_and_then_and_at_the_end(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0
    monkeypatch.setattr(fl.progress.time, "monotonic", lambda: now)
    task: Task = fl.progress._Lines().task("train", 100)
    for step in range(100):
        now += 0.5
        task.advance(f"round {step + 1}")
    said = capsys.readouterr().err.splitlines()
    assert said[0] == "train: 100 steps"
    assert said[1] == "train: 20 of 100 (round 20)"
    assert said[-1] == "train: done (round 100)"
    assert len(said) == 6
    Silent().task("train", 3).advance("nothing", steps=0)
    assert capsys.readouterr().err == ""


class _Noting(Silent):
    """A reporter that keeps what it is told."""

    def __init__(self) -> None:
        self.total = 0
        self.told: list[tuple[str, int]] = []

    def task(self, name: str, total: int) -> Task:
        self.total = total
        return self

    def advance(self, note: str = "", steps: int = 1) -> None:
        self.told.append((note, steps))


def test_the_bar_of_training_moves_by_every_round_of_every_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BLINDSUM_WORKERS", "1")
    settings, noting = tiny.config(), _Noting()
    names = ("none", "secagg")
    setting = Setting(
        raw=tiny.dataset(),
        protections=tuple(tiny.protection(name, settings) for name in names),
        config=settings,
        folder=RunFolder(draft=tmp_path, place=tmp_path),
        progress=noting,
    )
    training.run(setting, Evidence())
    assert sum(steps for _, steps in noting.told) == noting.total == 2 * (2 * 3 + 1)
    for seed in (0, 1):
        for name in names:
            rounds = [
                note
                for note, steps in noting.told
                if note.startswith(f"{name}, seed {seed}, round ") and steps == 1
            ]
            assert len(rounds) == 3
            assert "round 3 of 3: loss " in rounds[-1]
