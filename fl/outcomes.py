"""What the inversion attacks recovered, collected per view for the page.

Shots of the same records are one victim, not several; adversaries who see the same
sample share its measures. Nothing is attacked or judged here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from attacks import Reconstruction, quality
from fl.finding import Exact, Finding, Measure, Missing, Paired
from fl.shots import Shot

PSNR, SSIM, LABELS_RIGHT = "PSNR (dB)", "SSIM", "labels right (fraction)"
NUMBERS_RIGHT = "numbers within 1 % (fraction)"
CATEGORIES_RIGHT = "categories right (fraction)"
SUPPORTS = {
    # A candidate far outside the range scores below zero.
    PSNR: (-quality.PSNR_CAP_DB, quality.PSNR_CAP_DB),
    SSIM: (-1.0, 1.0),
    LABELS_RIGHT: (0.0, 1.0),
    NUMBERS_RIGHT: (0.0, 1.0),
    CATEGORIES_RIGHT: (0.0, 1.0),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One attack on one shot, scored.

    Attributes:
        attack: its name.
        metrics: name -> (value, null).
        exact: whether a record came back exactly, of the truth and of other real
            records (the null); None for labels.
        certified: whether the attack itself proved it.
        refused: why the attack gave up, or "".
        reconstruction: for the pictures, None for labels.
        seconds: spent attacking.
    """

    attack: str
    metrics: dict[str, tuple[float, float]]
    exact: tuple[bool, bool] | None
    certified: bool
    refused: str
    reconstruction: Reconstruction | None
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """An attempt beside the shot it was made on."""

    shot: Shot
    attempt: Attempt


def collect(outcomes: Sequence[Outcome]) -> list[Finding]:
    """Collect outcomes into one finding per view and attack, for all who see it."""
    groups: dict[tuple[str, str, str, str], list[Outcome]] = {}
    for outcome in outcomes:
        shot = outcome.shot
        key = (shot.protection, shot.scenario, shot.view, outcome.attempt.attack)
        groups.setdefault(key, []).append(outcome)
    return [finding for group in groups.values() for finding in _findings(group)]


def _findings(group: list[Outcome]) -> list[Finding]:
    """Measure one sample once; every adversary who sees it shares the measures."""
    shot, attack = group[0].shot, group[0].attempt.attack
    measures = _measures(group)
    return [
        Finding(
            protection=shot.protection,
            adversary=adversary,
            view=shot.view,
            scenario=shot.scenario,
            attack=attack,
            measures=measures,
            seeds=tuple(sorted({outcome.shot.seed for outcome in group})),
            n_failed=len({o.shot.unit for o in group if o.attempt.refused}),
            seconds=sum(outcome.attempt.seconds for outcome in group),
            prevented=shot.prevented,
        )
        for adversary in shot.adversaries
    ]


def _sets_of_strangers(shot: Shot) -> int:
    """Return how many disjoint sets, each as large as the truth, the null is asked."""
    return max(1, len(shot.pool) // len(shot.x))


def _measures(group: list[Outcome]) -> tuple[Measure, ...]:
    """Measure one sample; shots of the same records are one victim, not several."""
    units: dict[str, list[Attempt]] = {}
    for outcome in group:
        units.setdefault(outcome.shot.unit, []).append(outcome.attempt)
    victims = list(units.values())
    attempts = [attempt for victim in victims for attempt in victim]
    names = list(attempts[0].metrics)
    if all(attempt.refused for attempt in attempts):
        return (Missing(metric=names[0], why=attempts[0].refused),)
    measures: list[Measure] = []
    for name in names:
        pairs = [
            np.mean([attempt.metrics[name] for attempt in victim], axis=0)
            for victim in victims
        ]
        values, by_chance = np.array(pairs).T
        measures.append(
            Paired(metric=name, support=SUPPORTS[name], values=values, nulls=by_chance)
        )
    exact = [
        np.any([one.exact for one in victim if one.exact is not None], axis=0)
        for victim in victims
        if any(one.exact is not None for one in victim)
    ]
    if exact:
        hits, chance_hits = np.array(exact).T
        certified = sum(any(one.certified for one in victim) for victim in victims)
        measures.append(
            Exact(
                hits=hits,
                nulls=chance_hits,
                certified=certified,
                strangers=min(_sets_of_strangers(one.shot) for one in group),
            )
        )
    return tuple(measures)
