"""Stage one: train under every protection and seed, and the baselines beside them.

Runs are worker jobs. Each writes its rounds to the log of the run as they are played;
progress and trackers read them there.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from fl.config import Config
from fl.data import Dataset
from fl.diary import RunDiary
from fl.evidence import Evidence, Repeat
from fl.federation import Federation, federate
from fl.ledgers import LedgerFiles
from fl.parallel import each
from fl.progress import Task
from fl.protection import Protection, counter_for
from fl.round_log import ROUND_LOG, Following, Line, Listener, put_in_order
from fl.run import RunRecord, train
from fl.shelf import Piece, Shelf
from fl.stages.setting import KEPT_ROUNDS, Setting
from fl.utility import Baseline, baselines


def run(setting: Setting, evidence: Evidence) -> None:
    """Train all repetitions; a repetition counts once all of its runs are done."""
    config, protections = setting.config, setting.protections
    rounds = config.training.rounds
    task = setting.progress.task(
        "train", config.repeats * (len(protections) * rounds + 1)
    )
    log = setting.folder.draft / ROUND_LOG
    try:
        with Following(log, (_shown_by(task, rounds), *setting.trackers)):
            _train(setting, evidence, task)
    finally:
        put_in_order(log, [one.name for one in protections])


def _train(setting: Setting, evidence: Evidence, task: Task) -> None:
    config, protections = setting.config, setting.protections
    seeds = range(config.seed, config.seed + config.repeats)
    federations: dict[int, dict[str, Federation]] = {}

    def jobs() -> Iterator[_Job]:
        for seed in seeds:
            federations[seed] = _federations(setting, seed)
            for one in (*protections, None):
                federation = federations[seed][(one or protections[0]).name]
                yield _job(setting, one, federation, seed)

    count = len(seeds) * (len(protections) + 1)
    done: dict[int, dict[str, RunRecord]] = {seed: {} for seed in seeds}
    for seed, result in each(_work, jobs(), count=count):
        if isinstance(result, RunRecord):
            done[seed][result.protection] = result
            last = result.rounds[-1].accuracy
            note = f"{result.protection}, seed {seed}: accuracy {last:.3f}"
            task.advance(note, steps=0)
            continue
        task.advance(f"baselines, seed {seed}")
        evidence.repeats.append(
            Repeat(
                seed=seed,
                runs=done[seed],
                federations=federations[seed],
                baseline=result,
            )
        )


def kept_rounds(rounds: int) -> frozenset[int]:
    """Return the rounds whose messages the audit keeps, first and last included."""
    count = min(KEPT_ROUNDS, rounds)
    step = (rounds - 1) / max(count - 1, 1)
    return frozenset({round(i * step) for i in range(count)} | {rounds - 1})


@dataclass(frozen=True, slots=True, kw_only=True)
class _Job:
    """One training run, or the baselines where no protection is named."""

    federation: Federation
    protection: Protection | None
    config: Config
    seed: int
    diary: RunDiary | None
    shelf: Shelf | None
    ledgers: LedgerFiles | None


def _job(
    setting: Setting, protection: Protection | None, federation: Federation, seed: int
) -> _Job:
    config, diary = setting.config, None
    if protection is not None:
        diary = RunDiary(
            protection=protection.name,
            seed=seed,
            rounds=config.training.rounds,
            every_s=config.log.checkpoint_seconds,
            log=setting.folder.draft / ROUND_LOG,
            shelf=setting.shelf,
        )
    return _Job(
        federation=federation,
        protection=protection,
        config=config,
        seed=seed,
        diary=diary,
        shelf=setting.shelf,
        ledgers=setting.ledgers,
    )


def _work(job: _Job) -> tuple[int, RunRecord | Baseline]:
    if job.protection is None:
        return job.seed, _baselines(job)
    record = train(
        job.federation,
        job.protection,
        job.config,
        seed=job.seed,
        keep=kept_rounds(job.config.training.rounds),
        diary=job.diary,
        ledgers=job.ledgers,
    )
    return job.seed, record


def _baselines(job: _Job) -> Baseline:
    """Train the baselines, or take those that an earlier sitting trained."""
    name = f"baselines-seed{job.seed}"
    kept = None if job.shelf is None else job.shelf.get(name)
    if kept is not None:
        arrays = kept.arrays
        return Baseline(pooled=arrays["pooled"], local_only=tuple(arrays["local_only"]))
    found = baselines(job.federation, job.config, seed=job.seed)
    if job.shelf is not None:
        alone = np.stack(found.local_only)
        arrays = {"pooled": found.pooled, "local_only": alone}
        job.shelf.put(name, Piece(fields={}, arrays=arrays))
    return found


def _federations(setting: Setting, seed: int) -> dict[str, Federation]:
    """Prepare the data; once for all protections through whom nothing is learnt."""
    made: dict[str, Federation] = {}
    for protection in setting.protections:
        counter = counter_for(protection, setting.protections)
        if made and (counter is None or isinstance(setting.raw, Dataset)):
            made[protection.name] = next(iter(made.values()))
            continue
        made[protection.name] = federate(
            setting.raw, setting.config, counter, seed=seed
        )
    return made


def _shown_by(task: Task, rounds: int) -> Listener:
    """Return what moves the bar by the rounds of the log."""

    def show(lines: Sequence[Line]) -> None:
        for line in lines:
            task.advance(_told(line, rounds))

    return show


def _told(line: Line, rounds: int) -> str:
    """Say how a round went, in a few words."""
    where = f"{line['protection']}, seed {line['seed']}, round {line['index'] + 1}"
    said = [f"{where} of {rounds}: loss {line['loss']:.3f}"]
    if line["epsilon"] is not None:
        said.append(f"epsilon {line['epsilon']:.2f}")
    if line["aborted"]:
        said.append("aborted")
    else:
        size = (line["bytes_up"] + line["bytes_down"]) / 1000
        said.append(f"{size:.1f} kB per client")
    if line["dropouts"]:
        said.append(f"{line['dropouts']} of {line['cohort']} dropped out")
    return ", ".join(said)
