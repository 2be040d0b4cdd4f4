"""The same attacks, asked of persons: one answer from all records that are theirs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from attacks.membership.persons import by_person
from fl.finding import Finding, Group, Measure, Ranking

PERSON = "{attack}, by person"


def of_persons(findings: Sequence[Finding]) -> list[Finding]:
    """Return each ranking of records again as one of persons, where they are known.

    Adversaries who share a measure of records share the one of persons.
    """
    made: dict[int, Ranking] = {}
    rows = []
    for finding in findings:
        measures = [_measure(one, made) for one in finding.measures]
        asked = tuple(one for one in measures if one is not None)
        if asked:
            attack = PERSON.format(attack=finding.attack)
            rows.append(replace(finding, attack=attack, measures=asked, seconds=0.0))
    return rows


def _measure(measure: Measure, made: dict[int, Ranking]) -> Ranking | None:
    if not isinstance(measure, Ranking):
        return None
    groups = [one for one in measure.groups if one.persons is not None]
    if not groups or len(groups) < len(measure.groups):
        return None
    key = id(measure)
    if key not in made:
        made[key] = Ranking(groups=tuple(map(_group, groups)), fpr=measure.fpr)
    return made[key]


def _group(group: Group) -> Group:
    assert group.persons is not None
    scores, members, persons = by_person(group.scores, group.members, group.persons)
    return Group(scores=scores, members=members, records=persons, persons=persons)
