"""The ledger on disk: what was reserved stays spent; only our own files are read."""

from __future__ import annotations

import os
import sqlite3
import stat
from pathlib import Path

import pytest

from dp import (
    Budget,
    BudgetExceeded,
    Ledger,
    LedgerError,
    ParameterError,
    accounts,
    composed_epsilon,
    epsilon,
    sampled_gaussian,
)
from dp.ledger_file import APPLICATION_ID

BUDGET = Budget(epsilon=2.0, delta=1e-5)
STEP = sampled_gaussian(4.0, 0.5)
OTHER = sampled_gaussian(8.0, 1)
BIG = sampled_gaussian(0.5, 1)


@pytest.fixture(params=["memory", "file"])
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path | None:
    return None if request.param == "memory" else tmp_path / "ledger.db"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "ledger.db"


def opened(path: Path | None, book: str = "main") -> Ledger:
    return Ledger(BUDGET, unit="client", path=path, book=book)


def test_a_reservation_counts_as_spent_before_and_without_its_commit(
    path: Path | None,
) -> None:
    with opened(path) as ledger:
        ledger.reserve("a", STEP, 2, run="r", round=0)
        assert ledger.epsilon("a") == epsilon(STEP, 2, 1e-5)
        assert [one.committed for one in ledger.entries()] == [False]
        ledger.commit(run="r", round=0)
        ledger.commit(run="r", round=0)
        assert ledger.epsilon("a") == epsilon(STEP, 2, 1e-5)
        assert [one.committed for one in ledger.entries()] == [True]
        with pytest.raises(BudgetExceeded):
            ledger.reserve("a", BIG, run="r", round=1)
        assert len(ledger.entries()) == 1


def test_the_same_round_with_the_same_bits_is_spent_once(path: Path | None) -> None:
    with opened(path) as ledger:
        for _ in range(3):
            ledger.reserve("a", STEP, run="r", round=0, same_bits=True)
            ledger.commit(run="r", round=0)
        assert ledger.epsilon("a") == epsilon(STEP, 1, 1e-5)
        # Another round, run or party is another release.
        ledger.reserve("a", STEP, run="r", round=1, same_bits=True)
        ledger.reserve("a", STEP, run="s", round=0, same_bits=True)
        ledger.reserve("b", STEP, run="r", round=0, same_bits=True)
        assert ledger.epsilon("a") == epsilon(STEP, 3, 1e-5)
        assert ledger.epsilon("b") == epsilon(STEP, 1, 1e-5)


def test_a_round_is_not_repeated_with_fresh_noise_or_another_release(
    path: Path | None,
) -> None:
    with opened(path) as ledger:
        ledger.reserve("a", STEP, run="r", round=0)
        with pytest.raises(ParameterError, match="may have been released"):
            ledger.reserve("a", STEP, run="r", round=0)
        for event, count in ((OTHER, 1), (STEP, 2)):
            with pytest.raises(ParameterError, match="another release"):
                ledger.reserve("a", event, count, run="r", round=0, same_bits=True)
        assert ledger.epsilon("a") == epsilon(STEP, 1, 1e-5)


def test_a_repeated_round_passes_even_when_the_budget_is_used_up(
    path: Path | None,
) -> None:
    with opened(path) as ledger:
        last = 0
        while not ledger.would_exceed("a", STEP):
            ledger.reserve("a", STEP, run="r", round=last)
            last += 1
        before = ledger.entries()
        ledger.reserve("a", STEP, run="r", round=last - 1, same_bits=True)
        with pytest.raises(BudgetExceeded):
            ledger.reserve("a", STEP, run="r", round=last, same_bits=True)
        assert ledger.entries() == before


def test_a_release_that_was_never_reserved_cannot_be_committed(
    path: Path | None,
) -> None:
    with opened(path) as ledger:
        ledger.reserve("a", STEP, run="r", round=0)
        for run, number in (("r", 1), ("s", 0)):
            with pytest.raises(ParameterError, match="never reserved"):
                ledger.commit(run=run, round=number)


def test_admission_is_one_by_one_and_refusals_are_counted(path: Path | None) -> None:
    with opened(path) as ledger:
        while not ledger.would_exceed("full", STEP):
            ledger.spend("full", STEP)
        names = ("b", "full", "a", "b")
        assert ledger.admit(names, STEP, run="r", round=0) == ("b", "a")
        assert ledger.refusals == {"full": 1}
        ledger.refuse("full")
        assert ledger.refusals == {"full": 2}
        assert ledger.admit((), STEP, run="r", round=1) == ()


def test_a_reopened_ledger_knows_everything(file: Path) -> None:
    with opened(file) as ledger:
        ledger.reserve("a", STEP, run="r", round=0)
        ledger.spend("a", OTHER, 2)
        before = ledger.entries()
    with opened(file) as again:
        assert again.entries() == before
        assert again.parties == ("a",)
        assert again.epsilon("a") == composed_epsilon([(STEP, 1), (OTHER, 2)], 1e-5)
        assert again.epsilon("a", accountant="rdp") > again.epsilon("a")


def test_two_open_ledgers_of_one_file_share_one_budget(file: Path) -> None:
    with opened(file) as one, opened(file) as two:
        turn = 0
        while not one.would_exceed("a", STEP):
            (one, two)[turn % 2].reserve("a", STEP, run="r", round=turn)
            turn += 1
        for ledger in (one, two):
            with pytest.raises(BudgetExceeded):
                ledger.reserve("a", STEP, run="r", round=turn)
        assert len(one.entries()) == len(two.entries()) == turn > 1


def test_books_of_one_file_are_kept_apart(file: Path) -> None:
    with opened(file, "one") as one, opened(file, "two") as two:
        one.reserve("a", STEP, run="r", round=0)
        assert two.entries() == ()
        two.reserve("a", STEP, run="r", round=0)
        with pytest.raises(ParameterError, match="never reserved"):
            two.commit(run="r", round=1)
        assert len(one.entries()) == len(two.entries()) == 1


@pytest.mark.parametrize(
    ("budget", "unit"),
    [
        (Budget(epsilon=2.1, delta=1e-5), "client"),
        (Budget(epsilon=2.0, delta=1e-6), "client"),
        (BUDGET, "example"),
    ],
)
def test_a_book_is_not_opened_with_another_budget_or_unit(
    budget: Budget, unit: str, file: Path
) -> None:
    with opened(file) as ledger:
        ledger.spend("a", STEP)
    with pytest.raises(LedgerError, match="open it as it was begun"):
        Ledger(budget, unit=unit, path=file)
    with opened(file) as ledger:
        assert len(ledger.entries()) == 1


def test_the_file_is_its_owners_only(file: Path) -> None:
    opened(file).close()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_a_file_of_somebody_else_is_left_as_it_is(file: Path) -> None:
    file.write_text("a text")
    with pytest.raises(LedgerError, match="cannot be used"):
        opened(file)
    assert file.read_text() == "a text"
    other = sqlite3.connect(file.with_name("other.db"))
    other.execute("CREATE TABLE mine (x)")
    other.close()
    before = file.with_name("other.db").read_bytes()
    with pytest.raises(LedgerError, match="not written by this version"):
        opened(file.with_name("other.db"))
    assert file.with_name("other.db").read_bytes() == before
    with pytest.raises(LedgerError, match="cannot be opened"):
        opened(file.with_name("no folder") / "ledger.db")


def test_another_version_is_refused(file: Path) -> None:
    opened(file).close()
    database = sqlite3.connect(file)
    assert database.execute("PRAGMA application_id").fetchone() == (APPLICATION_ID,)
    database.execute("PRAGMA user_version = 2")
    database.close()
    with pytest.raises(LedgerError, match="version"):
        opened(file)


@pytest.mark.parametrize("at", [20, 100, 4200, 9000])
def test_a_damaged_file_is_refused_or_unharmed(at: int, file: Path) -> None:
    with opened(file) as ledger:
        for index in range(40):
            ledger.admit((f"site-{index}",), STEP, run="r", round=0)
        before = ledger.entries()
    bytes_ = bytearray(file.read_bytes())
    bytes_[at : at + 16] = b"\xff" * 16
    file.write_bytes(bytes(bytes_))
    try:
        with opened(file) as ledger:
            assert ledger.entries() == before
    except LedgerError as error:
        assert str(file) in str(error)


@pytest.mark.parametrize("text", ["", "{}", '{"kind":"gaussian"}', "x"])
def test_a_damaged_event_stops_everything(text: str, file: Path) -> None:
    with opened(file) as ledger:
        ledger.spend("a", STEP)
    database = sqlite3.connect(file)
    database.execute("UPDATE entries SET event = ?", (text,))
    database.commit()
    database.close()
    with opened(file) as ledger:
        with pytest.raises(LedgerError):
            ledger.spend("a", STEP)
        with pytest.raises(LedgerError):
            ledger.epsilon("a")
        with pytest.raises(LedgerError):
            ledger.entries()
    with pytest.raises(LedgerError):
        accounts(file)


def test_a_full_disk_releases_nothing(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(file) as ledger:
        ledger.reserve("a", STEP, run="r", round=0)
        assert ledger._file._open is not None
        pages = ledger._file._open.execute("PRAGMA page_count").fetchone()[0]
        ledger._file._open.execute(f"PRAGMA max_page_count = {pages}")
        names = tuple(f"site-{index}" for index in range(500))
        with pytest.raises(LedgerError, match="full"):
            ledger.admit(names, STEP, run="r", round=1)
        assert len(ledger.entries()) == 1


def test_a_closed_ledger_and_one_of_another_process_refuse(file: Path) -> None:
    ledger = opened(file)
    ledger.close()
    with pytest.raises(LedgerError, match="closed"):
        ledger.spend("a", STEP)
    ledger = opened(file)
    ledger._file._pid = os.getpid() + 1
    with pytest.raises(LedgerError, match="another process"):
        ledger.spend("a", STEP)


@pytest.mark.parametrize(
    ("run", "number", "party", "count"),
    [("", 0, "a", 1), ("r", -1, "a", 1), ("r", 2**63, "a", 1), ("r", 0, "a", 10**13)],
)
def test_bad_rounds_are_refused(
    run: str, number: int, party: str, count: int, path: Path | None
) -> None:
    with opened(path) as ledger:
        with pytest.raises(ParameterError):
            ledger.reserve(party, STEP, count, run=run, round=number)
        assert ledger.entries() == ()


def test_the_view_has_every_party_by_both_accountants(file: Path) -> None:
    with opened(file, "one") as one, opened(file, "two") as two:
        one.reserve("b", STEP, 3, run="r", round=0)
        one.commit(run="r", round=0)
        one.reserve("b", OTHER, run="r", round=1)
        one.spend("a", STEP)
        two.spend("b", OTHER, 2)
    found = accounts(file)
    assert [(it.book, it.party) for it in found] == [
        ("one", "b"),
        ("one", "a"),
        ("two", "b"),
    ]
    first = found[0]
    assert (first.releases, first.uncommitted) == (4, 1)
    assert first.epsilon == composed_epsilon([(STEP, 3), (OTHER, 1)], 1e-5)
    assert first.epsilon_rdp > first.epsilon
    assert first.budget == BUDGET and first.unit == "client"
    assert not first.exceeded
    assert first.left == 2.0 - first.epsilon
    assert len(first.events) == 2 and "multiplier 4.0" in first.events[0]
    assert found[1].uncommitted == 0
    with pytest.raises(LedgerError, match="cannot be opened"):
        accounts(file.with_name("absent.db"))
    assert not file.with_name("absent.db").exists()


def test_an_exceeded_budget_shows(file: Path) -> None:
    with opened(file) as ledger:
        ledger.spend("a", STEP)
    database = sqlite3.connect(file)
    database.execute("UPDATE books SET epsilon = 0.01")
    database.commit()
    database.close()
    (found,) = accounts(file)
    assert found.exceeded and found.left < 0
