"""The shadow models that membership attacks learn from: trained once, asked often.

What is kept is what the shadows answered, their logits on every record; each attack
takes the signals it declares from there. Who was in which shadow is a draw of its own,
independent of who was in the run that is attacked.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from attacks.membership import ShadowAnswers, Trainer, balanced_memberships
from attacks.membership.moments import SIDE_NEEDED
from attacks.membership.registry import tuned
from fl.config import Config
from fl.federation import Federation
from fl.finding import Missing
from fl.seeds import seed_for


@dataclass(frozen=True, kw_only=True)
class Shadows:
    """What the shadow models say of every record, and who trained which of them.

    Attributes:
        logits: (shadows, records, classes) float32.
        labels: (records,) int64.
        members: (shadows, records) bool.
        seconds: spent training them.
    """

    logits: NDArray[np.float32]
    labels: NDArray[np.int64]
    members: NDArray[np.bool_]
    seconds: float

    @cached_property
    def answers(self) -> ShadowAnswers:
        """Return what attacks are handed: signals are computed once for all of them."""
        return ShadowAnswers(
            logits=self.logits, labels=self.labels, members=self.members
        )

    @cached_property
    def prior(self) -> float:
        """Return `a` of offline RMIA, tuned on the shadows alone."""
        return tuned(self.answers)

    @property
    def phi(self) -> NDArray[np.float32]:
        """Return the logit-scaled confidences, (shadows, records)."""
        return self.answers.phi


def train_shadows(
    trainer: Trainer, federation: Federation, config: Config, *, seed: int
) -> Shadows | Missing:
    """Train the shadow federations; every record is in equally many of them.

    Where records say whose they are, a person's are in a shadow together.

    Returns:
        The shadows, or why none were trained: too few would be without a record.
    """
    began = time.perf_counter()
    dataset, shadows = federation.dataset, config.attacks.shadows
    fraction = len(federation.train_ids) / len(dataset.labels)
    inside = round(shadows * fraction)
    if not SIDE_NEEDED <= inside <= shadows - SIDE_NEEDED:
        why = (
            f"each record would be in {inside} of {shadows} shadow models, and "
            f"{SIDE_NEEDED} with and {SIDE_NEEDED} without it are needed; raise "
            "attacks.shadows or change data.test_fraction."
        )
        return Missing(metric="AUC", why=why)
    # All records of a person are in or out together: a shadow without a record but with
    # its like would show what it does not know.
    persons = dataset.subjects
    if persons is None:
        persons = np.arange(len(dataset.labels))
    _, of = np.unique(persons, return_inverse=True)
    members = balanced_memberships(
        shadows, int(of.max()) + 1, fraction, seed=seed_for(seed, "shadow membership")
    )[:, of]
    logits = trainer.logits(members, seed=seed_for(seed, "shadows"))
    return Shadows(
        logits=logits,
        labels=dataset.labels,
        members=members,
        seconds=time.perf_counter() - began,
    )
