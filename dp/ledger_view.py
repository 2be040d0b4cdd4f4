"""A ledger read back: what each party of each book has spent, by both accountants.

for account in accounts("runs/latest/ledger.db"):
    print(account.party, account.epsilon, account.left)
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

from dp.accounting import composed_epsilon
from dp.budget import Budget
from dp.ledger_file import LedgerFile
from dp.ledger_rows import described, read_releases


@dataclass(frozen=True, slots=True, kw_only=True)
class PartyAccount:
    """What a book says of one party.

    Attributes:
        book: its name.
        unit: of privacy.
        relation: which data sets are neighbours.
        party: whose units were released about.
        events: the mechanisms, in words.
        releases: how many are spent.
        uncommitted: how many of them were reserved and never committed; they count.
        epsilon: of all of them, an upper bound (PLD; RDP for Skellam noise), at the
            budget's delta.
        epsilon_rdp: the same by RDP, looser, as a cross-check.
        budget: of the party.
    """

    book: str
    unit: str
    relation: str
    party: str
    events: tuple[str, ...]
    releases: int
    uncommitted: int
    epsilon: float
    epsilon_rdp: float
    budget: Budget

    @property
    def exceeded(self) -> bool:
        """Say whether more was spent than the budget allows."""
        return self.epsilon > self.budget.epsilon

    @property
    def left(self) -> float:
        """Return the budget less what is spent; negative where it is exceeded.

        Not what one more release may cost on its own: releases compose to less than
        the sum of their epsilons.
        """
        return self.budget.epsilon - self.epsilon


def accounts(path: str | os.PathLike[str]) -> tuple[PartyAccount, ...]:
    """Return every party of every book of a ledger, in order of their first entries.

    Raises:
        LedgerError: there is no such file, it is no ledger, or it is damaged.
    """
    file = LedgerFile(path, must_exist=True)
    try:
        with file.transaction() as database:
            rows: Sequence[tuple[str, ...]] = database.execute(
                "SELECT book, party, unit, relation, epsilon, delta FROM entries"
                " JOIN books ON book = name GROUP BY book, party"
                " ORDER BY min(number)"
            ).fetchall()
            held = [
                database.execute(
                    "SELECT event, sum(count), sum(count * (1 - committed))"
                    " FROM entries WHERE book = ? AND party = ?"
                    " GROUP BY event ORDER BY event",
                    row[:2],
                ).fetchall()
                for row in rows
            ]
    finally:
        file.close()
    return tuple(
        _account(row, spent, file.path) for row, spent in zip(rows, held, strict=True)
    )


def _account(
    row: Sequence[object], spent: Sequence[tuple[str, int, int]], path: str
) -> PartyAccount:
    book, party, unit, relation, epsilon, delta = row
    budget = Budget(epsilon=float(str(epsilon)), delta=float(str(delta)))
    releases = read_releases(tuple((text, count) for text, count, _ in spent), path)
    return PartyAccount(
        book=str(book),
        unit=str(unit),
        relation=str(relation),
        party=str(party),
        events=tuple(described(text, path) for text, _, _ in spent),
        releases=sum(count for _, count in releases),
        uncommitted=sum(count for _, _, count in spent),
        epsilon=composed_epsilon(releases, budget.delta),
        epsilon_rdp=composed_epsilon(releases, budget.delta, accountant="rdp"),
        budget=budget,
    )
