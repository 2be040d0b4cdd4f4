"""Stage one: train under every protection and seed, and the baselines beside them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass

from fl.config import Config
from fl.data import Dataset
from fl.evidence import Evidence, Repeat
from fl.federation import Federation, federate
from fl.parallel import each
from fl.protection import Protection, counter_for
from fl.run import RunRecord, train
from fl.stages.setting import Setting
from fl.utility import Baseline, baselines

ROUND_LOG = "rounds.jsonl"
# Rounds kept whole per run, spread from the first to the last.
KEPT_ROUNDS = 4


def run(setting: Setting, evidence: Evidence) -> None:
    """Train all repetitions; a repetition counts once all of its runs are done."""
    config, protections = setting.config, setting.protections
    seeds = range(config.seed, config.seed + config.repeats)
    federations: dict[int, dict[str, Federation]] = {}

    def jobs() -> Iterator[_Job]:
        for seed in seeds:
            federations[seed] = _federations(setting, seed)
            for one in (*protections, None):
                federation = federations[seed][(one or protections[0]).name]
                yield _Job(
                    federation=federation, protection=one, config=config, seed=seed
                )

    count = len(seeds) * (len(protections) + 1)
    task = setting.progress.task("train", count)
    done: dict[int, dict[str, RunRecord]] = {seed: {} for seed in seeds}
    for seed, result in each(_work, jobs(), count=count):
        if isinstance(result, RunRecord):
            done[seed][result.protection] = result
            _log(setting, result)
            last = result.rounds[-1].accuracy
            task.advance(f"{result.protection}, seed {seed}: accuracy {last:.3f}")
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


def _work(job: _Job) -> tuple[int, RunRecord | Baseline]:
    if job.protection is None:
        return job.seed, baselines(job.federation, job.config, seed=job.seed)
    record = train(
        job.federation,
        job.protection,
        job.config,
        seed=job.seed,
        keep=kept_rounds(job.config.training.rounds),
    )
    return job.seed, record


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


def _log(setting: Setting, run: RunRecord) -> None:
    for record in run.rounds:
        line = {"protection": run.protection, "seed": run.seed, **asdict(record)}
        setting.folder.log(ROUND_LOG, line)
