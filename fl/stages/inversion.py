"""Stage two: reconstruct records from the run's messages and from the worst case."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray

from attacks import InversionAttack
from fl import crowd, inversion
from fl.config import Config
from fl.evidence import Evidence
from fl.federation import Federation
from fl.inversion import Assault
from fl.models import build, to_vector
from fl.outcomes import Outcome
from fl.parallel import each
from fl.protection import Protection
from fl.seeds import seed_for
from fl.shots import Shot, from_crowd, from_run, from_worst_case
from fl.stages.setting import Setting, effort

# Gradient matching is slow: of the worst case it looks at this many of the smallest
# batch sizes, at one victim in so many, and at the trained model.
MATCHED_BATCHES = 1
MATCHED_EVERY = 2
MATCHED_MODEL = ", trained model"
CHECKPOINTS = ("untrained", "trained")
# A crowd of one size is attacked in as many rounds as any other view of the worst case,
# or, where crowds are large and rounds dear, in one of so many of them.
LARGE_CROWD, CROWD_EVERY = 10, 2
# Rounds in one piece of work: enough to be worth sending the records to a worker.
TOGETHER = 8


def run(setting: Setting, evidence: Evidence) -> None:
    """Attack what was sent, as configured and in the worst case, and small crowds."""
    trials, iterations = effort(setting.config)
    attacks = inversion.battery(iterations)
    own = [
        Assault(shot=shot, attacks=attacks)
        for repeat in evidence.repeats
        for protection in setting.protections
        for shot in from_run(
            repeat.runs[protection.name],
            repeat.federations[protection.name],
            protection,
            setting.config,
        )
    ]
    task = setting.progress.task("attack the run's messages", len(own))
    for found in each(inversion.outcomes, own, count=len(own)):
        evidence.outcomes += found
        task.advance()
    worst = list(_worst_case(setting, evidence, attacks, trials))
    _attack(worst, "attack the worst case", setting, evidence)
    crowds = list(_crowds(setting, evidence, inversion.quick(attacks), trials))
    if crowds:
        _attack(crowds, "attack small crowds", setting, evidence)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rounds:
    """Some worst-case rounds of one protection: one independent piece of work.

    Attributes:
        federation: whose clients take part.
        protection: under which they are played.
        config: the resolved configuration.
        checkpoints: named models to start from.
        batch: records per client.
        trials: numbers of the rounds.
        seed: of the repetition.
        attacks: on every shot; the quick ones alone on those that matching skips.
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


def _attack(
    jobs: Sequence[_Rounds], name: str, setting: Setting, evidence: Evidence
) -> None:
    task = setting.progress.task(name, sum(len(job.trials) for job in jobs))
    for job, found in zip(jobs, each(_play, jobs, count=len(jobs)), strict=True):
        evidence.outcomes += found
        for _ in job.trials:
            task.advance(job.protection.name)


def _play(rounds: _Rounds) -> list[Outcome]:
    """Play the rounds through the protection's messages and attack each."""
    jobs = []
    quick = inversion.quick(rounds.attacks)
    for trial in rounds.trials:
        for shot in rounds.shots(trial):
            slow = trial % MATCHED_EVERY == 0 and shot.view.endswith(MATCHED_MODEL)
            jobs.append(Assault(shot=shot, attacks=rounds.attacks if slow else quick))
    return inversion.together(jobs)


def _worst_case(
    setting: Setting,
    evidence: Evidence,
    attacks: tuple[InversionAttack, ...],
    trials: int,
) -> Iterator[_Rounds]:
    """Yield worst-case rounds, the same batches for every protection."""
    first, config = evidence.repeats[0], setting.config
    start = setting.protections[0].name
    federation = first.federations[start]
    fresh = build(
        config.model,
        federation.input_shape,
        federation.classes,
        seed_for(first.seed, "model"),
    )
    vectors = (to_vector(fresh), first.runs[start].final)
    matched = sorted(config.attacks.batches)[:MATCHED_BATCHES]
    for batch, some, protection in product(
        config.attacks.batches, _shared_out(trials), setting.protections
    ):
        yield _Rounds(
            federation=first.federations[protection.name],
            protection=protection,
            config=config,
            checkpoints=tuple(zip(CHECKPOINTS, vectors, strict=True)),
            batch=batch,
            trials=some,
            seed=first.seed,
            attacks=attacks if batch in matched else inversion.quick(attacks),
        )


def _crowds(
    setting: Setting,
    evidence: Evidence,
    attacks: tuple[InversionAttack, ...],
    trials: int,
) -> Iterator[_Rounds]:
    """Yield sums of every size of crowd in the table, through secure aggregation."""
    first, config = evidence.repeats[0], setting.config
    protection = crowd.crowd_protection(setting.protections)
    if protection is None:
        return
    large = config.federation.cohort >= LARGE_CROWD
    rounds = max(2, trials // CROWD_EVERY) if large else trials
    for size in crowd.sizes(config.federation):
        yield _Rounds(
            federation=first.federations[protection.name],
            protection=protection,
            config=config,
            checkpoints=(("trained", first.runs[protection.name].final),),
            batch=1,
            trials=range(rounds),
            seed=first.seed,
            attacks=attacks,
            crowd=size,
        )


def _shared_out(trials: int) -> Iterable[range]:
    return [range(at, min(at + TOGETHER, trials)) for at in range(0, trials, TOGETHER)]
