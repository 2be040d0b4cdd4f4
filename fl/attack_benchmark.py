"""Benchmark chosen inversion attacks on the weakest moment of a configured run.

The model is trained as an audit trains it, victims are drawn as its worst case draws
them, through the protection's own messages; what is new is only the choice: which
attacks, how many victims, which batch. One seed; nothing is judged.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from attacks import Adversary, AttackError, InversionAttack
from fl import inversion
from fl.attack_files import write_figures, write_records
from fl.attack_rows import CONFIDENCE, Row, rows
from fl.config import Config
from fl.errors import UpdateError
from fl.federation import Federation, federate
from fl.folder import choose
from fl.manifest import manifest
from fl.models import build, to_vector
from fl.outcomes import Outcome
from fl.parallel import each
from fl.preparation import Ready, prepare
from fl.progress import Reporter
from fl.protection import Protection, counter_for
from fl.run import train
from fl.seeds import seed_for
from fl.shots import Shot, from_worst_case
from fl.writing import writing

SCHEMA = "blindsum.attack/1"
TRAINED, UNTRAINED = "trained", "untrained"
# Rounds in one piece of work; gradient matching searches them side by side.
TOGETHER = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """What is benchmarked.

    Attributes:
        attacks: which run on every victim.
        victims: rounds, each with a victim of its own, per view.
        batch: records of a client in its one step.
        checkpoint: the model that they start from, TRAINED or UNTRAINED.
    """

    attacks: tuple[InversionAttack, ...]
    victims: int
    batch: int = 1
    checkpoint: str = TRAINED


@dataclass(frozen=True, slots=True, kw_only=True)
class Benchmarked:
    """The folder of a finished benchmark, and its figures."""

    folder: Path
    rows: tuple[Row, ...]


def benchmark(
    config: Config,
    ask: Ask,
    *,
    out: Path | None,
    force: bool,
    progress: Reporter,
) -> Benchmarked:
    """Train once under each protection, attack the victims, write the figures.

    Raises:
        UserError: bad input; nothing was written.
    """
    started, began = datetime.now(UTC), time.perf_counter()
    ready = prepare(config.model_copy(update={"repeats": 1}))
    parent = Path(config.output.out)
    place = choose(out, parent, f"{config.name}-attack", started, force=force)
    with writing(place, link=False) as folder:
        outcomes = list(_outcomes(ready, ask, progress))
        found = rows(outcomes)
        about = manifest(
            ready.config,
            ready.raw,
            started=started,
            seconds=time.perf_counter() - began,
        ).model_dump(mode="json")
        results = {
            "schema": SCHEMA,
            "scenario": "worst case",
            "victims": ask.victims,
            "batch": ask.batch,
            "checkpoint": ask.checkpoint,
            "confidence": CONFIDENCE,
            "rows": [asdict(row) for row in found],
            "manifest": about,
        }
        write_figures(folder.draft, results, about["config"])
        write_records(folder.draft, outcomes, builtin=ready.builtin)
    return Benchmarked(folder=place, rows=found)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rounds:
    """Some rounds under one protection: one independent piece of work."""

    federation: Federation
    protection: Protection
    config: Config
    start: NDArray[np.float32]
    ask: Ask
    trials: range

    def shots(self) -> Iterator[Shot]:
        """Play the rounds; yield what the server, or its colluders, see of them."""
        for trial in self.trials:
            for shot in from_worst_case(
                [(self.ask.checkpoint, self.start)],
                self.federation,
                self.protection,
                self.config,
                batch=self.ask.batch,
                trial=trial,
                seed=self.config.seed,
            ):
                if shot.adversaries[0] is not Adversary.CLIENT:
                    yield shot


def _outcomes(ready: Ready, ask: Ask, progress: Reporter) -> Iterator[Outcome]:
    task = progress.task("train", len(ready.protections))
    jobs = []
    for protection in ready.protections:
        counter = counter_for(protection, ready.protections)
        seed = ready.config.seed
        federation = federate(ready.raw, ready.config, counter, seed=seed)
        start = _start(federation, protection, ready.config, ask.checkpoint)
        task.advance(protection.name)
        jobs += [
            _Rounds(
                federation=federation,
                protection=protection,
                config=ready.config,
                start=start,
                ask=ask,
                trials=range(at, min(at + TOGETHER, ask.victims)),
            )
            for at in range(0, ask.victims, TOGETHER)
        ]
    task = progress.task("attack", sum(len(job.trials) for job in jobs))
    for job, found in zip(jobs, each(_play, jobs, count=len(jobs)), strict=True):
        yield from found
        task.advance(job.protection.name, len(job.trials))


def _start(
    federation: Federation, protection: Protection, config: Config, checkpoint: str
) -> NDArray[np.float32]:
    if checkpoint == TRAINED:
        run = train(federation, protection, config, seed=config.seed, keep=())
        return run.final
    seed = seed_for(config.seed, "model")
    return to_vector(
        build(config.model, federation.input_shape, federation.classes, seed)
    )


def _play(rounds: _Rounds) -> list[Outcome]:
    shots = list(rounds.shots())
    found = []
    for attack in rounds.ask.attacks:
        try:
            attempts = inversion.invert(shots, attack)
        except AttackError as error:
            raise UpdateError(f"--attack {attack.name}: {error}") from error
        found += [
            Outcome(shot=shot, attempt=attempt)
            for shot, attempt in zip(shots, attempts, strict=True)
        ]
    found += [
        Outcome(shot=shot, attempt=inversion.count_labels(shot)) for shot in shots
    ]
    return [replace(one, shot=inversion.without_gradient(one.shot)) for one in found]
