"""One run as it is attacked: whose membership is asked, and what each view says of it.

What a view says of the records is measured once and kept: several attacks read it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from attacks.membership.federated import Series, SideBySide
from attacks.membership.federated.registry import FederatedAttack, Population, Signal
from fl.config import Config
from fl.federation import Federation
from fl.finding import Group
from fl.membership.asked import Asked, asked_of
from fl.membership.changes import BY_CLIENT, SUM, Kind, Seen, seen_in
from fl.membership.measured import Measurer
from fl.protection import Protection
from fl.run import RunRecord
from fl.view import Scene

Floats = NDArray[np.float64]
Rows = NDArray[np.int64]
Rounds = Sequence[Mapping[str, Floats]]
# The least clients of a round that FedMIA can work with: the target and two others.
BESIDE = 3


@dataclass(frozen=True)
class Attacked:
    """One run with its question."""

    run: RunRecord
    federation: Federation
    protection: Protection
    config: Config
    _kept: dict[tuple[Kind, Signal], Rounds] = field(default_factory=dict, repr=False)

    @cached_property
    def asked(self) -> Asked:
        """Return whose membership is asked."""
        took_part = {name for one in self.run.snapshots for name in one.inside}
        corrupt = self.config.federation.corrupt
        return asked_of(took_part, self.federation, corrupt, seed=self.run.seed)

    @cached_property
    def rows(self) -> Rows:
        """Return the row numbers of all measured records, ascending."""
        return self.asked.rows

    @cached_property
    def population(self) -> Population:
        """Return who is known to be outside, among the measured records."""
        return Population(
            known=np.isin(self.rows, self.asked.population),
            labels=self.federation.dataset.labels[self.rows],
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
        return Measurer(scene, self.rows, self.population.known)

    def seen(self, kind: Kind) -> list[Seen]:
        """Return the kept rounds as a view shows them."""
        corrupt = self.config.federation.corrupt
        return seen_in(kind, self.run, self.federation, self.protection, corrupt)

    def rounds(self, kind: Kind, signal: Signal) -> Rounds:
        """Return what each round's changes say of all measured records."""
        key = (kind, signal)
        if key not in self._kept:
            self._kept[key] = [
                self.measurer.of_changes(signal, one) for one in self.seen(kind)
            ]
        return self._kept[key]

    def groups(self, attack: FederatedAttack, kind: Kind) -> list[Group]:
        """Return an attack's scores: per client, or of all at once.

        Raises:
            AttackError: there is too little to attack with.
        """
        if kind in BY_CLIENT:
            return self._each(attack, self.rounds(kind, attack.signal))
        if kind is Kind.RELEASED:
            rows = [self.measurer.of_model(attack.signal, self.run.final)]
        else:
            rows = [one[SUM] for one in self.rounds(kind, attack.signal)]
        inside, outside = self.asked.together()
        if not (rows and len(inside) and len(outside)):
            return []
        scores = attack.scores(Series(measured=np.stack(rows)), self.population)
        return [self.group(scores, inside, outside)]

    def _each(self, attack: FederatedAttack, rounds: Rounds) -> list[Group]:
        groups = []
        for name, inside in self.asked.members.items():
            least = 1 if attack.beside is None else BESIDE
            own = [one for one in rounds if name in one and len(one) >= least]
            if not own:
                continue
            # No more than the attack needs, so nothing is put side by side in vain.
            evidence = (
                Series(measured=np.stack([one[name] for one in own]))
                if attack.beside is None
                else _beside(own, name)
            )
            scores = attack.scores(evidence, self.population)
            groups.append(self.group(scores, inside, self.asked.nonmembers[name]))
        return groups

    def group(self, scores: Floats, inside: Rows, outside: Rows) -> Group:
        """Pick the scores of members and non-members, with their bits.

        Args:
            scores: of all measured records.
            inside: row numbers of members.
            outside: row numbers of non-members.
        """
        ids = np.concatenate([inside, outside])
        persons = self.federation.dataset.subjects
        return Group(
            scores=scores[self.places(ids)],
            members=np.arange(len(ids)) < len(inside),
            records=ids,
            persons=None if persons is None else persons[ids],
        )

    def places(self, rows: Rows) -> Rows:
        """Return where these row numbers are among the measured records."""
        return np.searchsorted(self.rows, rows)


def _beside(rounds: Rounds, target: str) -> SideBySide:
    """Return the target's rounds with everybody in them.

    Args:
        rounds: what they say of records, by client; the target is in each.
        target: the client that is asked for.
    """
    names = sorted({name for one in rounds for name in one})
    absent = np.full_like(rounds[0][target], np.nan)
    stacked = [np.stack([one.get(name, absent) for name in names]) for one in rounds]
    return SideBySide(measured=np.stack(stacked), target=names.index(target))
