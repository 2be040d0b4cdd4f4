"""Membership attacks on the updates and the sums of the kept rounds, view by view.

The same attacks, members and non-members wherever an attack is defined: on every
client's update, on the sum, on the released model. So the page can say what is left of
an attack when uploads are hidden, and when only the model is. Scores are made without
membership bits; these only enter the findings' groups.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from attacks.errors import AttackError
from attacks.membership.federated import Series, SideBySide
from attacks.membership.federated.registry import (
    ATTACKS,
    OF_MODELS,
    FederatedAttack,
    Population,
)
from fl.config import Config
from fl.federation import Federation
from fl.finding import Finding, Group, Measure, Missing, Ranking
from fl.membership.asked import Asked, asked_of
from fl.membership.changes import SUM, Seen, Sight, seen_in, sights
from fl.membership.measured import Measurer
from fl.membership.shadows import Shadows
from fl.membership.targets import Runs
from fl.protection import Protection
from fl.run import RunRecord
from fl.shots import AS_CONFIGURED
from fl.view import Scene

Floats = NDArray[np.float64]
# The least clients of a round that FedMIA can work with: the target and two others.
BESIDE = 3


def findings(
    runs: Runs,
    protection: Protection,
    shadows: Shadows | Missing,
    config: Config,
) -> list[Finding]:
    """Attack what each adversary sees of the rounds; ``shadows`` are of no use here."""
    chosen = [ATTACKS[name] for name in config.attacks.federated]
    if not chosen:
        return []
    asked = [_Run(run, federation, protection, config) for run, federation in runs]
    seeds = tuple(run.seed for run, _ in runs)
    rows = []
    for sight, kind in sights(protection, config.federation.corrupt):
        for attack in chosen:
            if kind == "released" and attack.signal not in OF_MODELS:
                continue
            began = time.perf_counter()
            measure = _measure(attack, kind, asked)
            rows += _rows(
                sight,
                attack.title,
                measure,
                protection=protection.name,
                seeds=seeds,
                seconds=time.perf_counter() - began,
            )
    return rows


def _rows(
    sight: Sight,
    attack: str,
    measure: Measure,
    *,
    protection: str,
    seeds: tuple[int, ...],
    seconds: float,
) -> list[Finding]:
    return [
        Finding(
            protection=protection,
            adversary=adversary,
            view=sight.name,
            scenario=AS_CONFIGURED,
            attack=attack,
            measures=(measure,),
            seeds=seeds,
            seconds=seconds,
            prevented=sight.prevented,
        )
        for adversary in sight.adversaries
    ]


def _measure(attack: FederatedAttack, kind: str, runs: Sequence[_Run]) -> Measure:
    """Return the scores of all runs, or why there are none."""
    try:
        groups = tuple(group for one in runs for group in one.groups(attack, kind))
    except AttackError as error:  # too small a population, say
        return Missing(metric="AUC", why=str(error))
    if not groups:
        return Missing(
            metric="AUC",
            why="no kept round shows enough of the honest clients' updates.",
        )
    return Ranking(groups=groups)


@dataclass(frozen=True)
class _Run:
    """One run with its question; what is measured of it is measured once."""

    run: RunRecord
    federation: Federation
    protection: Protection
    config: Config

    @cached_property
    def asked(self) -> Asked:
        """Return whose membership is asked."""
        corrupt = self.config.federation.corrupt
        return asked_of(self.run, self.federation, corrupt)

    @cached_property
    def population(self) -> Population:
        """Return who is known to be outside, among the measured records."""
        rows = self.asked.rows
        return Population(
            known=np.isin(rows, self.asked.population),
            labels=self.federation.dataset.labels[rows],
        )

    @cached_property
    def measurer(self) -> Measurer:
        """Return what measures this run's rounds."""
        federation, training = self.federation, self.config.training
        scene = Scene(
            federation=federation,
            config=self.config,
            protection=self.protection,
            training=training,
            records=len(federation.train_ids) / len(federation.clients),
        )
        return Measurer(scene, self.asked.rows, self.population.known)

    def groups(self, attack: FederatedAttack, kind: str) -> list[Group]:
        """Return the scores of this run: per client, or of all at once."""
        if kind == "released":
            said = self.measurer.of_model(attack.signal, self.run.final)
            return self._one(attack, Series(measured=said[None]))
        seen = seen_in(
            kind,
            self.run,
            self.federation,
            self.protection,
            self.config.federation.corrupt,
        )
        if kind in ("uploads", "opened"):
            return self._each(attack, seen)
        if not seen:
            return []
        rows = [self.measurer.of_changes(attack.signal, one)[SUM] for one in seen]
        return self._one(attack, Series(measured=np.stack(rows)))

    def _one(self, attack: FederatedAttack, series: Series) -> list[Group]:
        inside, outside = self.asked.together()
        if not len(inside) or not len(outside):
            return []
        scores = attack.scores(series, self.population)
        return [self._group(scores, inside, outside)]

    def _each(self, attack: FederatedAttack, seen: Sequence[Seen]) -> list[Group]:
        measured = [self.measurer.of_changes(attack.signal, one) for one in seen]
        groups = []
        for name, inside in self.asked.members.items():
            evidence = _beside(measured, name, attack)
            if evidence is None:
                continue
            scores = attack.scores(evidence, self.population)
            groups.append(self._group(scores, inside, self.asked.nonmembers[name]))
        return groups

    def _group(
        self, scores: Floats, inside: NDArray[np.int64], outside: NDArray[np.int64]
    ) -> Group:
        ids = np.concatenate([inside, outside])
        return Group(
            scores=scores[np.searchsorted(self.asked.rows, ids)],
            members=np.arange(len(ids)) < len(inside),
            records=ids,
        )


def _beside(
    measured: Sequence[Mapping[str, Floats]], target: str, attack: FederatedAttack
) -> SideBySide | None:
    """Return the target's rounds with everybody in them, or None if it has none."""
    least = 1 if attack.beside is None else BESIDE
    rounds = [one for one in measured if target in one and len(one) >= least]
    if not rounds:
        return None
    names = sorted({name for one in rounds for name in one})
    absent = np.full_like(rounds[0][target], np.nan)
    stacked = [np.stack([one.get(name, absent) for name in names]) for one in rounds]
    return SideBySide(measured=np.stack(stacked), target=names.index(target))
