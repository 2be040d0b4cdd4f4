"""Run the inversion attacks on shots and score what they recovered.

An attack gets the observation alone; scoring comes afterwards (`fl.scoring`).
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from attacks import (
    APRIL,
    DAGER,
    DLG,
    RGAP,
    CocktailParty,
    CosineTV,
    InversionAttack,
    LabelsUnavailable,
    LinearInversion,
    LocalSteps,
    Modern,
    Observation,
    Spear,
    estimate_labels,
    guess_counts,
    label_accuracy,
)
from attacks.inversion.layers import first_linear
from attacks.inversion.spear_replay import feeds_relu
from fl.outcomes import (
    LABELS_RIGHT,
    Attempt,
    Outcome,
)
from fl.scoring import scored
from fl.seeds import seed_for
from fl.shots import AS_CONFIGURED, Shot

LABELS = "label counts"
# Gradient matching searches for this many records at once and no more.
MATCHED_RECORDS = 16
# Enough for most batches of so many records, in a tenth of a second each.
SPEAR_RECORDS, SPEAR_DRAWS = 8, 2**11
# These read the number of records as a fact, and search for nothing that could be
# looked for in part; all others may be told of fewer records.
BY_ALGEBRA = (LinearInversion, Spear, CocktailParty, RGAP, APRIL, DAGER)
# These search the shots of one model side by side.
SIDE_BY_SIDE = (CosineTV, Modern, LocalSteps)
# Repeating a client's steps guesses the records of each, no more than these in all.
UNROLLED_RECORDS = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Assault:
    """A shot and the attacks to run on it: one independent piece of work."""

    shot: Shot
    attacks: tuple[InversionAttack, ...]


def battery(iterations: int) -> tuple[InversionAttack, ...]:
    """Return the attacks in the order in which they run: exact ones first."""
    return (
        LinearInversion(),
        Spear(draws=SPEAR_DRAWS, max_records=SPEAR_RECORDS),
        DLG(iterations=max(1, iterations // 4), restarts=1),
        CosineTV(iterations=iterations, restarts=1),
        LocalSteps(iterations=iterations, restarts=1),
    )


def quick(attacks: Sequence[InversionAttack]) -> tuple[InversionAttack, ...]:
    """Return those that take no search worth saving; they look at every shot."""
    return tuple(one for one in attacks if isinstance(one, BY_ALGEBRA))


def assault(job: Assault) -> list[Attempt]:
    """Run every attack that applies to the shot, score it, and count its labels."""
    return [outcome.attempt for outcome in outcomes(job)]


def outcomes(job: Assault) -> list[Outcome]:
    """Run the attacks on a shot; return each attempt beside it."""
    return together([job])


def together(jobs: Sequence[Assault]) -> list[Outcome]:
    """Do several pieces at once, attack by attack; the outcomes in the order of jobs.

    Matching searches shots of one model side by side, which changes no more than the
    rounding of its answers.  Of what was seen, models and gradients are not kept.
    """
    tried: list[list[Attempt]] = [[] for _ in jobs]
    distinct: list[InversionAttack] = []
    for job in jobs:
        distinct += [one for one in job.attacks if one not in distinct]
    for attack in distinct:
        places = [
            place
            for place, job in enumerate(jobs)
            if attack in job.attacks and applies(attack, job.shot)
        ]
        attempts = invert([jobs[place].shot for place in places], attack)
        for place, attempt in zip(places, attempts, strict=True):
            tried[place].append(attempt)
    return [
        Outcome(shot=shot, attempt=attempt)
        for job, made in zip(jobs, tried, strict=True)
        for shot in (without_gradient(job.shot),)
        for attempt in (*made, count_labels(job.shot))
    ]


def without_gradient(shot: Shot) -> Shot:
    """Return the shot for the page, without what takes memory for every parameter."""
    seen = replace(
        shot.observation,
        model=torch.nn.Identity(),
        gradient=None,
        known=None,
        batch_statistics=None,
    )
    return replace(shot, observation=seen)


def applies(attack: InversionAttack, shot: Shot) -> bool:
    """Tell whether ``attack`` is sized for this shot.

    Matching is slow: it is for few records, and not for uploads that a proof covers,
    where the quick attacks stand guard.
    """
    if isinstance(attack, LinearInversion):
        return True
    if shot.prevented is not None:
        return False
    if isinstance(attack, Spear):
        return _separable(shot.observation)
    if isinstance(attack, LocalSteps):
        return _repeatable(shot)
    few = (shot.observation.records or 1) <= MATCHED_RECORDS
    alone = shot.observation.clients_summed == 1
    return few or (alone and shot.scenario == AS_CONFIGURED)


def _separable(observation: Observation) -> bool:
    """Tell whether SPEAR may find what linear inversion cannot, and does so fast."""
    records = observation.records or 0
    if observation.steps != 1 or not 1 < records <= SPEAR_RECORDS:
        return False
    site, _ = first_linear(observation.model, observation.input_shape)
    return site is not None and feeds_relu(observation, site)


def _repeatable(shot: Shot) -> bool:
    """Tell whether one client took several steps, few enough to be repeated."""
    seen = shot.observation
    known = seen.lr is not None and seen.epochs is not None
    guessed = (seen.steps or 1) * shot.step_records
    several = (seen.steps or 1) > 1 and seen.clients_summed == 1
    return known and several and guessed <= UNROLLED_RECORDS


def invert(shots: Sequence[Shot], attack: InversionAttack) -> list[Attempt]:
    """Run one attack on every shot and score what came out, in the order of the shots.

    Those of one model are searched side by side, where the attack can.
    """
    seen = [_sized(shot, attack) for shot in shots]
    seeds = [seed_for(shot.seed, "attack", attack.name, shot.number) for shot in shots]
    if isinstance(attack, SIDE_BY_SIDE):
        results = attack.run_many(seen, seeds=seeds)
    else:
        results = [
            attack.run(one, seed=seed) for one, seed in zip(seen, seeds, strict=True)
        ]
    return [
        scored(shot, attack, one, result)
        for shot, one, result in zip(shots, seen, results, strict=True)
    ]


def _sized(shot: Shot, attack: InversionAttack) -> Observation:
    """Return what the attack gets: a step's size, or for matching some of the records.

    Whoever repeats the local steps reads a batch; others read all steps as one.
    """
    observation = shot.observation
    if isinstance(attack, LocalSteps):
        return replace(observation, batch_size=shot.step_records)
    matching = not isinstance(attack, BY_ALGEBRA)
    if matching and (observation.records or 1) > MATCHED_RECORDS:
        # Several local steps went over all records; matching looks for some of them.
        each = max(1, MATCHED_RECORDS // observation.clients_summed)
        observation = replace(observation, batch_size=each)
    return observation


def count_labels(shot: Shot) -> Attempt:
    """Estimate how many records of each class are in the update, and score that."""
    began = time.perf_counter()
    classes = shot.observation.classes
    total = shot.observation.records or 1
    guess = guess_counts(total, shot.prior.tolist())
    blind = torch.repeat_interleave(torch.arange(classes), guess)
    refused = ""
    try:
        seed = seed_for(shot.seed, "attack", LABELS, shot.number)
        estimated = estimate_labels(shot.observation, seed=seed)
    except LabelsUnavailable as error:
        estimated, refused = blind, str(error)
    return Attempt(
        attack=LABELS,
        metrics={
            LABELS_RIGHT: (
                label_accuracy(estimated, shot.y, classes=classes),
                label_accuracy(blind, shot.y, classes=classes),
            )
        },
        exact=None,
        certified=False,
        refused=refused,
        reconstruction=None,
        seconds=time.perf_counter() - began,
    )
