"""Going on with a run that was cut off: a fresh course, brought to where it stood.

The ledger is filled by spending once more, in a new book, what the finished rounds
spent, and must then say what it said. Rounds kept whole are played again, with the very
noise that they had, and must release the same model. A round that was cut off is in no
checkpoint: it is played, and spent for, as if it had never begun.
"""

from __future__ import annotations

import torch

import dp
import secagg
from fl.checkpoint import Checkpoint, KeptRound, digest
from fl.course import (
    Course,
    Terms,
    admit,
    at_round,
    is_paid,
    play_round,
    totals,
)
from fl.errors import ResumeError
from fl.federation import Client
from fl.models import load_vector, parameter_count, to_vector
from fl.round import Snapshot
from fl.schedule import cohort_of


def catch_up(course: Course, terms: Terms, saved: Checkpoint) -> None:
    """Bring a fresh course to where ``saved`` stands.

    Raises:
        ResumeError: a kept round or the ledger comes out otherwise than it was.
    """
    where = f"the {terms.protection.name} run of seed {terms.seed}"
    if len(saved.model) != parameter_count(course.model) or (
        len(saved.rounds) > terms.config.training.rounds
    ):
        raise ResumeError(f"{where} is not one of this configuration.")
    for one in saved.rounds:
        cohort = cohort_of(
            terms.federation,
            terms.protection,
            terms.config,
            seed=terms.seed,
            index=one.index,
        )
        try:
            admitted = admit(
                course.books,
                cohort,
                terms.protection,
                index=one.index,
                length=len(saved.model),
                attendance=course.attendance,
                standing=terms.standing,
            )
        except dp.BudgetExceeded:
            continue
        if is_paid(terms.protection, admitted, one.index):
            terms.standing.commit(one.index)
        if one.index in saved.kept:
            known = saved.kept[one.index]
            snapshot = _again(course.model, admitted, terms, one.index, known)
            if snapshot is None:
                raise _another(one.index, where)
            course.snapshots.append(snapshot)
    if totals(course.books) != (dict(saved.releases), dict(saved.refusals)):
        raise ResumeError(f"{where} spent otherwise than its rounds spend here.")
    load_vector(course.model, saved.model)
    course.rounds, course.kept = list(saved.rounds), dict(saved.kept)
    course.due, course.clip_norm_l2 = saved.due, saved.clip_norm_l2
    course.began -= saved.seconds


def _another(index: int, where: str) -> ResumeError:
    return ResumeError(
        f"round {index + 1} of {where} does not come out the same here; go on with it "
        "on the machine that began it."
    )


def _again(
    model: torch.nn.Module,
    admitted: tuple[Client, ...],
    terms: Terms,
    index: int,
    known: KeptRound,
) -> Snapshot | None:
    """Play a kept round again; return None if it releases another model."""
    load_vector(model, known.before)
    try:
        then = at_round(terms, known.clip_norm_l2)
        snapshot = play_round(model, admitted, then, index, look=True)
    except secagg.AbortError:
        return None
    return snapshot if digest(to_vector(model)) == known.after else None
