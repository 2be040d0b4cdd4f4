"""The file of a store: made for its owner only, whole, and synchronised with the disk.

SQLite with a rollback journal and ``synchronous=EXTRA``.  What is in the tables is the
business of ``store``.
"""

from __future__ import annotations

import os
import sqlite3
from contextlib import suppress
from typing import Final

from secagg import usage
from secagg.errors import StoreError

APPLICATION_ID: Final = 0x62737361  # "bssa" in the file's header
SCHEMA_VERSION: Final = 2
BUSY_TIMEOUT_S: Final = 30.0
MEMORY: Final = ":memory:"
TABLES: Final = (
    "CREATE TABLE steps (owner TEXT, session BLOB, step TEXT NOT NULL,"
    " PRIMARY KEY (owner, session)) WITHOUT ROWID",
    "CREATE TABLE key (secret BLOB NOT NULL)",
    "CREATE TABLE uploads (owner TEXT, context BLOB, mark BLOB NOT NULL,"
    " PRIMARY KEY (owner, context)) WITHOUT ROWID",
    "CREATE TABLE cohorts (digest BLOB PRIMARY KEY, names TEXT NOT NULL) WITHOUT ROWID",
    "CREATE TABLE releases (owner TEXT, session BLOB, context BLOB NOT NULL,"
    " cohort BLOB NOT NULL, PRIMARY KEY (owner, session))"
    " WITHOUT ROWID",
    "CREATE INDEX by_context ON releases (context, owner)",
)


def make_private(path: str) -> None:
    """Make the file, for its owner only, unless it is there."""
    # Never open a file that is there: closing it again would lift the locks that
    # another store of this process holds on it.
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))


def connect(path: str) -> sqlite3.Connection:
    """Open a file so that a commit is on disk, its directory entry included."""
    # An absolute path: SQLite gives ":memory:" and "" a meaning of their own.
    place = path if path is MEMORY else os.path.abspath(path)
    try:
        database = sqlite3.connect(place, timeout=BUSY_TIMEOUT_S, isolation_level=None)
        for setting in ("journal_mode=DELETE", "synchronous=EXTRA"):
            database.execute(f"PRAGMA {setting}")
    except sqlite3.Error as error:
        raise unusable(path, str(error)) from error
    return database


def prepare(database: sqlite3.Connection, path: str, *, may_make: bool) -> None:
    """Make the tables of a new file; refuse a file that is not a whole store."""
    ours = (APPLICATION_ID, SCHEMA_VERSION)
    (found,) = database.execute(
        "SELECT * FROM pragma_application_id, pragma_user_version"
    )
    (tables,) = database.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    if found == (0, 0) and not tables and may_make:
        for statement in TABLES:
            database.execute(statement)
        secret = os.urandom(usage.DIGEST_BYTES)
        database.execute("INSERT INTO key VALUES (?)", (secret,))
        database.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        database.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
    elif found != ours:
        raise unusable(path, "it was not written by this version of blindsum")
    elif (health := database.execute("PRAGMA quick_check(1)").fetchone()[0]) != "ok":
        raise unusable(path, health)


def unusable(path: str, why: str) -> StoreError:
    """Return the error that names a file, what ails it and the cure."""
    return StoreError(
        f"the store {path} cannot be used ({why}); nothing was recorded: put it right, "
        "or name a new file and use only sessions and contexts that were never used.",
        path=path,
    )
