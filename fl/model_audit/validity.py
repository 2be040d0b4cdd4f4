"""Whether the audit can mean anything: members must not show by their records alone.

If somebody who has never seen the model tells members from non-members, then so does
every attack, and what it finds says nothing about the model.
"""

from __future__ import annotations

import numpy as np

from attacks.blind import Sides, blind_baseline
from fl.model_audit.records import Pool
from fl.report import Gate
from fl.seeds import seed_for

NAME = "members and non-members are alike without the model"


def validity(pool: Pool, *, seed: int) -> Gate:
    """Ask a blind baseline, fitted on inputs and labels alone, cross-fitted."""
    _, labels = np.unique(pool.labels, return_inverse=True)
    sides = Sides(
        members=np.flatnonzero(pool.members).astype(np.int64),
        nonmembers=np.flatnonzero(~pool.members).astype(np.int64),
    )
    found = blind_baseline(
        pool.features,
        labels.astype(np.int64),
        [sides],
        seed=seed_for(seed, "blind baseline"),
    )
    if found is None:
        return Gate(name=NAME, passed=False, detail="too few records to ask.")
    said = (
        f"AUC {found.auc.value:.3f} [{found.auc.low:.3f}, {found.auc.high:.3f}] by "
        f"{found.learner} on inputs and labels alone, n = {found.auc.n}"
    )
    if not found.beats_chance:
        return Gate(name=NAME, passed=True, detail=f"{said}.")
    return Gate(
        name=NAME,
        passed=False,
        detail=(
            f"INVALID: {said}, so what an attack finds need not come from the model; "
            "draw the non-members from where the members come from."
        ),
    )
