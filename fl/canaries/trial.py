"""A run with canaries: what is played, and what it gives."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fl.config import Config
from fl.federation import Federation
from fl.models import build, parameter_count
from fl.protection import Protection
from fl.seeds import seed_for

Scores = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One run with canaries: a protection, a federation and a seed."""

    protection: Protection
    federation: Federation
    config: Config
    seed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Guessed:
    """What a run with canaries gives: a score (higher: was in) and a coin for each."""

    scores: Scores
    included: NDArray[np.bool_]


def seed_of(trial: Trial) -> int:
    """Return not the run's own seed: a play must not share its noise and batches."""
    return seed_for(trial.seed, "canaries")


def parameters(trial: Trial) -> int:
    """Return how long an update of the trial's model is."""
    federation = trial.federation
    model = build(trial.config.model, federation.input_shape, federation.classes, 0)
    return parameter_count(model)
