"""The rows of a ledger's file: what a party holds, and what one spending adds to it."""

from __future__ import annotations

import sqlite3
from functools import lru_cache
from typing import TypeAlias

from dp_accounting import DpEvent

from dp.accounting import check_event, describe, multiset
from dp.errors import ParameterError
from dp.events import COUNT_MAX, decode, encode
from dp.ledger_file import unusable
from dp.pld import Multiset

Held: TypeAlias = tuple[tuple[str, int], ...]
"""A party's events as text, each with how often, in the order of the texts."""


def read_releases(held: Held, path: str) -> Multiset:
    """Return the releases of events as text.

    Raises:
        LedgerError: an event in the file is damaged.
    """
    try:
        return _parsed(held)
    except ParameterError as error:
        raise unusable(path, str(error).rstrip(".")) from error


@lru_cache(maxsize=4096)
def _parsed(held: Held) -> Multiset:
    return multiset((decode(text), count) for text, count in held)


@lru_cache(maxsize=1024)
def described(text: str, path: str) -> str:
    """Say in words what an event as text is; raises as `read_releases`."""
    try:
        return describe(decode(text))
    except ParameterError as error:
        raise unusable(path, str(error).rstrip(".")) from error


def checked(parties: tuple[str, ...], event: DpEvent, count: int, relation: str) -> str:
    """Return the event as text, having refused what cannot be recorded."""
    if not all(parties):
        raise ParameterError("The party is empty; name whose budget is spent.")
    if int(count) != count or not 1 <= count <= COUNT_MAX:
        raise ParameterError(f"count={count} must be a whole number of at least 1.")
    check_event(event, relation)
    return encode(event)


def held_by(database: sqlite3.Connection, book: str, party: str) -> Held:
    """Return what is spent about a party, committed or not."""
    return tuple(
        database.execute(
            "SELECT event, sum(count) FROM entries WHERE book = ? AND party = ?"
            " GROUP BY event ORDER BY event",
            (book, party),
        )
    )


def plus(held: Held, text: str, count: int) -> Held:
    """Return what is held after a further spending."""
    counts = dict(held)
    counts[text] = counts.get(text, 0) + int(count)
    return tuple(sorted(counts.items()))


def is_reserved(
    database: sqlite3.Connection,
    key: tuple[str, str, int, str],
    text: str,
    count: int,
    *,
    again: bool,
) -> bool:
    """Say whether this very spending is there already.

    Raises:
        ParameterError: it is and may not be repeated, or another one has its place.
    """
    row = database.execute(
        "SELECT event, count FROM entries"
        " WHERE book = ? AND run = ? AND round = ? AND party = ?",
        key,
    ).fetchone()
    if row is None:
        return False
    _, run, number, party = key
    if row != (text, count):
        raise ParameterError(
            f"round {number} of run {run!r} was reserved for {party!r} with another "
            "release; give every round a number of its own."
        )
    if not again:
        raise ParameterError(
            f"round {number} of run {run!r} was reserved for {party!r} before, and may "
            "have been released; play a new round, and spend for it."
        )
    return True
