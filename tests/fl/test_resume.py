"""A run that was cut off goes on to the same bits, or is refused: never to others."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import fl.course
from fl.checkpoint import Checkpoint, from_piece, to_piece
from fl.config import Config
from fl.diary import OrphanError, RunDiary
from fl.errors import ResumeError
from fl.federation import Federation
from fl.round import draw_vanishing
from fl.run import RunRecord, train
from fl.shelf import Piece, Shelf
from tests.fl import tiny
from tests.fl.equal import plain

ROUNDS = 5
# One client in five may vanish, so that some rounds abort, kept ones among them; the
# budget of a record lasts for three rounds.
SETS = (
    f"training.rounds={ROUNDS}",
    "federation.dropout=0.2",
    "privacy.example.rounds=3",
)
KEEP = (0, 1, 4)
KINDS = (
    "none",
    "secagg",
    "dp-sgd",
    "central-dp",
    "secagg+central-dp",
    "distributed-dp",
)


class _KilledError(Exception):
    """Stands for a kill: nothing of ours may catch it."""


def _diary(folder: Path, kind: str, seed: int) -> RunDiary:
    return RunDiary(
        protection=kind,
        seed=seed,
        rounds=ROUNDS,
        every_s=0.0,
        log=folder / "rounds.jsonl",
        shelf=Shelf(folder=folder / "resume", run="this run"),
    )


class _CutOff:
    """A diary whose writer is killed after so many rounds."""

    def __init__(self, diary: RunDiary, after: int) -> None:
        self._diary, self._left = diary, after

    def read(self) -> Checkpoint | None:
        return self._diary.read()

    def write(self, checkpoint: Checkpoint) -> None:
        self._diary.write(checkpoint)
        self._left -= 1
        if not self._left:
            raise _KilledError


@pytest.fixture(scope="module")
def settings() -> Config:
    return tiny.config(*SETS)


@pytest.fixture(scope="module")
def fed(settings: Config) -> Federation:
    return tiny.federation(settings)


@pytest.fixture(scope="module")
def seed(settings: Config, fed: Federation) -> int:
    """A seed under which secagg aborts the kept round 1, and not the one after it."""

    def lost(seed: int, index: int) -> int:
        return len(draw_vanishing(fed.clients, settings, seed=seed, index=index))

    return next(
        one for one in range(500) if lost(one, 1) > 1 >= max(lost(one, 0), lost(one, 2))
    )


def _train(
    kind: str,
    fed: Federation,
    settings: Config,
    seed: int,
    diary: RunDiary | _CutOff | None = None,
) -> RunRecord:
    protection = tiny.protection(kind, settings)
    return train(fed, protection, settings, seed=seed, keep=KEEP, diary=diary)


@pytest.mark.parametrize("after", range(1, ROUNDS + 1))
@pytest.mark.parametrize("kind", KINDS[:4])
def test_a_run_killed_after_any_round_ends_as_if_it_had_not_been(
    kind: str,
    after: int,
    fed: Federation,
    settings: Config,
    seed: int,
    tmp_path: Path,
) -> None:
    whole = _train(kind, fed, settings, seed)
    diary = _diary(tmp_path, kind, seed)
    with pytest.raises(_KilledError):
        _train(kind, fed, settings, seed, _CutOff(diary, after))
    saved = diary.read()
    assert saved is not None and len(saved.rounds) == after
    again = _train(kind, fed, settings, seed, _diary(tmp_path, kind, seed))
    assert plain(again) == plain(whole)
    assert [one.seconds for one in again.rounds[:after]] == [
        one.seconds for one in saved.rounds
    ]
    assert again.seconds > saved.seconds


@pytest.mark.parametrize("kind", KINDS)
def test_a_round_that_was_cut_off_is_spent_for_once(
    kind: str,
    fed: Federation,
    settings: Config,
    seed: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole = _train(kind, fed, settings, seed)
    real = fl.course.run_one

    def killed(*arguments: object, **keys: object) -> object:
        if keys["index"] == 2:  # its budget is spent by now
            raise _KilledError
        return real(*arguments, **keys)  # type: ignore[arg-type]

    with monkeypatch.context() as patch, pytest.raises(_KilledError):
        patch.setattr(fl.course, "run_one", killed)
        _train(kind, fed, settings, seed, _diary(tmp_path, kind, seed))
    again = _train(kind, fed, settings, seed, _diary(tmp_path, kind, seed))
    assert plain(again.accounts) == plain(whole.accounts)
    assert [one.epsilon for one in again.rounds] == [
        one.epsilon for one in whole.rounds
    ]
    assert plain(again) == plain(whole)


def test_the_cases_above_hold_aborted_kept_and_refused_rounds(
    fed: Federation, settings: Config, seed: int
) -> None:
    masked = _train("secagg", fed, settings, seed)
    assert masked.rounds[1].aborted and not masked.rounds[2].aborted
    assert {one.index for one in masked.snapshots} >= {0, 2}
    noised = _train("dp-sgd", fed, settings, seed)
    assert any(one.refused for one in noised.accounts)
    assert sum(one.refused for one in noised.rounds) > 0


@pytest.mark.slow
def test_an_encrypted_run_goes_on_to_the_same_model(
    fed: Federation, settings: Config, seed: int, tmp_path: Path
) -> None:
    pytest.importorskip("tenseal")
    whole = _train("he-bfv", fed, settings, seed)
    with pytest.raises(_KilledError):
        diary = _diary(tmp_path, "he-bfv", seed)
        _train("he-bfv", fed, settings, seed, _CutOff(diary, 3))
    again = _train("he-bfv", fed, settings, seed, _diary(tmp_path, "he-bfv", seed))
    # Ciphertexts are drawn anew; nothing else is.
    assert plain(again.final) == plain(whole.final)
    assert plain(again.correct) == plain(whole.correct)
    for one, other in zip(again.snapshots, whole.snapshots, strict=True):
        assert plain(one.updates) == plain(other.updates)
        assert plain(one.released) == plain(other.released)


def test_a_run_may_be_cut_off_again_and_again(
    fed: Federation, settings: Config, seed: int, tmp_path: Path
) -> None:
    for _ in range(ROUNDS):
        with pytest.raises(_KilledError):
            cut = _CutOff(_diary(tmp_path, "secagg", seed), 1)
            _train("secagg", fed, settings, seed, cut)
    again = _train("secagg", fed, settings, seed, _diary(tmp_path, "secagg", seed))
    assert plain(again) == plain(_train("secagg", fed, settings, seed))


def test_writing_a_diary_changes_nothing(
    fed: Federation, settings: Config, seed: int, tmp_path: Path
) -> None:
    told = _train("dp-sgd", fed, settings, seed, _diary(tmp_path, "dp-sgd", seed))
    assert plain(told) == plain(_train("dp-sgd", fed, settings, seed))


def test_a_run_in_which_nothing_was_sent_yet_keeps_nothing(
    fed: Federation, settings: Config, tmp_path: Path
) -> None:
    def lost(seed: int, index: int) -> int:
        return len(draw_vanishing(fed.clients, settings, seed=seed, index=index))

    unlucky = next(one for one in range(500) if lost(one, 0) > 1 >= lost(one, 1))
    diary = _diary(tmp_path, "secagg", unlucky)
    with pytest.raises(_KilledError):
        _train("secagg", fed, settings, unlucky, _CutOff(diary, 1))
    assert diary.read() is None
    assert (tmp_path / "rounds.jsonl").read_text().count("\n") == 1


@pytest.fixture
def saved(
    fed: Federation, settings: Config, seed: int, tmp_path: Path
) -> Iterator[RunDiary]:
    """The diary of a run that was killed after three rounds."""
    diary = _diary(tmp_path, "dp-sgd", seed)
    with pytest.raises(_KilledError):
        _train("dp-sgd", fed, settings, seed, _CutOff(diary, 3))
    yield diary


def _piece_file(diary: RunDiary) -> Path:
    assert diary.shelf is not None
    (path,) = diary.shelf.folder.glob("*.piece")
    return path


def test_no_bit_of_a_checkpoint_may_flip(saved: RunDiary) -> None:
    path = _piece_file(saved)
    good = path.read_bytes()
    # All of the seal and the first fields, and every seventh byte of the rest.
    for place in [*range(300), *range(300, len(good), 7)]:
        bad = bytearray(good)
        bad[place] ^= 1 << (place % 8)
        path.write_bytes(bad)
        with pytest.raises(ResumeError, match="damaged"):
            saved.read()
    path.write_bytes(good)
    assert saved.read() is not None


@pytest.mark.parametrize("left", [0, 1, 40, 100, -1])
def test_half_a_checkpoint_is_none(saved: RunDiary, left: int) -> None:
    path = _piece_file(saved)
    path.write_bytes(path.read_bytes()[:left])
    with pytest.raises(ResumeError, match="delete it to have that part done again"):
        saved.read()


def test_a_piece_of_another_run_or_under_another_name_is_refused(
    saved: RunDiary,
) -> None:
    assert saved.shelf is not None
    foreign = replace(saved.shelf, run="another run")
    with pytest.raises(ResumeError, match="another run"):
        foreign.get(saved.name)
    path = _piece_file(saved)
    path.rename(path.with_name("run-dp-sgd-seed99.piece"))
    with pytest.raises(ResumeError, match="another run or piece"):
        saved.shelf.get("run-dp-sgd-seed99")


def _bumped(releases: dict[str, int]) -> dict[str, int]:
    first = next(iter(releases))
    return {**releases, first: releases[first] - 1}


CONTRADICTIONS = {
    "a release too few": (
        lambda one: replace(one, releases=_bumped(one.releases)),
        "spent otherwise",
    ),
    "a refusal too many": (
        lambda one: replace(one, refusals={"x": 1}),
        "spent otherwise",
    ),
    "another model before a kept round": (
        lambda one: replace(one, kept={0: replace(one.kept[0], before=one.model)}),
        "does not come out the same",
    ),
    "another model after a kept round": (
        lambda one: replace(one, kept={0: replace(one.kept[0], after="0" * 64)}),
        "does not come out the same",
    ),
    "a round that is missing": (
        lambda one: replace(one, rounds=one.rounds[1:]),
        "do not fit each other",
    ),
    "a kept round that was not played": (
        lambda one: replace(one, kept={7: one.kept[0]}),
        "do not fit each other",
    ),
}


@pytest.mark.parametrize("case", CONTRADICTIONS)
def test_a_checkpoint_that_contradicts_itself_is_refused(
    case: str, saved: RunDiary, fed: Federation, settings: Config, seed: int
) -> None:
    change, words = CONTRADICTIONS[case]
    found = saved.read()
    assert found is not None and saved.shelf is not None
    saved.shelf.put(saved.name, to_piece(change(found)))
    with pytest.raises(ResumeError, match=words):
        _train("dp-sgd", fed, settings, seed, saved)


@pytest.mark.parametrize("lacking", ["model", "before", "rounds", "kept", "seconds"])
def test_a_checkpoint_that_lacks_a_part_is_refused(
    lacking: str, saved: RunDiary
) -> None:
    found = saved.read()
    assert found is not None
    piece = to_piece(found)
    fields = {k: v for k, v in piece.fields.items() if k != lacking}
    arrays = {k: v for k, v in piece.arrays.items() if k != lacking}
    with pytest.raises(ResumeError, match="lacks"):
        from_piece(Piece(fields=fields, arrays=arrays))


def test_a_checkpoint_of_another_model_is_refused(
    saved: RunDiary, settings: Config, seed: int
) -> None:
    wider = tiny.config(*SETS, "model.hidden=[9]")
    with pytest.raises(ResumeError, match="not one of this configuration"):
        _train("dp-sgd", tiny.federation(wider), wider, seed, saved)


def test_a_checkpoint_survives_its_own_writing_down(saved: RunDiary) -> None:
    found = saved.read()
    assert found is not None
    assert plain(from_piece(to_piece(found))) == plain(found)


def test_a_write_that_fails_leaves_the_piece_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shelf = Shelf(folder=tmp_path / "resume", run="r")
    shelf.put("a", Piece(fields={"n": 1}))

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch, pytest.raises(OSError, match="No space"):
        patch.setattr("os.fsync", full)
        shelf.put("a", Piece(fields={"n": 2}))
    found = shelf.get("a")
    assert found is not None and found.fields == {"n": 1}
    assert [path.name for path in shelf.folder.iterdir()] == ["a.piece"]


def test_a_shelf_keeps_numbers_and_nothing_that_carries_code(tmp_path: Path) -> None:
    shelf = Shelf(folder=tmp_path / "resume", run="r")
    with pytest.raises(ValueError, match="objects"):
        shelf.put("a", Piece(fields={}, arrays={"x": np.array([object()])}))
    with pytest.raises(ValueError, match="JSON"):
        shelf.put("a", Piece(fields={"x": float("nan")}))
    assert shelf.get("a") is None and shelf.names() == ()
    shelf.put("a", Piece(fields={}, arrays={"x": np.arange(3)}))
    assert shelf.folder.stat().st_mode & 0o777 == 0o700


def test_a_worker_whose_parent_is_gone_writes_nothing(
    saved: RunDiary, tmp_path: Path
) -> None:
    found = saved.read()
    assert found is not None
    before = (tmp_path / "rounds.jsonl").read_bytes(), _piece_file(saved).read_bytes()
    orphan = replace(saved, home=-1)  # no process of ours
    with pytest.raises(OrphanError):
        orphan.write(found)
    after = (tmp_path / "rounds.jsonl").read_bytes(), _piece_file(saved).read_bytes()
    assert before == after
