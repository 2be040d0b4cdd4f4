"""The validity gate: are members and non-members alike, the model aside?

Asked of the very record sets that the membership attacks were scored on: of the
released model all that was trained on beside all that is held out, of one client's
model its records beside held-out ones of its own site and mix of classes, of the rounds
what attacks on updates and sums drew. Where inputs
and labels alone tell them apart, what an attack finds need not come from the model.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from attacks.blind import FEWEST, BlindBaseline, Sides, blind_baseline
from attacks.membership import ATTACKS
from attacks.membership.federated import registry as federated
from attacks.membership.federated.nasr import ACTIVE, PASSIVE
from fl.config import Config
from fl.evidence import Evidence
from fl.finding import Finding, Group, Ranking
from fl.membership.targets import OVER_ROUNDS
from fl.report import Gate
from fl.report.validity import ValidityRow
from fl.seeds import seed_for
from fl.verdict import FAMILY_ERROR

NAME = "members and non-members are alike without the model"
# What asks about single records; other rankings are of something else.
ON_RECORDS = frozenset(attack.title for attack in ATTACKS.values())
# These ask about a drawn part of the records, the same however a round was seen.
ON_ROUNDS = {attack.title for attack in federated.ATTACKS.values()} | {PASSIVE, ACTIVE}
BY_CLIENT, TOGETHER = "updates of the rounds", "sums and models of the rounds"
# Records of a view that are looked at: some seconds' worth, and enough to see a shift.
MOST_RECORDS = 6000


def validity(evidence: Evidence, config: Config) -> tuple[ValidityRow, ...]:
    """Ask of every view that membership was asked of; the rows hold together at 95 %.

    Args:
        evidence: with the rankings of the membership attacks; none give no rows.
        config: for the seed.
    """
    views = _views(evidence.rankings)
    return tuple(
        _row(view, groups, evidence, config, 1 - FAMILY_ERROR / len(views))
        for view, groups in views.items()
    )


def gate(rows: Sequence[ValidityRow]) -> Gate:
    """Return the gate that fails if any view's members are told apart blindly."""
    broken = [row for row in rows if row.beats_chance]
    return Gate(
        name=NAME,
        passed=not broken,
        detail=" ".join(_said(row) for row in broken or rows),
    )


def _said(row: ValidityRow) -> str:
    if row.value is None:
        return f"{row.view}: fewer than {FEWEST} records on a side, so nobody looked."
    found = (
        f"AUC {row.value:.3f} [{row.low:.3f}, {row.high:.3f}] without the model, by "
        f"{row.learner}, n = {row.n}"
    )
    if not row.beats_chance:
        return f"{row.view}: {found}."
    return (
        f"INVALID for {row.view}: {found}, so what an attack finds there need not come "
        "from the model; draw the held-out records from where the others come from."
    )


def _views(rankings: Sequence[Finding]) -> dict[str, list[Group]]:
    """Collect each view's record sets, each of them once."""
    views: dict[str, dict[bytes, Group]] = {}
    for finding in rankings:
        measure = finding.measures[0]
        view = _called(finding)
        if view is None or not isinstance(measure, Ranking):
            continue
        for group in measure.groups:
            key = np.sort(group.records[group.members]).tobytes()
            key += np.sort(group.records[~group.members]).tobytes()
            views.setdefault(view, {}).setdefault(key, group)
    # Several views of the same records are one question, named by the first.
    asked: dict[frozenset[bytes], str] = {}
    for view, groups in views.items():
        asked.setdefault(frozenset(groups), view)
    return {view: list(views[view].values()) for view in asked.values()}


def _called(finding: Finding) -> str | None:
    """Name the question of an attack on single records; None if it is on others."""
    # One attack of either kind has the same name: losses over rounds.
    if finding.attack in ON_ROUNDS and finding.view != OVER_ROUNDS:
        return BY_CLIENT if "uploads" in finding.view else TOGETHER
    if finding.attack in ON_RECORDS:
        return finding.view.partition(",")[0]  # however an upload was read
    return None


def _row(
    view: str,
    groups: Sequence[Group],
    evidence: Evidence,
    config: Config,
    confidence: float,
) -> ValidityRow:
    # Row numbers are the same in all repetitions; a table's learnt scale is not, which
    # changes no record's place among the others.
    dataset = next(iter(evidence.repeats[0].federations.values())).dataset
    found = blind_baseline(
        dataset.features,
        dataset.labels,
        list(_affordable(groups)),
        persons=dataset.subjects,
        confidence=confidence,
        seed=seed_for(config.seed, "blind baseline", view),
    )
    return row_of(view, found, confidence, groups_of=len(groups))


def row_of(
    view: str, found: BlindBaseline | None, confidence: float, *, groups_of: int
) -> ValidityRow:
    """Return what a blind baseline found, or that there were too few to ask."""
    estimate = None if found is None else found.auc
    return ValidityRow(
        view=view,
        learner=None if found is None else found.learner,
        value=None if estimate is None else estimate.value,
        low=None if estimate is None else estimate.low,
        high=None if estimate is None else estimate.high,
        confidence=None if estimate is None else confidence,
        n=0 if estimate is None else estimate.n,
        groups=0 if found is None else found.groups[0],
        groups_of=groups_of,
        permuted=None if found is None else found.permuted,
        beats_chance=found is not None and found.beats_chance,
    )


def _affordable(groups: Sequence[Group]) -> Iterator[Sides]:
    """Yield as many of the groups as can be looked at, evenly spread, at least one."""
    total = sum(len(group.records) for group in groups)
    count = max(1, min(len(groups), len(groups) * MOST_RECORDS // max(total, 1)))
    for place in np.linspace(0, len(groups) - 1, count).round().astype(int):
        group = groups[place]
        yield Sides(
            members=group.records[group.members],
            nonmembers=group.records[~group.members],
        )
