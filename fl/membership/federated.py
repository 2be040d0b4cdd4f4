"""Membership attacks on the updates and the sums of the kept rounds, view by view.

The same attacks, members and non-members wherever an attack is defined: on every
client's update, on the sum, on the released model. So the page can say what is left of
an attack when uploads are hidden, and when only the model is. Scores are made without
membership bits; these only enter the findings' groups.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from attacks.errors import AttackError
from attacks.membership.federated.registry import ATTACKS, OF_MODELS, FederatedAttack
from fl.config import Config
from fl.finding import Finding, Measure, Missing, Ranking
from fl.membership import ascent, learnt, sources
from fl.membership.attacked import Attacked
from fl.membership.changes import Kind, Sight, sights
from fl.membership.shadows import Shadows
from fl.membership.targets import Runs
from fl.protection import Protection
from fl.shots import AS_CONFIGURED
from fl.workload import workload

NASR_PASSIVE, NASR_ACTIVE, SOURCE = "nasr-passive", "nasr-active", "source-inference"
ALL = "membership attacks on updates"
APART = frozenset({NASR_PASSIVE, NASR_ACTIVE, SOURCE})


def findings(
    runs: Runs,
    protection: Protection,
    shadows: Shadows | Missing,
    config: Config,
) -> list[Finding]:
    """Attack what each adversary sees of the rounds; ``shadows`` are of no use here."""
    names = config.attacks.federated
    if not names:
        return []
    seeds = tuple(run.seed for run, _ in runs)
    why = workload(runs[0][1], config).updates()
    if why:
        nothing = Missing(metric="AUC", why=why)
        return [
            row
            for sight in sights(protection, config.federation.corrupt)
            for row in _rows(
                sight, ALL, nothing, protection=protection.name, seeds=seeds
            )
        ]
    chosen = [ATTACKS[name] for name in names if name in ATTACKS]
    corrupt = config.federation.corrupt
    asked = [Attacked(run, federation, protection, config) for run, federation in runs]
    rows = []
    for sight in sights(protection, corrupt):
        for attack in chosen:
            if sight.kind is Kind.RELEASED and attack.signal not in OF_MODELS:
                continue
            began = time.perf_counter()
            measure = _measure(attack, sight.kind, asked)
            rows += _rows(
                sight,
                attack.title,
                measure,
                protection=protection.name,
                seeds=seeds,
                seconds=time.perf_counter() - began,
            )
    # These see something else than a record's series, or play a round of their own.
    if NASR_PASSIVE in names:
        rows += learnt.findings(asked, protection, corrupt)
    if SOURCE in names:
        rows += sources.findings(asked, protection, corrupt)
    if NASR_ACTIVE in names:
        rows += ascent.findings(asked, protection, config)
    return rows


def _rows(
    sight: Sight,
    attack: str,
    measure: Measure,
    *,
    protection: str,
    seeds: tuple[int, ...],
    seconds: float = 0.0,
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


def _measure(attack: FederatedAttack, kind: Kind, runs: Sequence[Attacked]) -> Measure:
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
