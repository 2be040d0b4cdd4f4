"""Canaries: made-up members whose presence is decided by a coin, guessed from releases.

Each plays through the protection's own clip, encoder, messages, noise, cohorts and
dropouts, for as many rounds as the training has; what the adversary of the guarantee
sees is scored, and a lower bound on epsilon follows from how many coins are guessed
right (Steinke, Nasr and Jagielski 2023; the bound is `attacks.one_run_audit`).
"""

from __future__ import annotations

from dataclasses import replace

import dp
from fl import privacy
from fl.canaries.alone import by_own_uploads
from fl.canaries.clients import by_coordinate, by_everybody, by_schedule
from fl.canaries.records import play_records
from fl.canaries.release import loud, release_of
from fl.canaries.trial import Guessed, Trial, parameters
from fl.protection import in_the_clear

__all__ = [
    "Guessed",
    "Trial",
    "loud",
    "parameters",
    "play",
    "play_records",
    "release_of",
]


def play(trial: Trial) -> Guessed:
    """Run one trial under the unit of its protection.

    Raises:
        ValueError: the protection has no differential privacy to audit.
    """
    if isinstance(trial.protection.central, dp.CorrelatedSum):
        return by_schedule(trial, trial.protection.central)
    if trial.protection.central is not None:
        return by_coordinate(trial)
    if trial.protection.local is not None:
        return by_own_uploads(trial)
    if trial.protection.shares is not None:
        return by_everybody(trial, trial.protection.shares)
    if trial.protection.example is not None:
        own = trial.protection.example.settings
        alike = own.max_records_per_subject if own.unit == privacy.SUBJECT else 1
        # The bound holds for whoever reads an upload, so nothing is hidden from us.
        bare = in_the_clear(trial.protection)
        return play_records(replace(trial, protection=bare), alike)
    raise ValueError(f"{trial.protection.name} claims no epsilon to audit.")
