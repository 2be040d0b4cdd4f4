"""Many federations trained in step: one stack of all their clients in every round.

What `fl.run.train` does for one federation, without its log and messages: shadow models
need the model at the end alone. Everything random follows from each federation's own
seed, so a member is trained as it would be alone, up to float32 rounding.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

import dp
import secagg
from fl.clipping import at_clip
from fl.config import Config
from fl.course import admit, open_books
from fl.errors import UserError
from fl.federation import Client, Federation
from fl.models import build, to_vector
from fl.protection import Protection
from fl.round import Released, absent_from, released, sum_up
from fl.schedule import cohort_of, open_attendance
from fl.seeds import seed_for
from fl.updates import Turn, clipped_changes


def train_ensemble(
    federations: Sequence[Federation],
    protection: Protection,
    config: Config,
    *,
    seeds: Sequence[int],
) -> NDArray[np.float32]:
    """Train every federation for the configured rounds; return the final models.

    Args:
        federations: of one shape of records and number of classes.
        protection: of all; its aggregator sums in the clear.
        config: of all.
        seeds: one per federation.

    Returns:
        (federations, parameters) float32.

    Raises:
        UserError: too few clients were left in every round of a federation.
    """
    first = federations[0]
    models = [
        build(config.model, first.input_shape, first.classes, seed_for(seed, "model"))
        for seed in seeds
    ]
    vectors = np.stack([to_vector(model) for model in models])
    books = [open_books(protection, config) for _ in federations]
    attended = [open_attendance(protection) for _ in federations]
    clips = [protection.clip_norm_l2 for _ in federations]
    finished = np.zeros(len(seeds), dtype=np.int64)
    for index in range(config.training.rounds):
        cohorts = [
            _admitted(
                one,
                own,
                came,
                protection,
                config,
                seed=seed,
                index=index,
                length=vectors.shape[1],
            )
            for one, own, came, seed in zip(
                federations, books, attended, seeds, strict=True
            )
        ]
        turns = [
            Turn(client, start, seed, clips[start])
            for start, (cohort, seed) in enumerate(zip(cohorts, seeds, strict=True))
            for client in cohort or ()
        ]
        changes = clipped_changes(models[0], vectors, turns, protection, config, index)
        moves, at = np.zeros_like(vectors), 0
        for place, (cohort, seed) in enumerate(zip(cohorts, seeds, strict=True)):
            if cohort is None:
                continue  # its budget is spent: nothing is sent, nothing released
            own = changes[at : at + len(cohort)]
            at += len(cohort)
            out, whole = _released(
                cohort,
                own,
                vectors[place],
                at_clip(protection, config, clips[place]),
                config,
                seed=seed,
                index=index,
                others=absent_from(federations[place], cohort, protection),
            )
            moves[place], clips[place] = out
            finished[place] += whole
        vectors = vectors + moves
    if not finished.all():
        raise UserError(
            f"no round of {np.count_nonzero(finished == 0)} of {len(finished)} shadow "
            "federations could be finished; raise federation.drop or privacy.epsilon, "
            "or lower federation.dropout."
        )
    return vectors


def _admitted(
    federation: Federation,
    books: dp.Ledger | None,
    attendance: dp.Attendance | None,
    protection: Protection,
    config: Config,
    *,
    seed: int,
    index: int,
    length: int,
) -> tuple[Client, ...] | None:
    """Return who takes part in a round; None if the round's budget is not there."""
    cohort = cohort_of(federation, protection, config, seed=seed, index=index)
    try:
        return admit(
            books,
            cohort,
            protection,
            index=index,
            length=length,
            attendance=attendance,
        )
    except dp.BudgetExceeded:
        return None


def _released(
    cohort: Sequence[Client],
    changes: Sequence[NDArray[np.float32]],
    before: NDArray[np.float32],
    protection: Protection,
    config: Config,
    *,
    seed: int,
    index: int,
    others: Sequence[Client],
) -> tuple[Released, bool]:
    """Sum one federation's changes.

    Returns:
        What its round releases, and whether the round was finished.
    """
    try:
        snapshot = sum_up(
            cohort,
            {client.name: own for client, own in zip(cohort, changes, strict=True)},
            before,
            protection,
            config,
            seed=seed,
            index=index,
            look=False,
            absent=others,
        )
    except secagg.AbortError:
        name = ("round", index)
        alone = released(protection, None, len(before), seed=seed, name=name)
        return alone, False
    return Released(snapshot.released, snapshot.clip_norm_l2), True
