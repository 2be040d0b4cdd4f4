"""Who has been told how much about whom: budgets, spent before each release.

    budget = Budget(epsilon=3.0, delta=1e-5)
    with Ledger(budget, unit="example", path="ledger.db") as ledger:
        ledger.reserve("site-3", step, 20, run="7f3a", round=4)   # or BudgetExceeded
        ...                                                       # release
        ledger.commit(run="7f3a", round=4)

A party is whose units a release is about: a client under example-level privacy, the
whole federation under client-level privacy. Parties are accounted for separately:
parallel composition over disjoint data (McSherry, "Privacy integrated queries", SIGMOD
2009) keeps each unit within its own party's budget. A unit whose data lie with several
parties spends at each of them, and only the composition of those bounds it.

What is reserved counts as spent, whether or not it was ever committed: a process that
is killed at any moment has never released what it had not reserved. The file is
`dp.ledger_file`, its events are `dp.events`.
"""

from __future__ import annotations

import os
import sqlite3
import uuid
from collections import Counter
from collections.abc import Iterable
from types import TracebackType
from typing import Final, Self

from dp_accounting import DpEvent

from dp.accounting import RELATION, composed_epsilon, fits
from dp.budget import UNITS, Budget, Entry, Unit
from dp.errors import BudgetExceeded, LedgerError, ParameterError
from dp.ledger_file import LedgerFile
from dp.ledger_rows import (
    Held,
    checked,
    described,
    held_by,
    is_reserved,
    plus,
    read_releases,
)
from dp.pld import AccountantName, Multiset
from dp.relation import check_relation

__all__ = ["BOOK", "UNITS", "Budget", "Entry", "Ledger", "Unit"]

BOOK: Final = "main"
ROUND_MAX: Final = 2**62


class Ledger:
    """Records releases and refuses the one that would break a party's budget.

    Guarantee: for every party of the book, the composition of everything reserved is
    within the budget, by the pessimistic PLD accountant under the book's relation.
    When a method returns, what it recorded is on disk; of all processes that share the
    file only as many are let through as the budget has room for. Whatever is released
    must be reserved first; a release that the ledger never hears of is not covered.

    It has two blind spots: a file that is deleted or replaced by an older copy, and two
    books, whose releases are not composed with each other.

    Args:
        budget: of each party.
        unit: what is protected: "example", "subject" or "client".
        relation: which data sets are neighbours, `dp.relation`; every event is stated
            for the sensitivity under it.
        path: the file, made with mode 0600 if it is absent. None keeps everything in
            memory, with the same behaviour: for simulations, since a restarted process
            forgets what was spent.
        book: a name within the file. A book keeps the unit and budget that it was
            opened with first.

    Raises:
        ParameterError: the caller's: another unit or relation.
        LedgerError: the file cannot be opened, is no ledger, or its book has another
            unit or budget.
    """

    def __init__(
        self,
        budget: Budget,
        *,
        unit: str,
        relation: str = RELATION,
        path: str | os.PathLike[str] | None = None,
        book: str = BOOK,
    ) -> None:
        if unit not in UNITS:
            raise ParameterError(f"unit={unit!r} must be one of {', '.join(UNITS)}.")
        check_relation(relation)
        self.budget = budget
        self.unit = unit
        self.relation = relation
        self.book = book
        self._refusals: Counter[str] = Counter()
        self._file = LedgerFile(path)
        try:
            with self._file.transaction() as database:
                _open_book(database, self)
        except LedgerError:
            self.close()
            raise

    @property
    def path(self) -> str:
        """Return the file, or ":memory:"."""
        return self._file.path

    def spend(self, party: str, event: DpEvent, count: int = 1) -> None:
        """Record `count` releases about a party, before they are made, as one round.

        Guarantee: either all of them are recorded and within the budget, or none is.

        Raises:
            BudgetExceeded: they do not fit; nothing is recorded but the refusal.
            ParameterError: the caller's: no party, a count below 1, or an event that
                cannot be recorded or bounded.
            LedgerError: they cannot be recorded; nothing may be released.
        """
        run = uuid.uuid4().hex
        self._reserve((party,), event, count, run=run, round=0, alone=True, done=True)

    def reserve(
        self,
        party: str,
        event: DpEvent,
        count: int = 1,
        *,
        run: str,
        round: int,
        same_bits: bool = False,
    ) -> None:
        """Spend `count` releases about a party, before a round makes them.

        A round that was reserved before is refused, unless it is the same in every
        value and `same_bits` is given; then nothing is spent twice.

        Args:
            party: whose units the releases are about.
            event: one release.
            count: >= 1.
            run: a name that no other run has, such as a random one.
            round: of that run, >= 0.
            same_bits: the caller promises that playing this round of this run again
                releases the very bits that it may have released before, so that nobody
                learns more. True of simulations, whose noise follows from a seed; never
                of noise from the operating system.

        Raises:
            BudgetExceeded: they do not fit; nothing is recorded but the refusal.
            ParameterError: as for `spend`, or the round was reserved before.
            LedgerError: as for `spend`.
        """
        self._reserve(
            (party,), event, count, run=run, round=round, alone=True, again=same_bits
        )

    def admit(
        self,
        parties: Iterable[str],
        event: DpEvent,
        count: int = 1,
        *,
        run: str,
        round: int,
        same_bits: bool = False,
    ) -> tuple[str, ...]:
        """Reserve a round at every party whose budget lasts; return those, in order.

        One transaction for all; the refusals are counted. See `reserve`.

        Raises:
            ParameterError: as for `reserve`.
            LedgerError: as for `spend`.
        """
        return self._reserve(
            parties, event, count, run=run, round=round, again=same_bits
        )

    def commit(self, *, run: str, round: int) -> None:
        """Note that a round was released; it may be noted again.

        Raises:
            ParameterError: the caller's: nothing was reserved for this round, so
                something was released that was never spent.
            LedgerError: it cannot be noted; what was reserved counts all the same.
        """
        which = " WHERE book = ? AND run = ? AND round = ?"
        key = (self.book, run, round)
        with self._file.transaction() as database:
            (reserved,) = database.execute(
                f"SELECT count(*) FROM entries{which}", key
            ).fetchone()
            # What is noted already costs no write.
            database.execute(
                f"UPDATE entries SET committed = 1{which} AND committed = 0", key
            )
        if not reserved:
            raise ParameterError(
                f"round {round} of run {run!r} was never reserved in {self.path}; "
                "reserve every round before it is released."
            )

    def refuse(self, party: str) -> None:
        """Count a refusal that was decided elsewhere, by another ledger say."""
        self._refusals[party] += 1

    def would_exceed(self, party: str, event: DpEvent, count: int = 1) -> bool:
        """Say whether `spend` would refuse these releases; records nothing."""
        text = checked((party,), event, count, self.relation)
        with self._file.transaction() as database:
            held = held_by(database, self.book, party)
        return not self._within(plus(held, text, count))

    def epsilon(self, party: str, *, accountant: AccountantName = "pld") -> float:
        """Return the epsilon of all reserved about a party; 0 if nothing is.

        By PLD, which is what budgets are kept by; "rdp" is looser, to compare with.
        """
        with self._file.transaction() as database:
            held = held_by(database, self.book, party)
        return composed_epsilon(
            self._releases(held), self.budget.delta, accountant=accountant
        )

    @property
    def parties(self) -> tuple[str, ...]:
        """Return the parties with at least one entry, in order of their first."""
        return tuple(dict.fromkeys(entry.party for entry in self.entries()))

    def entries(self) -> tuple[Entry, ...]:
        """Return everything recorded, in order."""
        with self._file.transaction() as database:
            rows = database.execute(
                "SELECT party, event, count, run, round, committed FROM entries"
                " WHERE book = ? ORDER BY number",
                (self.book,),
            ).fetchall()
        return tuple(
            Entry(
                party=party,
                event=described(text, self.path),
                count=count,
                run=run,
                round=number,
                committed=bool(committed),
            )
            for party, text, count, run, number, committed in rows
        )

    @property
    def refusals(self) -> dict[str, int]:
        """Return how often each party was refused through this object; no zeros."""
        return dict(self._refusals)

    def close(self) -> None:
        """Close the file; what was recorded stays."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Ledger({self.path!r}, book={self.book!r})"

    def _reserve(
        self,
        parties: Iterable[str],
        event: DpEvent,
        count: int,
        *,
        run: str,
        round: int,
        alone: bool = False,
        again: bool = False,
        done: bool = False,
    ) -> tuple[str, ...]:
        """Reserve for whoever has room; ``alone``: raise where there is none."""
        parties = tuple(dict.fromkeys(parties))
        text = checked(parties, event, count, self.relation)
        if not run or not 0 <= round <= ROUND_MAX:
            raise ParameterError(
                f"run={run!r} and round={round} name no round; give the run a name "
                "and the round a number from 0."
            )
        admitted, refused = [], []
        self._account_ahead(parties, text, count)
        with self._file.transaction() as database:
            for party in parties:
                key = (self.book, run, round, party)
                if is_reserved(database, key, text, count, again=again):
                    admitted.append(party)
                    continue
                after = plus(held_by(database, self.book, party), text, count)
                if not self._within(after):
                    refused.append((party, after))
                    continue
                database.execute(
                    "INSERT INTO entries (book, run, round, party, event, count,"
                    " committed) VALUES (?, ?, ?, ?, ?, ?, ?)",
                    (*key, text, count, done),
                )
                admitted.append(party)
        for party, after in refused:
            self._refusals[party] += 1
            if alone:
                reached = composed_epsilon(self._releases(after), self.budget.delta)
                raise BudgetExceeded(party, reached, self.budget.epsilon)
        return tuple(admitted)

    def _account_ahead(self, parties: Iterable[str], text: str, count: int) -> None:
        """Do the sums before others have to wait; the answers are kept in a cache."""
        if self._file.in_memory:
            return
        with self._file.transaction() as database:
            before = {held_by(database, self.book, party) for party in parties}
        for held in before:
            self._within(plus(held, text, count))

    def _within(self, held: Held) -> bool:
        releases = self._releases(held)
        return fits(releases, self.budget.epsilon, self.budget.delta)

    def _releases(self, held: Held) -> Multiset:
        return read_releases(held, self.path)


def _open_book(database: sqlite3.Connection, ledger: Ledger) -> None:
    """Make the book, or check that it is the one that is asked for."""
    budget = ledger.budget
    asked = (ledger.unit, ledger.relation, float(budget.epsilon), float(budget.delta))
    found = database.execute(
        "SELECT unit, relation, epsilon, delta FROM books WHERE name = ?",
        (ledger.book,),
    ).fetchone()
    if found is None:
        database.execute(
            "INSERT INTO books VALUES (?, ?, ?, ?, ?)", (ledger.book, *asked)
        )
    elif found != asked:
        unit, relation, epsilon, delta = found
        raise LedgerError(
            f"the book {ledger.book!r} of the ledger {ledger.path} keeps epsilon "
            f"{epsilon!r} at delta {delta!r} for each {unit} under {relation!r}, not "
            f"epsilon {asked[2]!r} at delta {asked[3]!r} for each {asked[0]} under "
            f"{asked[1]!r}; open it as it was begun."
        )
