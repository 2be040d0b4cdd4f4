"""Some worst-case rounds of one protection: one independent piece of work."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from attacks import InversionAttack
from fl import inversion
from fl.config import Config
from fl.federation import Federation
from fl.inversion import Assault
from fl.outcomes import Outcome
from fl.protection import Protection
from fl.shots import Shot, from_crowd, from_worst_case

# Gradient matching looks at the trained model alone.
MATCHED_MODEL = ", trained model"
# Rounds in one piece of work: enough to be worth sending the records to a worker, and
# no more than so many parameters' worth, since all that is seen is held at once.
TOGETHER, HELD = 8, 2**23


@dataclass(frozen=True, slots=True, kw_only=True)
class Rounds:
    """Some worst-case rounds of one protection: a piece of work.

    Attributes:
        federation: whose clients take part.
        protection: under which they are played.
        config: the resolved configuration.
        checkpoints: named models to start from.
        batch: records per client.
        trials: numbers of the rounds.
        seed: of the repetition.
        attacks: on every shot; the quick ones alone on those that matching skips.
        every: matching looks at one round in so many.
        crowd: (dropouts, numbers of colluders) for the crowd table, or None.
    """

    federation: Federation
    protection: Protection
    config: Config
    checkpoints: tuple[tuple[str, NDArray[np.float32]], ...]
    batch: int
    trials: range
    seed: int
    attacks: tuple[InversionAttack, ...]
    every: int = 1
    crowd: tuple[int, tuple[int, ...]] | None = None

    def shots(self, trial: int) -> Iterator[Shot]:
        """Play one round from every checkpoint and yield what is seen of it."""
        if self.crowd is None:
            return from_worst_case(
                self.checkpoints,
                self.federation,
                self.protection,
                self.config,
                batch=self.batch,
                trial=trial,
                seed=self.seed,
            )
        vanished, colluders = self.crowd
        return from_crowd(
            self.checkpoints[-1][1],
            self.federation,
            self.protection,
            self.config,
            colluders=colluders,
            dropouts=vanished,
            trial=trial,
            seed=self.seed,
        )


def play(rounds: Rounds) -> list[Outcome]:
    """Play the rounds through the protection's messages and attack each."""
    jobs = []
    quick = inversion.quick(rounds.attacks)
    for trial in rounds.trials:
        for shot in rounds.shots(trial):
            slow = trial % rounds.every == 0 and shot.view.endswith(MATCHED_MODEL)
            jobs.append(Assault(shot=shot, attacks=rounds.attacks if slow else quick))
    return inversion.together(jobs)


def shared_out(trials: int, parameters: int) -> Iterable[range]:
    """Yield the numbers of the rounds of each piece, for a model of some size."""
    size = min(TOGETHER, max(1, HELD // parameters))
    return [range(at, min(at + size, trials)) for at in range(0, trials, size)]
