"""Stage: what records and batches are like, where the configuration asks for it."""

from __future__ import annotations

from dataclasses import dataclass

from fl import attributes, properties
from fl.config import Config
from fl.evidence import Evidence, Repeat
from fl.finding import Finding
from fl.parallel import each
from fl.protection import Protection
from fl.stages.setting import Setting, effort


def run(setting: Setting, evidence: Evidence) -> None:
    """Infer attributes under every model seen, and a property in the worst case."""
    config = setting.config
    if not config.attacks.attributes and not config.attacks.property:
        return
    task = setting.progress.task(
        "attributes and properties", 2 * len(setting.protections)
    )
    for protection in setting.protections:
        runs = [
            (repeat.runs[protection.name], repeat.federations[protection.name])
            for repeat in evidence.repeats
        ]
        evidence.rankings += attributes.findings(runs, protection, config)
        task.advance(protection.name)
    if not config.attacks.property:
        return
    jobs = [
        _Job(repeat=evidence.repeats[0], protection=one, config=config)
        for one in setting.protections
    ]
    for found in each(_play, jobs, count=len(jobs)):
        evidence.rankings += found
        task.advance()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Job:
    """The rounds of one protection."""

    repeat: Repeat
    protection: Protection
    config: Config


def _play(job: _Job) -> list[Finding]:
    name = job.protection.name
    federation = job.repeat.federations[name]
    trials, _ = effort(job.config)
    rounds = properties.play(
        job.repeat.runs[name],
        federation,
        job.protection,
        job.config,
        rounds=2 * max(trials, properties.FEWEST),
    )
    return properties.findings(rounds, federation, job.config, seed=job.repeat.seed)
