"""A run appears whole or not at all, and never over another one."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest

from fl.folder import LATEST, FolderError, StoppedRun, choose
from fl.writing import writing

NOON = datetime(2031, 5, 6, 12, 0, 0, tzinfo=UTC)


def _names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def _tree(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): path.read_text()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_nothing_is_seen_before_the_end_and_all_of_it_after(tmp_path: Path) -> None:
    place = tmp_path / "runs" / "one"
    with writing(place, link=False) as folder:
        (folder.draft / "report.json").write_text("{}")
        assert not place.exists()
        assert all(name.startswith(".") for name in _names(place.parent))
    assert _tree(place) == {"report.json": "{}"}
    assert _names(place.parent) == {"one"}


@pytest.mark.parametrize("error", [ValueError("a defect"), FolderError("bad input")])
def test_an_error_in_the_middle_leaves_nothing(
    tmp_path: Path, error: Exception
) -> None:
    place = tmp_path / "one"
    with pytest.raises(type(error)), writing(place, link=True) as folder:
        (folder.draft / "half.json").write_text("{")
        raise error
    assert _names(tmp_path) == set()


def test_a_full_disk_is_one_sentence_and_leaves_nothing(tmp_path: Path) -> None:
    place = tmp_path / "one"
    with pytest.raises(FolderError, match="No space left"), writing(place, link=False):
        raise OSError(28, "No space left on device")
    assert _names(tmp_path) == set()


def test_an_error_leaves_the_run_that_was_to_be_replaced(tmp_path: Path) -> None:
    place = tmp_path / "one"
    place.mkdir()
    (place / "old.txt").write_text("old")
    with pytest.raises(ValueError, match="defect"), writing(place, link=False) as new:
        (new.draft / "new.txt").write_text("new")
        raise ValueError("a defect")
    assert _tree(place) == {"old.txt": "old"}
    assert _names(tmp_path) == {"one"}


def test_ctrl_c_keeps_what_was_written_and_says_where(tmp_path: Path) -> None:
    place = tmp_path / "one"
    with pytest.raises(StoppedRun, match="one keeps"), writing(place, link=True) as new:
        new.log("rounds.jsonl", {"index": 0})
        raise KeyboardInterrupt
    assert _tree(place) == {"rounds.jsonl": '{"index": 0}\n'}
    # A run without a page is not what `latest` promises.
    assert not (tmp_path / LATEST).exists()


def test_replacing_a_run_keeps_no_file_of_the_old_one(tmp_path: Path) -> None:
    place = tmp_path / "one"
    (place / "deep").mkdir(parents=True)
    (place / "deep" / "old.txt").write_text("old")
    with writing(place, link=False) as folder:
        (folder.draft / "new.txt").write_text("new")
    assert _tree(place) == {"new.txt": "new"}
    assert _names(tmp_path) == {"one"}


def test_latest_points_at_the_last_run_and_moves_with_the_folder(
    tmp_path: Path,
) -> None:
    for name in ("one", "two"):
        with writing(tmp_path / "runs" / name, link=True):
            pass
    link = tmp_path / "runs" / LATEST
    assert os.readlink(link) == "two"
    (tmp_path / "runs").rename(tmp_path / "moved")
    assert (tmp_path / "moved" / LATEST).resolve() == tmp_path / "moved" / "two"


def test_a_dangling_latest_is_replaced(tmp_path: Path) -> None:
    (tmp_path / LATEST).symlink_to("gone")
    with writing(tmp_path / "one", link=True):
        pass
    assert (tmp_path / LATEST).resolve() == tmp_path / "one"


@pytest.mark.parametrize("kind", ["folder", "file"])
def test_latest_never_replaces_what_is_no_link_and_says_so_before_the_work(
    tmp_path: Path, kind: str
) -> None:
    mine = tmp_path / LATEST
    if kind == "folder":
        mine.mkdir()
    else:
        mine.write_text("mine")
    with pytest.raises(FolderError, match="latest"), writing(tmp_path / "x", link=True):
        raise AssertionError("the work began")
    assert _names(tmp_path) == {LATEST}
    assert not mine.is_symlink()


def test_a_folder_is_named_by_utc_and_a_second_one_is_numbered(tmp_path: Path) -> None:
    first = choose(None, tmp_path, "digits", NOON, force=False)
    assert first.name == "20310506T120000Z-digits"
    elsewhere = NOON.astimezone(timezone(timedelta(hours=5)))
    assert choose(None, tmp_path, "digits", elsewhere, force=False) == first
    first.mkdir()
    second = choose(None, tmp_path, "digits", NOON, force=False)
    assert second.name == "20310506T120000Z-digits-2"


def test_choosing_makes_nothing(tmp_path: Path) -> None:
    choose(tmp_path / "a" / "b", tmp_path, "digits", NOON, force=True)
    choose(None, tmp_path / "runs", "digits", NOON, force=False)
    assert _names(tmp_path) == set()


def test_an_existing_out_needs_force(tmp_path: Path) -> None:
    with pytest.raises(FolderError, match="--force"):
        choose(tmp_path, tmp_path, "digits", NOON, force=False)
    assert choose(tmp_path, tmp_path, "digits", NOON, force=True) == tmp_path


@pytest.mark.parametrize("force", [False, True])
def test_a_file_or_a_link_is_never_replaced(tmp_path: Path, force: bool) -> None:
    (tmp_path / "file").write_text("mine")
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    for name in ("file", "link"):
        with pytest.raises(FolderError, match=name):
            choose(tmp_path / name, tmp_path, "digits", NOON, force=force)


def test_the_working_directory_is_never_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FolderError):
        choose(Path(), tmp_path, "digits", NOON, force=True)


def test_a_parent_that_is_a_file_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with (
        pytest.raises(FolderError, match="--out"),
        writing(tmp_path / "file" / "run", link=False),
    ):
        raise AssertionError("the work began")


@dataclass(frozen=True)
class _Line:
    index: int
    value: float


def test_the_log_holds_one_record_a_line(tmp_path: Path) -> None:
    place = tmp_path / "one"
    with writing(place, link=False) as folder:
        folder.log("log.jsonl", _Line(index=0, value=0.5))
        folder.log("log.jsonl", {"index": 1, "value": None})
    lines = (place / "log.jsonl").read_text().splitlines()
    assert [json.loads(line)["index"] for line in lines] == [0, 1]


def test_the_log_refuses_what_is_no_json_number(tmp_path: Path) -> None:
    with (
        pytest.raises(ValueError, match="JSON"),
        writing(tmp_path / "one", link=False) as folder,
    ):
        folder.log("log.jsonl", {"value": float("nan")})
    assert _names(tmp_path) == set()
