"""A run's ledgers on disk: paid before each round, never reset, spent for once."""

from __future__ import annotations

import sqlite3
import stat
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import dp
import fl.course
import fl.ledgers
from dp.errors import LedgerError
from fl import privacy
from fl.checkpoint import Checkpoint
from fl.cli import run as command
from fl.config import Config
from fl.diary import RunDiary
from fl.errors import ConfigError, LedgerFileError, UserError
from fl.federation import Client, Federation
from fl.ledgers import LedgerFiles, Standing, check_shared
from fl.protection import Protection
from fl.run import Diary, RunRecord, train
from tests.fl import tiny
from tests.fl.equal import plain

NOISED = ("dp-sgd", "central-dp", "secagg+central-dp", "distributed-dp")
BOTH = ("dp-sgd", "secagg+central-dp")
ROUNDS = 3


def _files(folder: Path, *, shared: bool = False, run: str = "this") -> LedgerFiles:
    (folder / run).mkdir(exist_ok=True)
    return LedgerFiles(
        own=folder / run / "ledger.db",
        shared=folder / "shared.db" if shared else None,
        run=run,
    )


def _train(
    settings: Config,
    name: str,
    files: LedgerFiles | None,
    *,
    diary: Diary | None = None,
    fed: Federation | None = None,
) -> RunRecord:
    return train(
        fed or tiny.federation(settings, name),
        tiny.protection(name, settings),
        settings,
        seed=0,
        keep={0},
        diary=diary,
        ledgers=files,
    )


def _rows(path: Path) -> list[dp.PartyAccount]:
    return list(dp.accounts(path)) if path.exists() else []


def _entries(path: Path) -> list[tuple[str, int, str, int]]:
    if not path.exists():
        return []
    with closing(sqlite3.connect(path)) as database:
        return database.execute(
            "SELECT party, round, event, count FROM entries ORDER BY number"
        ).fetchall()


def _spent(path: Path) -> int:
    return sum(count for *_, count in _entries(path))


class Memory:
    """A diary in memory."""

    def __init__(self) -> None:
        self.last: Checkpoint | None = None

    def read(self) -> Checkpoint | None:
        return self.last

    def write(self, checkpoint: Checkpoint) -> None:
        self.last = checkpoint


class _KilledError(Exception):
    """Stands for a kill: nothing of ours may catch it."""


# Each property is a function, so that a bug planted below can be shown to break it.


def paid_before_played(folder: Path, name: str) -> None:
    files, seen = _files(folder), []
    real = fl.course.run_one

    def run_one(*given: object, **named: object) -> object:
        seen.append(_spent(files.own))
        return real(*given, **named)  # type: ignore[arg-type]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fl.course, "run_one", run_one)
        _train(tiny.config(), name, files)
    each = 5 if name == "dp-sgd" else 1
    assert seen == [each, 2 * each, 3 * each]


def all_is_committed(folder: Path, name: str) -> None:
    files = _files(folder)
    run = _train(tiny.config(), name, files)
    rows = _rows(files.own)
    assert {one.uncommitted for one in rows} == {0}
    # The file says what the run's own ledger says.
    assert {(one.party, one.releases, one.epsilon) for one in rows} == {
        (one.party, one.releases, one.epsilon) for one in run.accounts
    }


def budget_outlasts_a_run(folder: Path, name: str) -> None:
    settings = tiny.config("training.rounds=2")
    _train(settings, name, _files(folder, shared=True, run="first"))
    before = _spent(folder / "shared.db")
    assert before == 2  # dealt records are one party there
    with pytest.raises(UserError, match="fits the budget"):
        _train(settings, name, _files(folder, shared=True, run="second"))
    assert _spent(folder / "shared.db") == before
    assert _spent(folder / "second" / "ledger.db") == 0


def one_record_more_is_not_seen(folder: Path) -> None:
    settings = tiny.config("training.rounds=1")
    fed, found = tiny.federation(settings, "dp-sgd"), []
    for number, size in enumerate((fed.clients[0].records, 3)):
        first = fed.clients[0]
        less = Client(
            name=first.name, x=first.x[:size], y=first.y[:size], ids=first.ids[:size]
        )
        smaller = replace(fed, clients=(less, *fed.clients[1:]))
        files = _files(folder, run=f"run-{number}")
        _train(settings, "dp-sgd", files, fed=smaller)
        found.append(_entries(files.own))
    assert found[0] == found[1]


def a_killed_run_spends_once(folder: Path, name: str, at: int) -> None:
    settings, files, diary = tiny.config(), _files(folder), Memory()
    whole = _train(settings, name, None)
    real, left = fl.course.play_round, at

    def play_round(*given: object, **named: object) -> object:
        nonlocal left
        left -= 1
        if left < 0:
            raise _KilledError
        return real(*given, **named)  # type: ignore[arg-type]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fl.course, "play_round", play_round)
        with pytest.raises(_KilledError):
            _train(settings, name, files, diary=diary)
    each = 5 if name == "dp-sgd" else 1
    # The round that was cut off counts, since part of it may be out.
    assert _spent(files.own) == (at + 1) * each
    again = _train(settings, name, files, diary=diary)
    assert plain(again) == plain(whole)
    assert _spent(files.own) == ROUNDS * each
    assert {one.uncommitted for one in _rows(files.own)} == {0}


@pytest.mark.parametrize("name", NOISED)
def test_a_round_is_on_disk_before_it_is_played(name: str, tmp_path: Path) -> None:
    paid_before_played(tmp_path, name)


@pytest.mark.parametrize("name", NOISED)
def test_a_finished_run_has_committed_all_that_it_spent(
    name: str, tmp_path: Path
) -> None:
    all_is_committed(tmp_path, name)


@pytest.mark.parametrize("name", BOTH)
def test_a_second_run_finds_what_the_first_has_spent(name: str, tmp_path: Path) -> None:
    budget_outlasts_a_run(tmp_path, name)


def test_the_ledger_of_a_client_does_not_depend_on_how_many_records_it_has(
    tmp_path: Path,
) -> None:
    one_record_more_is_not_seen(tmp_path)


@pytest.mark.parametrize("name", (*BOTH, "distributed-dp"))
@pytest.mark.parametrize("at", [0, 1])
def test_a_run_that_was_cut_off_goes_on_and_spends_for_each_round_once(
    name: str, at: int, tmp_path: Path
) -> None:
    a_killed_run_spends_once(tmp_path, name, at)


def _forget(
    files: LedgerFiles | None, protection: Protection, config: Config, seed: int
) -> object:
    for path in () if files is None else (files.own, files.shared):
        if path is not None:
            path.unlink(missing_ok=True)
    return fl.ledgers.standing(files, protection, config, seed)


def _pay_late(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let rounds be played first and paid for when they are committed."""
    owed: dict[int, tuple[tuple[str, ...], dp.DpEvent, int]] = {}
    admit, commit = Standing.admit, Standing.commit

    def later(
        self: Standing, parties: tuple[str, ...], event: dp.DpEvent, n: int, index: int
    ) -> tuple[str, ...]:
        owed[index] = (parties, event, n)
        return parties

    def at_last(self: Standing, index: int) -> None:
        admit(self, *owed[index], index)
        commit(self, index)

    monkeypatch.setattr(Standing, "admit", later)
    monkeypatch.setattr(Standing, "commit", at_last)


def _rate_from_records(monkeypatch: pytest.MonkeyPatch) -> None:
    """Account for each client at a rate of one batch in its own records."""

    def admit(
        books: dp.Ledger,
        cohort: tuple[Client, ...],
        protection: Protection,
        *,
        index: int,
        length: int,
        attendance: object,
        standing: Standing,
    ) -> tuple[Client, ...]:
        assert protection.example is not None
        for one in cohort[:1]:
            rate = min(1.0, 2 / one.records)
            event = dp.sampled_gaussian(protection.example.noise_multiplier, rate)
            fl.ledgers.pay(books, (one.name,), event, 1, index=index, standing=standing)
        return cohort

    monkeypatch.setattr(fl.course, "admit", admit)


def test_a_ledger_that_is_reset_would_be_caught(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fl.run.standing", _forget)
    with pytest.raises(pytest.fail.Exception, match="DID NOT RAISE"):
        budget_outlasts_a_run(tmp_path, "dp-sgd")


def test_a_round_that_is_paid_for_afterwards_would_be_caught(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _pay_late(monkeypatch)
    with pytest.raises(AssertionError):
        paid_before_played(tmp_path, "dp-sgd")


def test_a_lost_commit_would_be_caught(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Standing, "commit", lambda *_: None)
    with pytest.raises(AssertionError):
        all_is_committed(tmp_path, "central-dp")


@pytest.mark.slow
def test_a_sampling_rate_from_the_number_of_records_would_be_caught(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _rate_from_records(monkeypatch)
    with pytest.raises(AssertionError):
        one_record_more_is_not_seen(tmp_path)


def test_spending_again_on_going_on_would_be_caught(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, sittings = fl.ledgers.standing, []

    def renamed(
        files: LedgerFiles | None, protection: Protection, config: Config, seed: int
    ) -> object:
        sittings.append(seed)
        if files is not None:
            files = replace(files, run=f"{files.run}-{len(sittings)}")
        return real(files, protection, config, seed)

    monkeypatch.setattr("fl.run.standing", renamed)
    with pytest.raises(AssertionError):
        a_killed_run_spends_once(tmp_path, "central-dp", 1)


def test_a_larger_budget_over_all_runs_lets_a_second_run_be(tmp_path: Path) -> None:
    settings = tiny.config("training.rounds=2", "privacy.ledger_epsilon=16.0")
    for run in ("first", "second"):
        record = _train(settings, "dp-sgd", _files(tmp_path, shared=True, run=run))
        # What a run says of itself does not change with what others have spent.
        assert max(one.epsilon for one in record.accounts) <= 8.0
    rows = _rows(tmp_path / "shared.db")
    assert {one.releases for one in rows} == {4}
    assert all(8.0 < one.epsilon <= 16.0 for one in rows)


def test_a_ledger_on_disk_changes_no_bit_of_a_run(tmp_path: Path) -> None:
    settings = tiny.config()
    bare = _train(settings, "secagg+central-dp", None)
    kept = _train(settings, "secagg+central-dp", _files(tmp_path))
    assert plain(bare) == plain(kept)
    assert np.array_equal(bare.final, kept.final)


@pytest.mark.parametrize("name", ["dp-sgd", "local-dp"])
def test_records_dealt_anew_have_no_new_budget(tmp_path: Path, name: str) -> None:
    first = tiny.config("training.rounds=1", "federation.clients=10")
    second = tiny.config("training.rounds=1", "federation.clients=11")
    _train(first, name, _files(tmp_path, shared=True, run="first"))
    (row,) = _rows(tmp_path / "shared.db")
    assert (row.party, row.releases) == (fl.ledgers.ALL_RECORDS, 1)
    with pytest.raises(UserError, match="fits the budget"):
        _train(second, name, _files(tmp_path, shared=True, run="second"))
    assert _spent(tmp_path / "shared.db") == 1
    assert _spent(tmp_path / "second" / "ledger.db") == 0


def test_sites_keep_a_budget_each(tmp_path: Path) -> None:
    settings = tiny.config("training.rounds=1", "federation.partition=site")
    assert not fl.ledgers.is_pooled(tiny.protection("dp-sgd", settings), settings)
    dealt = tiny.config()
    assert not fl.ledgers.is_pooled(tiny.protection("central-dp", dealt), dealt)


def test_runs_that_share_a_budget_share_no_noise(tmp_path: Path) -> None:
    """Of one seed and two budgets: what cancels equal noise leaves the sum bare."""

    def misses(*runs: str) -> float:
        sums, noises = [], []
        for run, epsilon in zip(runs, (1.0, 8.0), strict=True):
            settings = tiny.config(
                "training.rounds=1",
                "federation.participation=1.0",
                f"privacy.epsilon={epsilon}",
                "privacy.ledger_epsilon=16.0",
            )
            files = _files(tmp_path, shared=True, run=run)
            (sent,) = _train(settings, "central-dp", files).snapshots
            noise = tiny.protection("central-dp", settings).central
            assert noise is not None
            sums.append(sent.released.astype(np.float64))
            noises.append(noise.noise_multiplier)
        left = sums[0] - sums[1] * noises[0] / noises[1]  # without the noise, if equal
        return float(np.linalg.norm(left) / np.linalg.norm(sums[0]))

    # Independent noise of these sizes: sqrt(2) of it is left; of equal noise, nothing.
    assert misses("first", "second") > 0.7
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("fl.run.seed_of", lambda files, seed: seed)
        assert misses("third", "fourth") < 0.7


def test_a_shared_budget_that_ends_midway_refuses_and_counts(tmp_path: Path) -> None:
    settings = tiny.config("privacy.ledger_epsilon=12.0")
    _train(settings, "central-dp", _files(tmp_path, shared=True, run="first"))
    record = _train(settings, "central-dp", _files(tmp_path, shared=True, run="second"))
    (account,) = record.accounts
    assert account.party == privacy.EVERYBODY
    assert 0 < account.releases < ROUNDS
    assert account.refused == ROUNDS - account.releases
    assert [one.aborted for one in record.rounds].count(True) == account.refused
    assert _spent(tmp_path / "shared.db") == ROUNDS + account.releases
    assert _spent(tmp_path / "second" / "ledger.db") == account.releases


def test_a_budget_of_zero_over_all_runs_is_that_of_one_run(tmp_path: Path) -> None:
    _train(tiny.config(), "central-dp", _files(tmp_path, shared=True))
    (row,) = _rows(tmp_path / "shared.db")
    assert (row.book, row.budget.epsilon) == (fl.ledgers.ALL_RUNS, 8.0)


def test_a_foreign_file_or_another_budget_is_bad_input(tmp_path: Path) -> None:
    files = _files(tmp_path, shared=True)
    _train(tiny.config("training.rounds=1"), "dp-sgd", files)
    other = tiny.config("training.rounds=1", "privacy.epsilon=4.0")
    with pytest.raises(LedgerFileError, match="open it as it was begun"):
        _train(other, "dp-sgd", replace(files, own=tmp_path / "own.db"))
    with pytest.raises(LedgerFileError, match="for each client"):
        central = tiny.config("training.rounds=1")
        _train(central, "central-dp", replace(files, own=tmp_path / "own2.db"))
    (tmp_path / "text.db").write_text("not ours")
    with pytest.raises(LedgerFileError, match="cannot be used"):
        _train(other, "dp-sgd", replace(files, own=tmp_path / "text.db", shared=None))


def test_a_ledger_that_cannot_be_written_stops_the_round(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    played: list[int] = []

    def admit(*_: object, **__: object) -> tuple[str, ...]:
        raise LedgerError("the disk is full.")

    monkeypatch.setattr(dp.Ledger, "admit", admit)
    monkeypatch.setattr(fl.course, "run_one", lambda *_, **__: played.append(1))
    with pytest.raises(LedgerError):
        _train(tiny.config(), "central-dp", _files(tmp_path))
    assert played == []


@pytest.mark.parametrize(
    ("sets", "noised", "fits"),
    [
        (('privacy.ledger="x.db"', "repeats=1"), 1, True),
        (('privacy.ledger="x.db"', "repeats=2"), 1, False),
        (('privacy.ledger="x.db"', "repeats=1"), 2, False),
        (('privacy.ledger="x.db"', "repeats=1"), 0, False),
        (("repeats=2",), 3, True),
    ],
)
def test_one_budget_takes_one_training_with_noise(
    sets: tuple[str, ...], noised: int, fits: bool
) -> None:
    settings = tiny.config(*sets)
    if fits:
        check_shared(settings, noised)
        return
    with pytest.raises(ConfigError, match=r"privacy\.ledger.*repeats = 1"):
        check_shared(settings, noised)


SMALL = (
    "--set=data.source=made-up.npz",
    "--set=federation.clients=5",
    "--set=federation.corrupt=1",
    "--set=federation.drop=1",
    "--set=training.rounds=2",
    "--set=repeats=1",
    "--set=privacy.example.sampling_rate=1.0",
    "--set=privacy.ledger=all.db",
    "--set=protections.names=['none', 'dp-sgd']",
    "--quiet",
)


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BLINDSUM_WORKERS", "1")
    (tmp_path / "empty.toml").write_text("")
    made = tiny.dataset(features=16)
    pictures = made.features.reshape(-1, 1, 4, 4)
    np.savez(tmp_path / "made-up.npz", x=pictures, y=made.labels)
    return tmp_path


def test_the_command_keeps_a_ledger_in_the_run_and_one_over_runs(
    elsewhere: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(["train", "empty.toml", "--out", "one", *SMALL]) == 0
    own = elsewhere / "one" / "ledger.db"
    assert stat.S_IMODE(own.stat().st_mode) == 0o600
    # Five clients in the run's own; in the other all records are one party.
    assert (_spent(own), _spent(elsewhere / "all.db")) == (10, 2)
    assert {one.book for one in _rows(own)} == {"dp-sgd-seed0"}
    # The budget is not reset for a second run, whatever its seed.
    capsys.readouterr()
    again = ["train", "empty.toml", "--out", "two", "--seed", "9", *SMALL]
    assert command(again) == 2
    assert "fits the budget" in capsys.readouterr().err
    assert not (elsewhere / "two").exists()
    assert _spent(elsewhere / "all.db") == 2


def _stop_after_a_round(monkeypatch: pytest.MonkeyPatch) -> None:
    real = RunDiary.write

    def write(self: RunDiary, checkpoint: Checkpoint) -> None:
        real(self, checkpoint)
        raise KeyboardInterrupt

    monkeypatch.setattr(RunDiary, "write", write)


def test_a_stopped_run_spends_for_each_round_once_in_both_files(
    elsewhere: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    sets = [*SMALL, "--set=protections.names=['dp-sgd']"]
    with monkeypatch.context() as patch:
        _stop_after_a_round(patch)
        assert command(["train", "empty.toml", "--out", "one", *sets]) == 130
    own, shared = elsewhere / "one" / "ledger.db", elsewhere / "all.db"
    assert (_spent(own), _spent(shared)) == (5, 1)
    resume = ["train", "--resume", str(elsewhere / "one"), "--quiet"]
    (elsewhere / "away").mkdir()
    monkeypatch.chdir(elsewhere / "away")
    capsys.readouterr()
    assert command(resume) == 2  # a new file there would be a new budget
    assert "is not there" in capsys.readouterr().err
    monkeypatch.chdir(elsewhere)
    assert command(resume) == 0
    assert (_spent(own), _spent(shared)) == (10, 2)
    assert {one.uncommitted for one in (*_rows(own), *_rows(shared))} == {0}


def test_the_command_shows_a_ledger_and_what_exceeds(
    elsewhere: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(["train", "empty.toml", "--out", "one", *SMALL]) == 0
    shown: Callable[[], str] = lambda: capsys.readouterr().out  # noqa: E731
    shown()
    assert command(["dp", "ledger", "one/ledger.db"]) == 0
    words = shown()
    assert "dp-sgd-seed0: for one example" in words and "RDP" in words
    assert words.count("client-") == 5
    assert command(["dp", "ledger", "one/ledger.db", "--epsilon", "2"]) == 3
    assert "Over the budget" in shown()
    for wrong in (["absent.db"], ["empty.toml"], ["all.db", "--epsilon", "0"]):
        assert command(["dp", "ledger", *wrong]) == 2
    assert not (elsewhere / "absent.db").exists()
