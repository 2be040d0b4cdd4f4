"""The training loop: rounds under one protection and one seed, and the record of them.

A run is one piece of work that touches nothing outside itself but the diary it is
given, so that runs can be done side by side; nothing downstream changes its record.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Protocol

import dp
from fl.catch_up import catch_up
from fl.checkpoint import Checkpoint
from fl.config import Config
from fl.course import Course, Terms, advance, begin, totals
from fl.errors import UserError
from fl.federation import Federation
from fl.ledgers import LedgerFiles, seed_of, standing
from fl.models import to_vector
from fl.protection import Protection
from fl.run_record import Account, RoundRecord, RunRecord
from fl.sensitivity import fitted

__all__ = ["Account", "Diary", "RoundRecord", "RunRecord", "train"]


class Diary(Protocol):
    """Where a run writes down its rounds, and reads where it was cut off."""

    def read(self) -> Checkpoint | None:
        """Return where the run stands, or None at its beginning."""

    def write(self, checkpoint: Checkpoint) -> None:
        """Note one more finished round, the last one of the checkpoint."""


def train(
    federation: Federation,
    protection: Protection,
    config: Config,
    *,
    seed: int,
    keep: Collection[int],
    diary: Diary | None = None,
    ledgers: LedgerFiles | None = None,
) -> RunRecord:
    """Train for the configured rounds and return the record.

    Guarantee: equal arguments give an equal record but for times, wherever an earlier
    sitting with this diary was cut off. Under a ledger over several runs (`seed_of`),
    no two runs share noise or coins.

    Args:
        federation: the clients' prepared data.
        protection: how updates are summed and noised.
        config: the resolved configuration.
        seed: of this repetition.
        keep: indices of the rounds to keep whole.
        diary: told of every round, and asked first whether there were any.
        ledgers: on disk, where every round is spent before it is played.

    Raises:
        UserError: more clients vanished in every round than the plan survives.
        ResumeError: the diary's rounds do not come out again as they were.
        LedgerFileError: a ledger cannot be opened, or keeps another budget.
        dp.LedgerError: a ledger could not be written on the way.
    """
    with standing(ledgers, protection, config, seed) as books:
        terms = Terms(
            federation=federation,
            protection=fitted(protection, federation, config.model),
            config=config,
            seed=seed_of(ledgers, seed),
            keep=frozenset(keep),
            standing=books,
        )
        course = begin(terms)
        saved = None if diary is None else diary.read()
        if saved is not None:
            catch_up(course, terms, saved)
        for index in range(len(course.rounds), config.training.rounds):
            advance(course, terms, index)
            if diary is not None:
                diary.write(course.checkpoint())
    if all(one.aborted for one in course.rounds):
        nothing = _nothing_done(course, config, protection.name)
        raise nothing from course.failure
    return RunRecord(
        protection=protection.name,
        seed=seed,
        rounds=tuple(course.rounds),
        snapshots=tuple(course.snapshots),
        final=to_vector(course.model),
        correct=federation.held_out.correct(course.model),
        accounts=_close(course.books),
        seconds=course.seconds,
    )


def _close(books: dp.Ledger | None) -> tuple[Account, ...]:
    if books is None:
        return ()
    releases, _ = totals(books)
    return tuple(
        Account(
            party=party,
            unit=books.unit,
            releases=releases.get(party, 0),
            refused=books.refusals.get(party, 0),
            epsilon=books.epsilon(party),
        )
        for party in dict.fromkeys((*books.parties, *books.refusals))
    )


def _nothing_done(course: Course, config: Config, protection: str) -> UserError:
    error, books = course.failure, course.books
    if error is None or (books is not None and books.refusals and not books.parties):
        key = "ledger_epsilon" if config.privacy.ledger else "epsilon"
        return UserError(
            f"no round under {protection} fits the budget; raise privacy.{key} or "
            f"plan fewer rounds."
        )
    planned = config.federation.drop
    return UserError(
        f"no round under {protection} could be finished: the last was aborted at "
        f"{error.step}, where {error.have} of the {error.need} clients that the plan "
        f"needs were left; raise federation.drop above {planned} or lower "
        f"federation.dropout."
    )
