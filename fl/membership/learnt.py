"""Nasr's passive attack: a colluder's own records teach what members look like.

The server knows which records its colluders trained on, and holds records that are in
nobody's training. It measures both on what it sees, fits a classifier, and asks it of
the honest clients' records: on the colluders' own uploads and then on the others', or
on a sum that the colluders are part of.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from attacks import Adversary
from attacks.errors import ParameterError
from attacks.membership.federated import nasr_passive
from attacks.membership.federated.nasr import PASSIVE
from attacks.membership.federated.registry import Signal
from fl.finding import Finding, Group, Measure, Missing, Ranking
from fl.membership.attacked import Attacked
from fl.membership.changes import BY_CLIENT, SUM, Kind, sights
from fl.protection import Protection
from fl.shots import AS_CONFIGURED

Floats = NDArray[np.float64]
Bits = NDArray[np.bool_]
KINDS = frozenset({Kind.UPLOADS, Kind.OPENED, Kind.COHORT})
_ALONE = (
    "a classifier is learnt from colluders' own records and there are none; "
    "set federation.corrupt."
)


def findings(
    runs: Sequence[Attacked], protection: Protection, corrupt: int
) -> list[Finding]:
    """Attack what a server with colluders sees, where its colluders are in it too."""
    rows = []
    for sight in sights(protection, corrupt):
        seeing = Adversary.SERVER_PLUS in sight.adversaries
        if sight.kind not in KINDS or not seeing or sight.prevented is not None:
            continue
        began = time.perf_counter()
        rows.append(
            Finding(
                protection=protection.name,
                adversary=Adversary.SERVER_PLUS,
                view=sight.name,
                scenario=AS_CONFIGURED,
                attack=PASSIVE,
                measures=(_measure(runs, sight.kind, corrupt),),
                seeds=tuple(one.run.seed for one in runs),
                seconds=time.perf_counter() - began,
            )
        )
    return rows


def _measure(runs: Sequence[Attacked], kind: Kind, corrupt: int) -> Measure:
    if not corrupt:
        return Missing(metric="AUC", why=_ALONE)
    try:
        groups = tuple(group for one in runs for group in _groups(one, kind))
    except ParameterError as error:  # too few of the colluders' records, say
        return Missing(metric="AUC", why=str(error))
    if not groups:
        return Missing(metric="AUC", why="no kept round holds an honest client.")
    return Ranking(groups=groups)


def _groups(one: Attacked, kind: Kind) -> list[Group]:
    asked = one.asked
    if kind in BY_CLIENT:
        teachers = {name: _features(one, kind, name) for name in asked.own}
        known = [
            _lesson(one, features, one.asked.own[name])
            for name, features in teachers.items()
            if features is not None
        ]
        targets = {name: _features(one, kind, name) for name in asked.members}
        sides = {
            name: (asked.members[name], asked.nonmembers[name])
            for name in asked.members
        }
    else:
        features = _features(one, kind, SUM)
        own = np.concatenate([*asked.own.values(), np.empty(0, dtype=np.int64)])
        known = [] if features is None else [_lesson(one, features, own)]
        targets, sides = {SUM: features}, {SUM: asked.together()}
    if not known:
        raise ParameterError("No colluder took part in a kept round; keep more rounds.")
    taught = np.concatenate([features for features, _ in known])
    members = np.concatenate([bits for _, bits in known])
    return [
        one.group(nasr_passive(taught, members, features), *sides[name])
        for name, features in targets.items()
        if features is not None and all(len(side) for side in sides[name])
    ]


def _features(one: Attacked, kind: Kind, name: str) -> Floats | None:
    """Return the signals of one series, mean over its rounds, (records, signals)."""
    columns = []
    for signal in Signal:
        rows = [each[name] for each in one.rounds(kind, signal) if name in each]
        if not rows:
            return None
        columns.append(np.mean(rows, axis=0))
    return np.stack(columns, axis=1)


def _lesson(
    one: Attacked, features: Floats, own: NDArray[np.int64]
) -> tuple[Floats, Bits]:
    """Return the features of known members, and of known non-members, with the bits."""
    rows = np.concatenate([own, one.asked.population])
    return features[one.places(rows)], np.arange(len(rows)) < len(own)
