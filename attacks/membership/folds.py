"""Scores of attacks that need a population, when only the non-members are there for it.

Cross-fitting: records fall into folds by a coin that knows nothing of membership, and
each fold is scored with the known non-members of all other folds as population. Every
non-member is scored, and none enters what it is scored with.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from attacks.errors import ParameterError
from attacks.membership.known import Known
from attacks.membership.registry import MembershipAttack
from attacks.membership.signals import Floats

FOLDS = 4


def scored(
    attack: MembershipAttack,
    known: Known,
    outsiders: NDArray[np.bool_],
    *,
    seed: int,
    persons: NDArray[np.integer] | None = None,
) -> Floats:
    """Score every record; a population, where one is needed, is cross-fitted.

    Args:
        attack: to run.
        known: without a population.
        outsiders: which records are known not to be members of the target, (N,) bool.
        seed: of the folds.
        persons: whose each record is, (N,); a person's records share a fold. None if
            each is somebody else's.

    Returns:
        float64 (N,), higher for members.

    Raises:
        ParameterError: a population is needed and a fold would have none.
        MissingKnowledge, TooFewShadows: as `MembershipAttack.scores`.
    """
    if not attack.needs.population:
        return attack.scores(known)
    rng = np.random.default_rng(seed)
    fold = rng.integers(0, FOLDS, size=len(outsiders))
    if persons is not None:
        fold = fold[np.unique(persons, return_inverse=True)[1]]
    found = np.empty(len(outsiders))
    for one in range(FOLDS):
        here = fold == one
        population = outsiders & ~here
        if not population.any():
            raise ParameterError(
                f"{attack.title} needs records known not to be members besides those "
                "it scores; hold more records out."
            )
        found[here] = attack.scores(replace(known, population=population))[here]
    return found
