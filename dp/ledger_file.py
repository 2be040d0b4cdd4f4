"""The file of a ledger: books, and what was spent in them, over crashes.

One SQLite file, one transaction per step, synchronised with the disk before it returns
(rollback journal, ``synchronous=EXTRA``); several processes of one machine may share
it, and while one writes the others wait. It names parties and events and holds nothing
secret, but it says who took part when, and is made readable by its owner only (0600).

It cannot notice that it was deleted or replaced by an older copy, and does not hold on
a disk that acknowledges writes it has not done, or on a network file system without
locks.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final

from dp.errors import LedgerError

APPLICATION_ID: Final = 0x62736C65  # "bsle" in the file's header
SCHEMA_VERSION: Final = 1
BUSY_TIMEOUT_S: Final = 30.0
_MEMORY: Final = ":memory:"
_TABLES: Final = (
    "CREATE TABLE books (name TEXT PRIMARY KEY, unit TEXT NOT NULL,"
    " relation TEXT NOT NULL, epsilon REAL NOT NULL, delta REAL NOT NULL)"
    " WITHOUT ROWID",
    # An entry counts as spent from when it is there, committed or not.
    "CREATE TABLE entries (number INTEGER PRIMARY KEY, book TEXT NOT NULL,"
    " run TEXT NOT NULL, round INTEGER NOT NULL, party TEXT NOT NULL,"
    " event TEXT NOT NULL, count INTEGER NOT NULL, committed INTEGER NOT NULL,"
    " UNIQUE (book, run, round, party))",
    "CREATE INDEX by_party ON entries (book, party, event, count)",
)


class LedgerFile:
    """An open file, or a place in memory with the same behaviour.

    Threads may share it; processes open it each for itself.

    Args:
        path: of the file; made if it is absent, with mode 0600. None: in memory.
        must_exist: refuse to make a new file.

    Raises:
        LedgerError: the file cannot be opened or is no ledger; the sentence names it.
    """

    def __init__(
        self, path: str | os.PathLike[str] | None, *, must_exist: bool = False
    ) -> None:
        self.path = _MEMORY if path is None else os.fspath(path)
        self._pid = os.getpid()
        self._lock = threading.RLock()
        self._open: sqlite3.Connection | None = None
        try:
            if must_exist:
                os.stat(self.path)
            elif path is not None:
                _make_private(self.path)
            self._open = _connect(self.path)
            with self.transaction() as database:
                _prepare(database, self.path, may_make=not must_exist)
        except OSError as error:
            raise LedgerError(
                f"the ledger {self.path} cannot be opened: {error.strerror}; name a "
                "file in a folder that exists and that you may write to."
            ) from error
        except LedgerError:
            self.close()
            raise

    @property
    def in_memory(self) -> bool:
        """Say whether there is no file, so that nobody else waits."""
        return self.path is _MEMORY

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Do all or nothing, alone; it is on disk once this is left without error.

        Raises:
            LedgerError: nothing was recorded, so nothing may be released.
        """
        with self._lock:
            database = self._open
            if database is None or os.getpid() != self._pid:
                raise LedgerError(
                    f"the ledger {self.path} was closed, or opened by another process; "
                    "open it again here."
                )
            try:
                database.execute("BEGIN IMMEDIATE")
                yield database
                database.execute("COMMIT")
            except BaseException as error:
                with suppress(sqlite3.Error):
                    database.rollback()
                if isinstance(error, sqlite3.Error):
                    raise unusable(self.path, str(error)) from error
                raise

    def close(self) -> None:
        """Close the file; what was recorded stays."""
        with self._lock:
            if self._open is not None and os.getpid() == self._pid:
                self._open.close()
            self._open = None

    def __del__(self) -> None:
        # Ledgers in memory are often just dropped.
        if hasattr(self, "_open"):
            self.close()


def unusable(path: str, why: str) -> LedgerError:
    """Return the error of a file that cannot be relied on."""
    return LedgerError(
        f"the ledger {path} cannot be used ({why}); nothing was recorded: put it "
        "right, and release nothing until then."
    )


def _make_private(path: str) -> None:
    """Make the file, for its owner only, unless it is there."""
    # Never open a file that is there: closing it again would lift the locks that
    # another ledger of this process holds on it.
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))


def _connect(path: str) -> sqlite3.Connection:
    # An absolute path: SQLite gives ":memory:" and "" a meaning of their own.
    place = path if path is _MEMORY else os.path.abspath(path)
    try:
        database = sqlite3.connect(
            place,
            timeout=BUSY_TIMEOUT_S,
            isolation_level=None,
            check_same_thread=False,  # our own lock does that
        )
        for setting in ("journal_mode=DELETE", "synchronous=EXTRA"):
            database.execute(f"PRAGMA {setting}")
    except sqlite3.Error as error:
        raise unusable(path, str(error)) from error
    return database


def _prepare(database: sqlite3.Connection, path: str, *, may_make: bool) -> None:
    """Make the tables of a new file; refuse a file that is not a whole ledger."""
    (found,) = database.execute(
        "SELECT * FROM pragma_application_id, pragma_user_version"
    )
    (tables,) = database.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    if found == (0, 0) and not tables and may_make:
        for statement in _TABLES:
            database.execute(statement)
        database.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        database.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
    elif found != (APPLICATION_ID, SCHEMA_VERSION):
        raise unusable(path, "it was not written by this version of blindsum")
    elif (health := database.execute("PRAGMA quick_check(1)").fetchone()[0]) != "ok":
        raise unusable(path, health)
