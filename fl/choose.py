"""Choosing an epsilon by trial: the least of a public grid that is accurate enough.

Every trial trains on the records, so every trial is a release, and which epsilon comes
out depends on them, too. The cost is that of the whole grid, composed (PLD): its trials
are fixed before a record is looked at, and where the search stops is read off their
results. Stopping early saves time, not epsilon. (Running each candidate a random number
of times can cost less: Papernot and Steinke, ICLR 2022, arXiv:2110.03620. For a few
trials plain composition is simpler, and sound.)

Not in the cost: accuracies are counted on held-out records without noise.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from dp_accounting import ComposedDpEvent, SelfComposedDpEvent

import dp
import fl.protections
from fl import privacy
from fl.config import Config
from fl.data import Dataset, RawTable
from fl.errors import ConfigError, LedgerFileError, UserError
from fl.federation import Federation, federate
from fl.ledgers import ALL_RECORDS, ALL_RUNS, is_pooled
from fl.partition import check_sites
from fl.preparation import check_delta
from fl.protection import Protection, UnavailableError
from fl.run import train
from fl.seeds import seed_for

NAMES = ("dp-sgd", "central-dp", "secagg+central-dp")
"""Whose rounds are releases of their own, alike but for the noise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One training that is planned.

    Attributes:
        config: with the budget of this trial.
        protection: with the noise that keeps it.
        unit: of privacy.
        event: one release.
        releases: about one party, at most.
    """

    config: Config
    protection: Protection
    unit: str
    event: dp.DpEvent
    releases: int

    @property
    def epsilon(self) -> float:
        """Return the budget of this trial."""
        return self.config.privacy.epsilon


@dataclass(frozen=True, slots=True, kw_only=True)
class Tried:
    """A trial that was made.

    Attributes:
        trial: as planned.
        right: held-out records that the released model names rightly.
        of: held-out records.
    """

    trial: Trial
    right: int
    of: int

    @property
    def accuracy(self) -> float:
        """Return the share that is right."""
        return self.right / self.of


def planned(config: Config, name: str, grid: Sequence[float]) -> tuple[Trial, ...]:
    """Return a trial for each epsilon of the grid, the least first.

    Args:
        config: all but the budget.
        name: in `NAMES`.
        grid: chosen without looking at the records.

    Raises:
        ConfigError: an empty grid, an epsilon out of range, or a protection not
            in `NAMES` or that this federation cannot have.
    """
    if not grid:
        raise ConfigError("The grid of epsilons is empty; give some, such as 1,2,4.")
    if name not in NAMES:
        raise ConfigError(
            f"the noise of {name!r} is not chosen by trial; name one of "
            f"{', '.join(NAMES)}."
        )
    trials = []
    for epsilon in sorted(set(grid)):
        if not 0 < epsilon <= 1000:
            raise ConfigError(f"Epsilon {epsilon:g} of the grid must be in (0, 1000].")
        # A ledger on disk is paid for all trials at once, not again by each.
        private = config.privacy.model_copy(
            update={"epsilon": float(epsilon), "ledger": "", "ledger_epsilon": 0.0}
        )
        own = config.model_copy(update={"privacy": private})
        try:
            protection = fl.protections.build(name, own, own.federation.clients)
        except UnavailableError as error:
            raise ConfigError(f"{name}: {error}") from error
        noise = protection.example or protection.central
        unit = protection.unit
        assert noise is not None and unit is not None
        releases = own.training.rounds
        if protection.example is not None:
            example = protection.example
            releases = example.rounds * example.settings.releases
        trials.append(
            Trial(
                config=own,
                protection=protection,
                unit=unit,
                event=noise.event,
                releases=releases,
            )
        )
    return tuple(trials)


def cost(trials: Sequence[Trial], *more: Trial) -> float:
    """Return the epsilon of all trials together, and of further runs like some.

    Which trial is the last follows from the records, so `more` must not: what is paid
    for a run of whatever is chosen is the most that could be, `dearest`.
    """
    releases = [(one.event, one.releases) for one in (*trials, *more)]
    return dp.composed_epsilon(releases, trials[0].config.privacy.delta)


def dearest(trials: Sequence[Trial]) -> Trial:
    """Return the trial that is last where the records take most to learn."""
    return max(trials, key=lambda one: one.epsilon)


def deal(
    raw: Dataset | RawTable, config: Config, trials: Sequence[Trial]
) -> Federation:
    """Deal the records out, learning nothing from them, as all trials use them.

    Raises:
        DataError: as `federate`; or nobody says whose the records are where the unit is
            the subject, or somebody is at more sites than were declared.
        ConfigError: delta is not below one over the number of units.
    """
    if trials[0].unit == privacy.SUBJECT:
        most = config.privacy.example.max_sites_per_subject
        check_sites(raw, config.federation.partition, most)
    federation = federate(raw, config, None, seed=config.seed)
    check_delta(federation, trials[0].protection, config)
    return federation


def pay(trials: Sequence[Trial], federation: Federation, config: Config) -> str:
    """Reserve the whole grid in the ledger over several runs, before any trial.

    Returns:
        The name of this choice in the ledger, for `settle`; "" without a ledger.

    Raises:
        UserError: the grid would break somebody's budget; nothing was reserved.
        LedgerFileError: the file cannot be used.
    """
    if not config.privacy.ledger:
        return ""
    event = ComposedDpEvent([_all_of(one) for one in trials])
    run = f"dp choose {uuid.uuid4().hex}"
    try:
        with _ledger(trials, config) as ledger:
            for party in _parties(trials, federation):
                if ledger.would_exceed(party, event):
                    raise UserError(
                        f"choosing would spend epsilon {cost(trials):.4g} about "
                        f"{party!r}, over what {config.privacy.ledger!r} has left of "
                        f"{ledger.budget.epsilon:g}; take a smaller grid, or choose "
                        "on public records."
                    )
            for party in _parties(trials, federation):
                ledger.reserve(party, event, run=run, round=0)
    except dp.BudgetExceeded as error:  # another process was quicker
        raise UserError(str(error)) from error
    except dp.LedgerError as error:
        raise LedgerFileError(str(error)) from error
    return run


def settle(trials: Sequence[Trial], config: Config, run: str) -> None:
    """Note in the ledger that the results are out."""
    if run:
        with _ledger(trials, config) as ledger:
            ledger.commit(run=run, round=0)


def tried(
    trials: Sequence[Trial],
    federation: Federation,
    config: Config,
    target: float,
    *,
    run: str = "",
) -> Iterator[Tried]:
    """Train under one trial after the other, until one reaches the target.

    Args:
        trials: planned.
        federation: all train on.
        config: with the seed.
        target: share of held-out records to name rightly.
        run: from `pay`; choices that share a ledger must not share their noise.

    Raises:
        UserError: as `fl.run.train`.
    """
    for number, trial in enumerate(trials):
        # Equal seeds would give trials one noise in several sizes, which their
        # differences would lay bare.
        seed = seed_for(config.seed, "dp choose", run, number)
        record = train(federation, trial.protection, trial.config, seed=seed, keep=())
        found = Tried(
            trial=trial, right=int(record.correct.sum()), of=len(record.correct)
        )
        yield found
        if found.accuracy >= target:
            return


def _all_of(trial: Trial) -> dp.DpEvent:
    return SelfComposedDpEvent(trial.event, trial.releases)


def _parties(trials: Sequence[Trial], federation: Federation) -> tuple[str, ...]:
    if trials[0].unit == privacy.CLIENT:
        return (privacy.EVERYBODY,)
    if is_pooled(trials[0].protection, trials[0].config):
        return (ALL_RECORDS,)
    return tuple(client.name for client in federation.clients)


def _ledger(trials: Sequence[Trial], config: Config) -> dp.Ledger:
    own = config.privacy
    budget = dp.Budget(epsilon=own.ledger_epsilon or own.epsilon, delta=own.delta)
    return dp.Ledger(budget, unit=trials[0].unit, path=Path(own.ledger), book=ALL_RUNS)
