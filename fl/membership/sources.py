"""Source inference on a run's uploads: which hospital is this patient's record from?

Asked of training records whose owner is an honest client. A client's held-out records,
which are nobody's, are asked beside them in the same mix of classes: how often those
are taken for the client's own is what its kind of data alone gives away.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

import numpy as np

from attacks.membership.federated import sources
from attacks.membership.federated.registry import Signal
from attacks.membership.federated.source import SOURCE
from fl.finding import Finding, Measure, Missing, Paired
from fl.membership.attacked import Attacked
from fl.membership.changes import BY_CLIENT, Kind, sights
from fl.protection import Protection
from fl.shots import AS_CONFIGURED

METRIC = "source named right (share of a client's records)"


def findings(
    runs: Sequence[Attacked], protection: Protection, corrupt: int
) -> list[Finding]:
    """Name the source of honest clients' records wherever uploads are seen."""
    rows = []
    for sight in sights(protection, corrupt):
        if sight.kind not in BY_CLIENT:
            continue
        began = time.perf_counter()
        measure = _measure(runs, sight.kind)
        seconds = time.perf_counter() - began
        rows += [
            Finding(
                protection=protection.name,
                adversary=adversary,
                view=sight.name,
                scenario=AS_CONFIGURED,
                attack=SOURCE,
                measures=(measure,),
                seeds=tuple(one.run.seed for one in runs),
                seconds=seconds,
                prevented=sight.prevented,
            )
            for adversary in sight.adversaries
        ]
    return rows


def _measure(runs: Sequence[Attacked], kind: Kind) -> Measure:
    shares = [pair for one in runs for pair in _shares(one, kind)]
    if not shares:
        return Missing(metric=METRIC, why="no kept round shows two clients' updates.")
    values, nulls = np.array(shares).T
    return Paired(metric=METRIC, support=(0.0, 1.0), values=values, nulls=nulls)


def _shares(one: Attacked, kind: Kind) -> Iterator[tuple[float, float]]:
    """Yield how often each client is named for its own records, and for held-out ones.

    Chance is one in the number of clients for both.
    """
    rounds = one.rounds(kind, Signal.LOSS)
    names = sorted({name for each in rounds for name in each})
    if len(names) < 2:
        return
    absent = np.full(len(one.rows), np.nan)
    measured = np.stack(
        [np.stack([each.get(name, absent) for name in names]) for each in rounds]
    )
    named = sources(measured)
    for name, inside in one.asked.members.items():
        if name in names:
            own = named == names.index(name)
            outside = one.asked.nonmembers[name]
            yield (
                float(own[one.places(inside)].mean()),
                float(own[one.places(outside)].mean()),
            )
