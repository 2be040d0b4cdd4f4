"""A run under way, one round at a time: spend, train, sum, release, record.

The ledger stands before every round: whose budget would not last takes no part. What
happens in a round follows from the model before it, the seed and its number, and
touches nothing but the course it is given.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np
import torch

import dp
import secagg
from fl import privacy
from fl.checkpoint import Checkpoint, KeptRound, digest
from fl.clipping import at_clip, clip_of
from fl.config import Config
from fl.federation import Client, Federation
from fl.ledgers import NOWHERE, Standing, pay
from fl.local import evaluate
from fl.models import build, load_vector, parameter_count, to_vector
from fl.protection import Protection
from fl.round import Snapshot, absent_from, draw_vanishing, released, run_one
from fl.run_record import RoundRecord
from fl.schedule import cohort_of, open_attendance, within_limits
from fl.seeds import seed_for


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What a run is given and what does not change."""

    federation: Federation
    protection: Protection
    config: Config
    seed: int
    keep: Collection[int]
    standing: Standing = NOWHERE


@dataclass(slots=True, kw_only=True)
class Course:
    """A run under way.

    Attributes:
        model: holds the released model.
        books: the ledger; None without differential privacy.
        attendance: who took part in which rounds; None where that has no limits.
        clip_norm_l2: bound on the updates of the next round, as it was released.
        began: when the clock would have started, had the run never been cut off.
        rounds: the finished ones.
        snapshots: the rounds kept whole.
        kept: by their indices, what it takes to play them again.
        due: the next round that is not aborted is to be kept.
        failure: why the last aborted round was aborted.
    """

    model: torch.nn.Module
    books: dp.Ledger | None
    attendance: dp.Attendance | None = None
    clip_norm_l2: float
    began: float
    rounds: list[RoundRecord] = field(default_factory=list)
    snapshots: list[Snapshot] = field(default_factory=list)
    kept: dict[int, KeptRound] = field(default_factory=dict)
    due: bool = False
    failure: secagg.AbortError | None = None

    @property
    def seconds(self) -> float:
        """Return the wall time of the training so far."""
        return time.perf_counter() - self.began

    def checkpoint(self) -> Checkpoint:
        """Return all that it takes to go on from here."""
        releases, refusals = totals(self.books)
        return Checkpoint(
            rounds=tuple(self.rounds),
            model=to_vector(self.model),
            clip_norm_l2=self.clip_norm_l2,
            kept=dict(self.kept),
            due=self.due,
            releases=releases,
            refusals=refusals,
            seconds=self.seconds,
        )


def begin(terms: Terms) -> Course:
    """Return a course before its first round: a fresh model and an empty ledger."""
    began, federation = time.perf_counter(), terms.federation
    model = build(
        terms.config.model,
        federation.input_shape,
        federation.classes,
        seed_for(terms.seed, "model"),
    )
    return Course(
        model=model,
        books=open_books(terms.protection, terms.config),
        attendance=open_attendance(terms.protection),
        clip_norm_l2=terms.protection.clip_norm_l2,
        began=began,
    )


def advance(course: Course, terms: Terms, index: int) -> None:
    """Play one round: spend, train, sum, release, record."""
    terms = at_round(terms, course.clip_norm_l2)
    began, protection, seed = time.perf_counter(), terms.protection, terms.seed
    paid = False
    course.due = course.due or index in terms.keep
    before, sent, admitted = to_vector(course.model), None, tuple[Client, ...]()
    cohort = cohort_of(
        terms.federation, protection, terms.config, seed=seed, index=index
    )
    try:
        admitted = admit(
            course.books,
            cohort,
            protection,
            index=index,
            length=len(before),
            attendance=course.attendance,
            standing=terms.standing,
        )
        paid = is_paid(protection, admitted, index)
        sent = play_round(course.model, admitted, terms, index, look=course.due)
        if course.due:  # a kept round that was aborted is made up for by the next one
            course.snapshots.append(sent)
            after = digest(to_vector(course.model))
            course.kept[index] = KeptRound(
                before=before, after=after, clip_norm_l2=course.clip_norm_l2
            )
            course.due = False
        course.clip_norm_l2 = sent.clip_norm_l2
    except secagg.AbortError as error:
        course.failure = error
        course.clip_norm_l2 = _release_noise_alone(
            course.model, protection, seed, index
        )
    except dp.BudgetExceeded:
        paid = False  # nothing was sent and nothing is released
    if paid:
        terms.standing.commit(index)
    uploading = (*admitted, *absent_from(terms.federation, admitted, protection))
    vanished = draw_vanishing(uploading, terms.config, seed=seed, index=index)
    record = _record(course, terms, sent, index)
    course.rounds.append(
        replace(
            record,
            cohort=len(cohort),
            refused=len(cohort) - len(admitted),
            dropouts=len(vanished),
            seconds=time.perf_counter() - began,
            clip_norm_l2=clip_of(protection),
        )
    )


def at_round(terms: Terms, clip_norm_l2: float) -> Terms:
    """Return the terms of a round, whose clip norm may not be that of the first."""
    return replace(
        terms, protection=at_clip(terms.protection, terms.config, clip_norm_l2)
    )


def play_round(
    model: torch.nn.Module,
    admitted: tuple[Client, ...],
    terms: Terms,
    index: int,
    *,
    look: bool,
) -> Snapshot:
    """Play the messages of a round and leave the released model in ``model``.

    Raises:
        secagg.AbortError: as `fl.round.run_one`.
    """
    return run_one(
        model,
        admitted,
        terms.protection,
        terms.config,
        seed=terms.seed,
        index=index,
        look=look,
        absent=absent_from(terms.federation, admitted, terms.protection),
    )


def admit(
    books: dp.Ledger | None,
    cohort: Sequence[Client],
    protection: Protection,
    *,
    index: int,
    length: int,
    attendance: dp.Attendance | None,
    standing: Standing = NOWHERE,
) -> tuple[Client, ...]:
    """Spend what the round costs, before it begins; return who may take part.

    Where noise is correlated, the first round costs the whole run, the others nothing
    more, and whoever would take part sooner or more often than planned is left out.

    Args:
        books: of the run; None without differential privacy.
        cohort: whose coins said yes, or whose turn it is.
        protection: whose mechanism is run.
        index: of the round.
        length: of an update.
        attendance: who took part so far; None where that has no limits.
        standing: the ledgers on disk.

    Raises:
        dp.BudgetExceeded: the server's mechanism may not be run once more.
        dp.LedgerError: a ledger on disk cannot be written.
    """
    if books is None:
        return tuple(cohort)
    buy = partial(pay, books, index=index, standing=standing)
    if protection.central is not None or protection.shares is not None:
        everybody = (privacy.EVERYBODY,)
        event, budget = protection.event(length), books.budget
        held = totals(books)[0].get(privacy.EVERYBODY, 0)
        whole_run = isinstance(protection.central, dp.CorrelatedSum)
        if event is None:
            raise AssertionError("noise without an event")
        if whole_run and index > 0:
            if held == 0:  # the run was refused before its first round
                books.refuse(privacy.EVERYBODY)
                reached = dp.epsilon(event, 1, budget.delta)
                raise dp.BudgetExceeded(privacy.EVERYBODY, reached, budget.epsilon)
        elif not buy(everybody, event, 1):
            reached = dp.epsilon(event, held + 1, budget.delta)
            raise dp.BudgetExceeded(privacy.EVERYBODY, reached, budget.epsilon)
        if whole_run and attendance is None:
            raise dp.ParameterError(
                "noise correlated over a run holds for limited participation only; "
                "give the run's attendance."
            )
    names = tuple(client.name for client in cohort)
    if protection.local is not None:
        admitted = buy(names, protection.local.event, 1)
        return tuple(client for client in cohort if client.name in admitted)
    if protection.example is None:
        return within_limits(attendance, tuple(cohort), index)
    own = protection.example
    admitted = buy(names, own.event, own.settings.releases)
    return tuple(client for client in cohort if client.name in admitted)


def is_paid(protection: Protection, admitted: Sequence[Client], index: int) -> bool:
    """Say whether a round that `admit` let through was paid for by anybody."""
    if isinstance(protection.central, dp.CorrelatedSum):
        return index == 0  # for the whole run
    if protection.central is not None or protection.shares is not None:
        return True
    own = protection.example is not None or protection.local is not None
    return own and bool(admitted)


def totals(books: dp.Ledger | None) -> tuple[dict[str, int], dict[str, int]]:
    """Return each party's releases and refusals."""
    if books is None:
        return {}, {}
    releases = Counter[str]()
    for entry in books.entries():
        releases[entry.party] += entry.count
    return dict(releases), books.refusals


def open_books(protection: Protection, config: Config) -> dp.Ledger | None:
    """Return a run's empty ledger; None without differential privacy."""
    if protection.unit is None:
        return None
    return privacy.ledger(protection.unit, protection.relation, config)


def _release_noise_alone(
    model: torch.nn.Module, protection: Protection, seed: int, index: int
) -> float:
    """Release the noise of a sum that nobody is in; return the clip norm after it."""
    before = to_vector(model)
    out = released(protection, None, len(before), seed=seed, name=("round", index))
    load_vector(model, before + out.change)
    return out.clip_norm_l2


def _record(
    course: Course, terms: Terms, sent: Snapshot | None, index: int
) -> RoundRecord:
    model, held_out = course.model, terms.federation.held_out
    event, spent = terms.protection.event(parameter_count(model)), None
    if course.books is not None and event is not None:
        spent = privacy.spent(course.books, event)
    accuracy, losses = evaluate(model, held_out.x, held_out.y)
    record = RoundRecord(
        index=index,
        aborted=True,
        accuracy=accuracy,
        loss=float(losses.mean()),
        epsilon=spent,
    )
    if sent is None:
        return record
    aggregate, model_bytes = sent.aggregate, 4 * parameter_count(model)
    return replace(
        record,
        aborted=False,
        survivors=len(aggregate.survivors),
        bytes_up=float(np.mean(list(aggregate.bytes_up.values()))),
        bytes_down=float(np.mean(list(aggregate.bytes_down.values()))) + model_bytes,
        client_cpu_s=aggregate.client_cpu_s,
        server_cpu_s=aggregate.server_cpu_s,
        max_error=aggregate.max_error,
    )
