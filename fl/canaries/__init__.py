"""Canaries: made-up members whose presence is decided by a coin, guessed from releases.

Each plays through the protection's own clip, encoder, messages, noise, ledger, cohorts
and dropouts, for as many rounds as the training has; what the adversary of the
guarantee sees is scored, and a lower bound on epsilon follows from how many coins are
guessed right (Steinke, Nasr and Jagielski 2023; the bound is `attacks.one_run_audit`).

Which canaries audit which mechanism, at the unit that it claims (`play`):

=======================  =============================  ================================
noise                    canaries                       read from
=======================  =============================  ================================
central, fixed clip      clients, `by_sum`              all released models
central, adaptive clip   clients, `by_sum`              the same, each over its clip
correlated (DP-FTRL)     clients, `by_schedule`         all rounds, best linear score
in shares, both kinds    clients, `by_everybody`        all sums, and who uploaded
local                    clients, `by_own_uploads`      their own uploads
DP-SGD, record           records, `play_records`        their client's uploads
DP-SGD, subject          subjects, `play_records`       their client's uploads
=======================  =============================  ================================

Three more ask of a part what a bound on epsilon over released sums cannot see:
`by_two_uploads` whether masks are used twice, `by_cohort_size` whether a release tells
how many took part, and `noise_left` whether any share of the noise is missing.
"""

from __future__ import annotations

from dataclasses import replace

import dp
from fl import privacy
from fl.canaries.alone import by_own_uploads
from fl.canaries.clients import by_everybody, by_schedule, by_sum
from fl.canaries.cohorts import by_cohort_size
from fl.canaries.kinds import KindName
from fl.canaries.noise import NoiseLeft, noise_left
from fl.canaries.records import play_records
from fl.canaries.trial import Guessed, Trial, parameters
from fl.canaries.uploads import by_two_uploads
from fl.protection import in_the_clear

__all__ = [
    "Guessed",
    "NoiseLeft",
    "Trial",
    "by_cohort_size",
    "by_two_uploads",
    "noise_left",
    "parameters",
    "play",
    "play_records",
]


def play(trial: Trial, kind: KindName = "dirac") -> Guessed:
    """Run one trial under the unit of its protection.

    Args:
        trial: what is played.
        kind: of canary clients, where they are read from sums: "dirac", which gives the
            largest bound, or "isotropic", random directions like those of real updates.

    Raises:
        ValueError: the protection has no differential privacy to audit.
    """
    if isinstance(trial.protection.central, dp.CorrelatedSum):
        return by_schedule(trial, trial.protection.central, kind)
    if trial.protection.central is not None:
        return by_sum(trial, kind)
    if trial.protection.local is not None:
        return by_own_uploads(trial)
    if trial.protection.shares is not None:
        return by_everybody(trial, trial.protection.shares, kind)
    if trial.protection.example is not None:
        own = trial.protection.example.settings
        alike = own.max_records_per_subject if own.unit == privacy.SUBJECT else 1
        # The bound holds for whoever reads an upload, so nothing is hidden from us.
        bare = in_the_clear(trial.protection)
        return play_records(replace(trial, protection=bare), alike)
    raise ValueError(f"{trial.protection.name} claims no epsilon to audit.")
