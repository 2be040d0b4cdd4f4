"""Stage two: reconstruct records from the run's messages and from the worst case."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product

from attacks import Adversary, InversionAttack, LocalSteps
from fl import crowd, inversion
from fl.evidence import Evidence
from fl.finding import Finding, Missing
from fl.inversion import Assault
from fl.models import build, to_vector
from fl.outcomes import PSNR
from fl.parallel import each
from fl.protection import Protection
from fl.seeds import seed_for
from fl.shots import (
    AS_CONFIGURED,
    WORST_CASE,
    from_run,
)
from fl.stages.rounds import Rounds, play, shared_out
from fl.stages.setting import MATCHED_BATCHES, Setting, effort, matched_every
from fl.workload import Workload, workload

CHECKPOINTS = ("untrained", "trained")
# A crowd of one size is attacked in as many rounds as any other view of the worst case,
# or, where crowds are large and rounds dear, in one of so many of them.
LARGE_CROWD, CROWD_EVERY = 10, 2


def run(setting: Setting, evidence: Evidence) -> None:
    """Attack what was sent, as configured and in the worst case, and small crowds."""
    _, iterations = effort(setting.config)
    attacks = inversion.battery(iterations)
    first = evidence.repeats[0].federations[setting.protections[0].name]
    sizes = workload(first, setting.config)
    _run(setting, evidence, attacks, sizes)
    worst = list(_worst_case(setting, evidence, attacks, sizes))
    _attack(worst, "attack the worst case", setting, evidence)
    crowds = list(_crowds(setting, evidence, inversion.quick(attacks), sizes))
    if crowds:
        _attack(crowds, "attack small crowds", setting, evidence)


def _run(
    setting: Setting,
    evidence: Evidence,
    attacks: tuple[InversionAttack, ...],
    sizes: Workload,
) -> None:
    """Attack the messages that the run kept."""
    why = sizes.matching_in_run()
    if why:
        for protection in setting.protections:
            _leave_out(evidence, protection, AS_CONFIGURED, attacks, why)
        attacks = inversion.quick(attacks)

    def jobs() -> Iterator[Assault]:
        # Made as they are needed: each holds a model and a gradient.
        for repeat, protection in product(evidence.repeats, setting.protections):
            for shot in from_run(
                repeat.runs[protection.name],
                repeat.federations[protection.name],
                protection,
                setting.config,
            ):
                yield Assault(shot=shot, attacks=attacks)

    count = sum(1 for _ in jobs())
    task = setting.progress.task("attack the run's messages", count)
    for found in each(inversion.outcomes, jobs(), count=count):
        evidence.outcomes += found
        task.advance()


def _leave_out(
    evidence: Evidence,
    protection: Protection,
    scenario: str,
    attacks: Sequence[InversionAttack],
    why: str,
) -> None:
    """Give every search that is not run a row that says so."""
    quick = inversion.quick(attacks)
    if scenario == WORST_CASE:  # whose single step is no local steps
        attacks = [one for one in attacks if not isinstance(one, LocalSteps)]
    evidence.left_out += [
        Finding(
            protection=protection.name,
            adversary=Adversary.SERVER,
            view="-",
            scenario=scenario,
            attack=attack.name,
            measures=(Missing(metric=PSNR, why=why),),
            seeds=tuple(repeat.seed for repeat in evidence.repeats),
        )
        for attack in attacks
        if attack not in quick
    ]


def _attack(
    jobs: Sequence[Rounds], name: str, setting: Setting, evidence: Evidence
) -> None:
    task = setting.progress.task(name, sum(len(job.trials) for job in jobs))
    for job, found in zip(jobs, each(play, jobs, count=len(jobs)), strict=True):
        evidence.outcomes += found
        for _ in job.trials:
            task.advance(job.protection.name)


def _worst_case(
    setting: Setting,
    evidence: Evidence,
    attacks: tuple[InversionAttack, ...],
    sizes: Workload,
) -> Iterator[Rounds]:
    """Yield worst-case rounds, the same batches for every protection.

    Where rounds are dear, a protection has the first of them alone.
    """
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
    quick = inversion.quick(attacks)
    matched = sorted(config.attacks.batches)[:MATCHED_BATCHES]
    plans = {one.name: sizes.worst_case(one) for one in setting.protections}
    searched = set()
    for one in setting.protections:
        evidence.limits += [why for why in (plans[one.name].why,) if why]
        why = sizes.matching_in_worst_case(one)
        if why:
            _leave_out(evidence, one, WORST_CASE, attacks, why)
        else:
            searched.add(one.name)
    pieces = list(shared_out(effort(config)[0], sizes.parameters))
    for batch, some, protection in product(
        config.attacks.batches, pieces, setting.protections
    ):
        plan = plans[protection.name]
        trials = range(some.start, min(some.stop, plan.victims))
        if batch not in plan.batches or not trials:
            continue
        slow = batch in matched and protection.name in searched
        yield Rounds(
            federation=first.federations[protection.name],
            protection=protection,
            config=config,
            checkpoints=tuple(zip(CHECKPOINTS, vectors, strict=True)),
            batch=batch,
            trials=trials,
            seed=first.seed,
            attacks=attacks if slow else quick,
            every=matched_every(plan.victims),
        )


def _crowds(
    setting: Setting,
    evidence: Evidence,
    attacks: tuple[InversionAttack, ...],
    sizes: Workload,
) -> Iterator[Rounds]:
    """Yield sums of every size of crowd in the table, through secure aggregation."""
    first, config = evidence.repeats[0], setting.config
    protection = crowd.crowd_protection(setting.protections)
    if protection is None:
        return
    trials = sizes.worst_case(protection).victims
    large = config.federation.cohort >= LARGE_CROWD
    rounds = max(2, trials // CROWD_EVERY) if large else trials
    for size in crowd.sizes(config.federation):
        yield Rounds(
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
