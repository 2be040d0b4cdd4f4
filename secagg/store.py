"""The write-ahead store: what a party has sent, so that a restart never repeats it.

A mask is used once.  A client that crashed and forgot would enter the same session
again, with new secrets beside the old shares that are still out; and nobody who forgets
the earlier sums under a context can tell that the next one isolates a client.  So each
step is on disk before its bytes leave: owner, session and step, for an upload its
context, and for a sum that is about to be released its context and its cohort.  A
client that comes back is refused for that session and may join the next; a round is
never resumed.

No vector, share, weight or key of the protocol is stored.  The file says who took part
in what, and whoever has it can check a guess of a vector together with its weight (a
mark of each is kept, keyed with a secret of the file); it is made readable by its owner
only (mode 0600).

One SQLite file, one transaction per step, synchronised with the disk before it returns
(rollback journal, ``synchronous=EXTRA``); several processes of one machine may share
it.  It cannot notice that the file was deleted or replaced by an older copy, and does
not hold on a disk that acknowledges writes it has not done, or on a network file system
without locks.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Final, NoReturn, Self

from secagg import store_file, usage
from secagg.errors import AbortError, LocalProtocolError, ParameterError, StoreError
from secagg.invite import Step
from secagg.monitor import Release, check_release

_ORDER: Final = tuple(Step)


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
        self._path = store_file.MEMORY if path is None else os.fspath(path)
        self._pid = os.getpid()
        self._open: sqlite3.Connection | None = None
        try:
            if must_exist:
                os.stat(self._path)
            elif path is not None:
                store_file.make_private(self._path)
            self._open = store_file.connect(self._path)
            with self._transaction() as database:
                store_file.prepare(database, self._path, may_make=not must_exist)
        except OSError as error:
            raise StoreError(
                f"the store {self._path} cannot be opened: {error.strerror}; name a "
                "file in a folder that exists and that you may write to.",
                path=self._path,
            ) from error
        except StoreError:
            self.close()
            raise

    remembers = True

    def record(self, owner: str, session: bytes, step: Step) -> None:
        """Record that ``owner`` is about to send its bytes of a step of a session.

        Raises:
            AbortError: It has sent bytes of this step or of a later one before.
            StoreError: The step cannot be recorded; nothing must be sent.
        """
        with self._transaction() as database:
            _go_forward(database, self._path, owner, session, step)

    def upload(
        self, owner: str, session: bytes, context: bytes, fingerprint: bytes
    ) -> None:
        """Check what a client is about to upload; record it and the step.

        A sum of the same clients in which one of them changed its vector gives away the
        change, and the vector itself if only its weight changed.

        Raises:
            ParameterError: The fingerprint has not 32 bytes: an empty one would be the
                same for all vectors (caller).
            AbortError: It uploaded another vector or weight under this context, or has
                sent bytes of this step or of a later one before.
            StoreError: The step cannot be recorded; nothing must be sent.
        """
        if len(fingerprint) != usage.DIGEST_BYTES:
            raise ParameterError(
                f"fingerprint has {len(fingerprint)} bytes, expected "
                f"{usage.DIGEST_BYTES}; a journal around a Store has to remember too.",
                argument="fingerprint",
            )
        with self._transaction() as database:
            _go_forward(database, self._path, owner, session, Step.MASKED_INPUT)
            (secret,) = database.execute("SELECT max(secret) FROM key").fetchone()
            if not isinstance(secret, bytes) or len(secret) != usage.DIGEST_BYTES:
                raise store_file.unusable(self._path, "its key is damaged")
            mark = hmac.digest(secret, fingerprint, "sha256")
            database.execute(
                "INSERT OR IGNORE INTO uploads VALUES (?, ?, ?)", (owner, context, mark)
            )
            (first,) = database.execute(
                "SELECT mark FROM uploads WHERE owner = ? AND context = ?",
                (owner, context),
            ).fetchone()
            if not isinstance(first, bytes):
                raise store_file.unusable(self._path, "a mark in it is damaged")
            if not hmac.compare_digest(first, mark):
                raise AbortError(
                    f"{owner!r} uploaded another vector or weight under this context "
                    "before; offer the very same again, or train under a new context.",
                    step=Step.MASKED_INPUT,
                )

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
                raise store_file.unusable(self._path, str(error)) from error
            raise


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
        raise store_file.unusable(path, "it was replaced while a round ran")
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
        raise store_file.unusable(path, "a release in it is damaged") from error
    return tuple(found)
