"""Whether the audit can mean anything: members must not show by their records alone.

If somebody who has never seen the model tells members from non-members, then so does
every attack, and what it finds says nothing about the model.
"""

from __future__ import annotations

import numpy as np

from attacks.blind import Sides, blind_baseline
from attacks.bounds import DEFAULT_CONFIDENCE
from fl.model_audit.measure import RELEASED
from fl.model_audit.records import Pool
from fl.report import ValidityRow
from fl.seeds import seed_for
from fl.validity import row_of


def validity(pool: Pool, *, seed: int) -> ValidityRow:
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
        persons=pool.persons,
        seed=seed_for(seed, "blind baseline"),
    )
    return row_of(RELEASED, found, DEFAULT_CONFIDENCE, groups_of=1)
