"""Who has been told how much about whom: budgets, spent before each release.

    ledger = Ledger(Budget(epsilon=3.0, delta=1e-5), unit="example")
    ledger.spend("site-3", sampled_gaussian(1.1, 0.1), count=20)    # or BudgetExceeded
    ledger.epsilon("site-3")

A party is whose units a release is about: a client under example-level privacy, the
whole federation under client-level privacy. Parties are accounted for separately:
parallel composition over disjoint data (McSherry, "Privacy integrated queries", SIGMOD
2009) keeps each unit within its own party's budget. A unit whose data lie with several
parties spends at each of them, and only the composition of those bounds it.
"""

from __future__ import annotations

import math
import threading
from collections import Counter
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias, get_args

from dp_accounting import DpEvent

from dp.accounting import RELATION, Multiset, composed_epsilon, describe, fits, multiset
from dp.errors import BudgetExceeded, ParameterError

Unit: TypeAlias = Literal["example", "subject", "client"]
UNITS: Final[tuple[str, ...]] = get_args(Unit)


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """The most that all releases about one party may come to.

    Attributes:
        epsilon: > 0, finite.
        delta: in (0, 1), at which every epsilon of the ledger is stated.
    """

    epsilon: float
    delta: float

    def __post_init__(self) -> None:
        if not 0 < self.epsilon < math.inf:
            raise ParameterError(
                f"The budget's epsilon={self.epsilon} must be positive and finite."
            )
        if not 0 < self.delta < 1:
            raise ParameterError(
                f"The budget's delta={self.delta} must lie between 0 and 1."
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One recorded spending.

    Attributes:
        party: whose units were released about.
        event: the mechanism, in words.
        count: how many such releases.
    """

    party: str
    event: str
    count: int


class Ledger:
    """Records releases and refuses the one that would break a party's budget.

    Guarantee: for every party, the composition of everything recorded is within the
    budget, by the pessimistic PLD accountant under "add or remove one unit". Whatever
    is released must be spent first; a release that the ledger never hears of is not
    covered.

    It lives in memory. Threads may share one ledger: checking and recording are one
    step under a lock. Processes may not: each would have a budget of its own, and a
    restarted process forgets what was spent.
    """

    def __init__(self, budget: Budget, *, unit: str, relation: str = RELATION) -> None:
        """Open an empty ledger.

        Args:
            budget: of each party.
            unit: what is protected: "example", "subject" or "client".
            relation: which data sets are neighbours; only "add or remove one".

        Raises:
            ParameterError: the caller's: another unit or relation.
        """
        if unit not in UNITS:
            raise ParameterError(f"unit={unit!r} must be one of {', '.join(UNITS)}.")
        if relation != RELATION:
            raise ParameterError(
                f"relation={relation!r} is not accounted for; use {RELATION!r}."
            )
        self.budget = budget
        self.unit = unit
        self.relation = relation
        self._spent: dict[str, Multiset] = {}
        self._entries: list[Entry] = []
        self._refusals: Counter[str] = Counter()
        self._lock = threading.Lock()

    def spend(self, party: str, event: DpEvent, count: int = 1) -> None:
        """Record `count` releases about a party, before they are made.

        Guarantee: either all of them are recorded and within the budget, or none is.

        Raises:
            BudgetExceeded: they do not fit; nothing is recorded but the refusal.
            ParameterError: the caller's: no party, a count below 1, or an event that
                cannot be bounded.
        """
        with self._lock:
            after = self._after(party, event, count)
            if not self._within(after):
                self._refusals[party] += 1
                reached = composed_epsilon(after, self.budget.delta)
                raise BudgetExceeded(party, reached, self.budget.epsilon)
            self._spent[party] = after
            self._entries.append(
                Entry(party=party, event=describe(event), count=int(count))
            )

    def would_exceed(self, party: str, event: DpEvent, count: int = 1) -> bool:
        """Say whether `spend` would refuse these releases; records nothing."""
        with self._lock:
            return not self._within(self._after(party, event, count))

    def epsilon(self, party: str) -> float:
        """Return the epsilon of all recorded about a party; 0 if nothing is."""
        return composed_epsilon(self._spent.get(party, ()), self.budget.delta)

    @property
    def parties(self) -> tuple[str, ...]:
        """Return the parties with at least one entry, in order of their first."""
        return tuple(self._spent)

    def entries(self) -> tuple[Entry, ...]:
        """Return everything recorded, in order."""
        return tuple(self._entries)

    @property
    def refusals(self) -> dict[str, int]:
        """Return how often each party's budget refused; a copy, without zeros."""
        return dict(self._refusals)

    def _after(self, party: str, event: DpEvent, count: int) -> Multiset:
        if not party:
            raise ParameterError("The party is empty; name whose budget is spent.")
        return multiset([*self._spent.get(party, ()), (event, count)])

    def _within(self, releases: Multiset) -> bool:
        return fits(releases, self.budget.epsilon, self.budget.delta)
