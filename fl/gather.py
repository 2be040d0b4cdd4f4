"""Gather everything that the page rests on: runs, attacks on their messages, baselines.

Stages run in the order in which they matter. Ctrl-C during a stage ends the gathering;
what was complete by then is kept, and the page says of the rest that it was not
measured.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict
from itertools import product

from attacks import InversionAttack
from fl import inversion, membership
from fl.config import Config
from fl.data import Dataset, RawTable
from fl.evidence import Evidence, Repeat
from fl.federation import federate
from fl.folder import RunFolder
from fl.inversion import Assault
from fl.parallel import each
from fl.progress import Reporter
from fl.protection import Protection
from fl.run import RoundRecord, train
from fl.seeds import seed_for
from fl.shadows import FederatedTrainer
from fl.shots import Shot, from_run, from_worst_case
from fl.utility import baselines

INVERSION, MEMBERSHIP = "inversion", "membership"
FAMILIES = (INVERSION, MEMBERSHIP)
ROUND_LOG = "rounds.jsonl"
# Rounds kept whole per run, spread from the first to the last.
KEPT_ROUNDS = 4
# Effort of the attacks by profile: victims, matching iterations.
EFFORT = {"quick": (0.5, 0.3), "standard": (1.0, 1.0), "full": (4.0, 3.0)}
# Gradient matching is slow: in the worst case it looks at this many of the smallest
# batch sizes, and at one victim in so many.
MATCHED_BATCHES = 2
MATCHED_EVERY = 2
CHECKPOINTS = ("untrained", "trained")


def gather(
    raw: Dataset | RawTable,
    protections: Sequence[Protection],
    config: Config,
    *,
    folder: RunFolder,
    progress: Reporter,
    families: Sequence[str] = FAMILIES,
) -> Evidence:
    """Train under each protection, then run the attack families.

    Raises:
        KeyboardInterrupt: stopped before the first repetition was complete.
        UserError: the data or the plan do not allow a round.
    """
    evidence = Evidence()
    stages: list[tuple[str, Callable[[], None]]] = [
        (
            "training",
            lambda: _train(raw, protections, config, evidence, folder, progress),
        )
    ]
    if INVERSION in families:
        stages.append(
            ("inversion", lambda: _invert(protections, config, evidence, progress))
        )
    if MEMBERSHIP in families:
        stages.append(
            ("membership", lambda: _rank(protections, config, evidence, progress))
        )
    for name, stage in stages:
        try:
            stage()
        except KeyboardInterrupt:
            if not evidence.repeats:
                raise
            evidence.stopped = name
            break
    return evidence


def effort(config: Config) -> tuple[int, int]:
    """Return the worst case's victims per view and the iterations of matching."""
    victims, iterations = EFFORT[config.profile]
    return (
        max(2, round(config.attacks.victims * victims)),
        max(1, round(config.attacks.iterations * iterations)),
    )


def kept_rounds(rounds: int) -> frozenset[int]:
    """Return the rounds whose messages the audit keeps, first and last included."""
    count = min(KEPT_ROUNDS, rounds)
    step = (rounds - 1) / max(count - 1, 1)
    return frozenset({round(i * step) for i in range(count)} | {rounds - 1})


def _train(
    raw: Dataset | RawTable,
    protections: Sequence[Protection],
    config: Config,
    evidence: Evidence,
    folder: RunFolder,
    progress: Reporter,
) -> None:
    def log(protection: str, seed: int, record: RoundRecord) -> None:
        line = {"protection": protection, "seed": seed, **asdict(record)}
        folder.log(ROUND_LOG, line)

    for seed in range(config.seed, config.seed + config.repeats):
        runs, federations = {}, {}
        for protection in protections:
            federation = federate(raw, config, protection.counter, seed=seed)
            runs[protection.name] = train(
                federation,
                protection.aggregator,
                config,
                protection=protection.name,
                seed=seed,
                keep=kept_rounds(config.training.rounds),
                task=progress.task(
                    f"train, {protection.name}, seed {seed}", config.training.rounds
                ),
                on_round=log,
            )
            federations[protection.name] = federation
        first = federations[protections[0].name]
        task = progress.task(f"baselines, seed {seed}", 1 + len(first.clients))
        evidence.repeats.append(
            Repeat(
                seed=seed,
                runs=runs,
                federations=federations,
                baseline=baselines(first, config, seed=seed, task=task),
            )
        )


def _invert(
    protections: Sequence[Protection],
    config: Config,
    evidence: Evidence,
    progress: Reporter,
) -> None:
    trials, iterations = effort(config)
    attacks = inversion.battery(iterations)
    own = [
        Assault(shot=shot, attacks=attacks)
        for repeat in evidence.repeats
        for protection in protections
        for shot in from_run(
            repeat.runs[protection.name],
            repeat.federations[protection.name],
            protection,
            config,
        )
    ]
    _assault(own, len(own), "attack the run's messages", evidence, progress)
    worst = _worst_case(protections, config, evidence, attacks, trials)
    masked = 2 + bool(config.federation.corrupt)
    views = sum(1 if one.hides_one_upload is None else masked for one in protections)
    count = len(config.attacks.batches) * trials * len(CHECKPOINTS) * views
    _assault(worst, count, "attack the worst case", evidence, progress)


def _assault(
    jobs: Iterable[Assault],
    count: int,
    name: str,
    evidence: Evidence,
    progress: Reporter,
) -> None:
    task = progress.task(name, count)
    sent: deque[Shot] = deque()

    def noted() -> Iterator[Assault]:
        for job in jobs:
            sent.append(job.shot)
            yield job

    for attempts in each(inversion.assault, noted(), count=count):
        shot = sent.popleft()
        evidence.outcomes += [
            inversion.Outcome(shot=shot, attempt=attempt) for attempt in attempts
        ]
        task.advance()


def _worst_case(
    protections: Sequence[Protection],
    config: Config,
    evidence: Evidence,
    attacks: tuple[InversionAttack, ...],
    trials: int,
) -> Iterator[Assault]:
    """Yield worst-case rounds, the same batches for every protection."""
    first = evidence.repeats[0]
    start = first.runs[protections[0].name]
    vectors = (start.snapshots[0].before, start.final)
    matched = sorted(config.attacks.batches)[:MATCHED_BATCHES]
    for batch, trial, protection in product(
        config.attacks.batches, range(trials), protections
    ):
        for shot in from_worst_case(
            list(zip(CHECKPOINTS, vectors, strict=True)),
            first.federations[protection.name],
            protection,
            config,
            batch=batch,
            trial=trial,
            seed=first.seed,
        ):
            all_of_them = batch in matched and trial % MATCHED_EVERY == 0
            used = attacks if all_of_them else attacks[:1]
            yield Assault(shot=shot, attacks=used)


def _rank(
    protections: Sequence[Protection],
    config: Config,
    evidence: Evidence,
    progress: Reporter,
) -> None:
    first = evidence.repeats[0]
    federation = first.federations[protections[0].name]
    task = progress.task("train shadow models", config.attacks.shadows)
    shadows = membership.train_shadows(
        FederatedTrainer(federation, config, task),
        federation,
        config,
        seed=seed_for(config.seed, "shadows"),
    )
    task = progress.task("membership inference", len(protections))
    for protection in protections:
        runs = [
            (repeat.runs[protection.name], repeat.federations[protection.name])
            for repeat in evidence.repeats
        ]
        evidence.rankings += membership.findings(runs, protection, shadows, config)
        task.advance()
