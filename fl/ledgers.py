"""The ledgers on disk: what a run may have released, however it ended.

The ledger in memory follows the run and is filled anew when it is gone on with; those
on disk follow the world. Each round is reserved there before it is played and committed
once its model is out, so that a kill at any moment loses nothing that was spent. A
round that is played again has the noise it had and spends nothing more.

Every run has ``ledger.db`` in its folder, with a book for each protection and seed.
With ``privacy.ledger`` one more file keeps one budget over many runs.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import dp
from fl.config import Config
from fl.errors import ConfigError, LedgerFileError
from fl.protection import Protection
from fl.seeds import seed_for

LEDGER = "ledger.db"
# The one book of a ledger over several runs.
ALL_RUNS = "all runs"
# Its one party, where who holds a record is drawn anew in every run.
ALL_RECORDS = "all records"


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerFiles:
    """Where a run's ledgers are; can be sent to a worker.

    Attributes:
        own: in the folder of the run.
        shared: over several runs, or None.
        run: the name of the run among all, the same for every sitting.
    """

    own: Path
    shared: Path | None
    run: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """The open ledgers of one training; none, where nothing is to outlast it.

    Attributes:
        ledgers: all of which must admit; the strictest first.
        run: the name of this training among all.
        pooled: the one of them that has a single party, or None: see `is_pooled`.
    """

    ledgers: tuple[dp.Ledger, ...] = ()
    run: str = ""
    pooled: dp.Ledger | None = None

    def admit(
        self, parties: tuple[str, ...], event: dp.DpEvent, count: int, index: int
    ) -> tuple[str, ...]:
        """Reserve a round on disk; return the parties whose budgets last."""
        for ledger in self.ledgers:
            asked = (ALL_RECORDS,) if ledger is self.pooled and parties else parties
            # All of a round follows from its seed: played again it has the same bits.
            found = ledger.admit(
                asked, event, count, run=self.run, round=index, same_bits=True
            )
            if ledger is not self.pooled:
                parties = found
            elif not found:
                return ()
        return parties

    def commit(self, index: int) -> None:
        """Note that a round that was paid for is out."""
        for ledger in self.ledgers:
            ledger.commit(run=self.run, round=index)


NOWHERE = Standing()


def pay(
    books: dp.Ledger,
    parties: tuple[str, ...],
    event: dp.DpEvent,
    count: int,
    *,
    index: int,
    standing: Standing = NOWHERE,
) -> tuple[str, ...]:
    """Spend a round before it is played; return the parties that may take part.

    Guarantee: whoever is returned has paid on disk and in memory; whoever is not has
    paid neither in memory nor, but for a kill in between, on disk, and is counted as
    refused.

    Args:
        books: of the run, in memory.
        parties: about whom the round would tell.
        event: one release.
        count: of releases in the round, for each party.
        index: of the round.
        standing: the ledgers on disk.

    Raises:
        dp.LedgerError: a file cannot be written; nothing may be released.
    """
    lasting = tuple(one for one in parties if not books.would_exceed(one, event, count))
    admitted = standing.admit(lasting, event, count, index) if lasting else ()
    for party in parties:
        if party not in admitted:
            books.refuse(party)
    return books.admit(admitted, event, count, run="this run", round=index)


@contextmanager
def standing(
    files: LedgerFiles | None, protection: Protection, config: Config, seed: int
) -> Iterator[Standing]:
    """Open the ledgers of one training under one protection.

    Raises:
        LedgerFileError: a file is no ledger, or keeps another budget.
    """
    if files is None or protection.unit is None:
        yield NOWHERE
        return
    wanted = config.privacy
    budget = dp.Budget(epsilon=wanted.epsilon, delta=wanted.delta)
    whole = dp.Budget(
        epsilon=wanted.ledger_epsilon or budget.epsilon, delta=budget.delta
    )
    name = f"{protection.name}-seed{seed}"
    to_open = [(budget, files.own, name)]
    if files.shared is not None:
        to_open.insert(0, (whole, files.shared, ALL_RUNS))
    with ExitStack() as stack:
        ledgers = []
        try:
            for most, path, book in to_open:
                ledgers.append(
                    dp.Ledger(
                        most,
                        unit=protection.unit,
                        relation=protection.relation,
                        path=path,
                        book=book,
                    )
                )
                stack.callback(ledgers[-1].close)
        except dp.LedgerError as error:
            raise LedgerFileError(str(error)) from error
        one = files.shared is not None and is_pooled(protection, config)
        yield Standing(
            ledgers=tuple(ledgers),
            run=f"{files.run}/{name}",
            pooled=ledgers[0] if one else None,
        )


def is_pooled(protection: Protection, config: Config) -> bool:
    """Say whether all clients are one party of a ledger over several runs.

    Clients that are dealt records by lot are others in every run: with another seed or
    number of clients a record is at a client of another name, whose budget may be
    untouched. Sites keep their records. Within a run a record is at one client, so what
    a round costs is paid once for all (McSherry, SIGMOD 2009).
    """
    each_pays = protection.example is not None or protection.local is not None
    return each_pays and config.federation.partition != "site"


def seed_of(files: LedgerFiles | None, seed: int) -> int:
    """Return the seed that a training draws everything from, noise and coins too.

    One budget over several runs counts on noise and coins of each run's own. Runs of
    one seed would share them, and between two that differ in anything else, the budget
    or one record, the noise would cancel. So where a ledger is over several runs, the
    name of the run goes into the seed, the same for all its sittings.
    """
    if files is None or files.shared is None:
        return seed
    return seed_for(seed, "run", files.run)


def check_shared(config: Config, noised: int) -> None:
    """Refuse a ledger over several runs where one run would spend from it many times.

    Raises:
        ConfigError: there is not exactly one training with noise.
    """
    if config.privacy.ledger and config.repeats * noised != 1:
        raise ConfigError(
            f"privacy.ledger = {config.privacy.ledger!r} keeps one budget for all that "
            f"is released, and {config.repeats} seeds under {noised} protections with "
            "noise would each release from it; set repeats = 1 and name exactly one "
            "such protection in protections.names."
        )
