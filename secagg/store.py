"""The write-ahead store: what a party has sent, so that a restart never repeats it.

A mask is used once.  A client that crashed and forgot would enter the same session
again, with new secrets beside the old shares that are still out; and nobody who forgets
the earlier sums under a context can tell that the next one isolates a client.  So each
step is on disk before its bytes leave: owner, session and step, and for a sum that is
about to be released its context and its cohort.  A client that comes back is refused
for that session and may join the next; a round is never resumed.

Nothing secret is stored: no vector, key, share or weight.  The file says who took part
in what, and is made readable by its owner only (mode 0600).

One SQLite file, one transaction per step, synchronised with the disk before it returns
(rollback journal, ``synchronous=EXTRA``); several processes of one machine may share
it.  It cannot notice that the file was deleted or replaced by an older copy, and does
not hold on a disk that acknowledges writes it has not done, or on a network file system
without locks.
"""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Final, NoReturn, Self

from secagg.errors import AbortError, LocalProtocolError, StoreError
from secagg.invite import Step
from secagg.monitor import Release, check_release

APPLICATION_ID: Final = 0x62737361  # "bssa" in the file's header
SCHEMA_VERSION: Final = 1
BUSY_TIMEOUT_S: Final = 30.0
_MEMORY: Final = ":memory:"
_ORDER: Final = tuple(Step)
_TABLES: Final = (
    "CREATE TABLE steps (owner TEXT, session BLOB, step TEXT NOT NULL,"
    " PRIMARY KEY (owner, session)) WITHOUT ROWID",
    "CREATE TABLE cohorts (digest BLOB PRIMARY KEY, names TEXT NOT NULL) WITHOUT ROWID",
    "CREATE TABLE releases (owner TEXT, session BLOB, context BLOB NOT NULL,"
    " cohort BLOB NOT NULL, PRIMARY KEY (owner, session))"
    " WITHOUT ROWID",
    "CREATE INDEX by_context ON releases (context, owner)",
)


@dataclass(frozen=True, slots=True)
class Recorded:
    """One release in a store: whose record it is, in which session, and of what."""

    owner: str
    session: bytes
    release: Release


class Store:
    """Remembers steps and releases, of clients and servers, over restarts.

    Guarantee: when a method returns, what it recorded is on disk; of all processes that
    share the file exactly one enters a session under one name.

    To be used by the thread and the process that opened it; open one for each.  Close
    it, or use it in a ``with`` statement.

    Args:
        path: The file; made if it is absent, with mode 0600.  None keeps everything in
            memory, which is for simulations: a restart forgets it.
        must_exist: Refuse to make a new file.

    Raises:
        StoreError: The file cannot be opened or is not a store; the sentence names it.
    """

    def __init__(
        self, path: str | os.PathLike[str] | None = None, *, must_exist: bool = False
    ) -> None:
        self._path = _MEMORY if path is None else os.fspath(path)
        self._pid = os.getpid()
        self._open: sqlite3.Connection | None = None
        try:
            if must_exist:
                os.stat(self._path)
            elif path is not None:
                _make_private(self._path)
            self._open = _connect(self._path)
            with self._transaction() as database:
                _prepare(database, self._path, may_make=not must_exist)
        except OSError as error:
            raise StoreError(
                f"the store {self._path} cannot be opened: {error.strerror}; name a "
                "file in a folder that exists and that you may write to.",
                path=self._path,
            ) from error
        except StoreError:
            self.close()
            raise

    def record(self, owner: str, session: bytes, step: Step) -> None:
        """Record that ``owner`` is about to send its bytes of a step of a session.

        Raises:
            AbortError: It has sent bytes of this step or of a later one before.
            StoreError: The step cannot be recorded; nothing must be sent.
        """
        with self._transaction() as database:
            _go_forward(database, self._path, owner, session, step)

    def release(
        self, owner: str, session: bytes, release: Release, minimum: int
    ) -> None:
        """Check a sum against the owner's earlier ones; record it and the last step.

        Raises:
            AbortError: ``monitor.check_release`` refuses the sum, or as for ``record``.
            StoreError: The release cannot be recorded; nothing must be sent.
        """
        with self._transaction() as database:
            _go_forward(database, self._path, owner, session, Step.UNMASK)
            under_context = "WHERE context = ? AND owner = ?"
            values = (release.context, owner)
            found = _select(database, self._path, under_context, values)
            check_release(release, [past.release for past in found], minimum)
            names = json.dumps(sorted(release.cohort))
            digest = hashlib.sha256(names.encode()).digest()
            database.execute(
                "INSERT OR IGNORE INTO cohorts VALUES (?, ?)", (digest, names)
            )
            database.execute(
                "INSERT INTO releases VALUES (?, ?, ?, ?)",
                (owner, session, release.context, digest),
            )

    def releases(self) -> tuple[Recorded, ...]:
        """Return every release recorded, by owner and session.

        Raises:
            StoreError: The file cannot be read.
        """
        with self._transaction() as database:
            return _select(database, self._path)

    def close(self) -> None:
        """Close the file; what was recorded stays."""
        if self._open is not None and os.getpid() == self._pid:
            self._open.close()
        self._open = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __reduce__(self) -> NoReturn:
        # A copy in memory would forget what the other one is told.
        raise LocalProtocolError("A Store cannot be pickled or copied.")

    def __repr__(self) -> str:
        return f"Store({self._path!r})"

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """Do all or nothing, alone; it is on disk once this is left without error."""
        database = self._open
        if database is None or os.getpid() != self._pid:
            raise StoreError(
                f"the store {self._path} was closed, or opened by another process; "
                "open it again here.",
                path=self._path,
            )
        try:
            database.execute("BEGIN IMMEDIATE")
            yield database
            database.execute("COMMIT")
        except BaseException as error:
            with suppress(sqlite3.Error):
                database.rollback()
            if isinstance(error, sqlite3.Error):
                raise _unusable(self._path, str(error)) from error
            raise


def _make_private(path: str) -> None:
    """Make the file, for its owner only, unless it is there."""
    # Never open a file that is there: closing it again would lift the locks that
    # another store of this process holds on it.
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))


def _connect(path: str) -> sqlite3.Connection:
    """Open a file so that a commit is on disk, its directory entry included."""
    # An absolute path: SQLite gives ":memory:" and "" a meaning of their own.
    place = path if path is _MEMORY else os.path.abspath(path)
    try:
        database = sqlite3.connect(place, timeout=BUSY_TIMEOUT_S, isolation_level=None)
        for setting in ("journal_mode=DELETE", "synchronous=EXTRA"):
            database.execute(f"PRAGMA {setting}")
    except sqlite3.Error as error:
        raise _unusable(path, str(error)) from error
    return database


def _prepare(database: sqlite3.Connection, path: str, *, may_make: bool) -> None:
    """Make the tables of a new file; refuse a file that is not a whole store."""
    ours = (APPLICATION_ID, SCHEMA_VERSION)
    (found,) = database.execute(
        "SELECT * FROM pragma_application_id, pragma_user_version"
    )
    (tables,) = database.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    if found == (0, 0) and not tables and may_make:
        for statement in _TABLES:
            database.execute(statement)
        database.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        database.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
    elif found != ours:
        raise _unusable(path, "it was not written by this version of blindsum")
    elif (health := database.execute("PRAGMA quick_check(1)").fetchone()[0]) != "ok":
        raise _unusable(path, health)


def _unusable(path: str, why: str) -> StoreError:
    return StoreError(
        f"the store {path} cannot be used ({why}); nothing was recorded: put it right, "
        "or name a new file and use only sessions and contexts that were never used.",
        path=path,
    )


def _go_forward(
    database: sqlite3.Connection, path: str, owner: str, session: bytes, step: Step
) -> None:
    """Move a session on to a later step; its first step makes it."""
    key = (owner, session)
    row = database.execute(
        "SELECT step FROM steps WHERE owner = ? AND session = ?", key
    ).fetchone()
    if row is None and step is _ORDER[0]:
        database.execute("INSERT INTO steps VALUES (?, ?, ?)", (*key, step.value))
        return
    if row is None or row[0] not in _ORDER:
        raise _unusable(path, "it was replaced while a round ran")
    last = Step(row[0])
    if _ORDER.index(step) <= _ORDER.index(last):
        raise AbortError(
            f"{owner!r} took part in this session before, up to step {last}; nobody "
            "takes part twice or resumes: start a new session.",
            step=step,
        )
    database.execute(
        "UPDATE steps SET step = ? WHERE owner = ? AND session = ?", (step.value, *key)
    )


def _select(
    database: sqlite3.Connection,
    path: str,
    where: str = "",
    values: tuple[object, ...] = (),
) -> tuple[Recorded, ...]:
    """Read releases; each cohort is parsed once."""
    cohorts: dict[str, frozenset[str]] = {}
    found = []
    try:
        for owner, session, context, names in database.execute(
            "SELECT owner, session, context, names FROM releases"
            f" JOIN cohorts ON cohort = digest {where} ORDER BY owner, session",
            values,
        ):
            if names not in cohorts:
                cohorts[names] = frozenset(json.loads(names))
            found.append(Recorded(owner, session, Release(context, cohorts[names])))
    except (ValueError, TypeError) as error:
        raise _unusable(path, "a release in it is damaged") from error
    return tuple(found)
