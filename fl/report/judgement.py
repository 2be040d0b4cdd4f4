"""Two judgements that the numbers only imply: a bound without use, a useless model.

Computed from the record alone, by fixed rules that stand here. They say nothing about
what an attack found.
"""

from __future__ import annotations

from dataclasses import dataclass

from fl.report.epsilon import PrivacyRow
from fl.report.records import UtilityRow
from fl.report.schema import Report
from fl.report.wording import number, percent

# exp(20) is 485 million: whoever knows the outcome may be that much surer of a member.
LARGEST_USEFUL_EPSILON = 20.0
NO_GUARANTEE, NO_MODEL = "no useful guarantee", "no useful model"


@dataclass(frozen=True, slots=True)
class Judgement:
    """What is wrong with a protection here, in three words, and why."""

    protection: str
    words: str
    why: str


def judgements(report: Report) -> dict[str, tuple[Judgement, ...]]:
    """Judge every protection of the report, in its order; most get no judgement."""
    found = [
        *(guarantee(row) for row in report.privacy),
        *(model(row, report.baselines.majority) for row in report.utility),
    ]
    return {
        name: tuple(one for one in found if one and one.protection == name)
        for name in report.protections
    }


def reasons(report: Report) -> tuple[tuple[str, str, str], ...]:
    """List each judgement once as (words, the protections it falls on, why)."""
    under: dict[tuple[str, str], list[str]] = {}
    for name, found in judgements(report).items():
        for one in found:
            under.setdefault((one.words, one.why), []).append(name)
    return tuple((words, ", ".join(who), why) for (words, why), who in under.items())


def guarantee(row: PrivacyRow) -> Judgement | None:
    """Judge a proven epsilon: above 20 it promises nothing that helps anybody."""
    if row.epsilon_upper is None or row.epsilon_upper <= LARGEST_USEFUL_EPSILON:
        return None
    return Judgement(
        row.protection,
        NO_GUARANTEE,
        f"epsilon is at most {number(row.epsilon_upper)}, and above "
        f"{number(LARGEST_USEFUL_EPSILON)} that rules out nothing of use",
    )


def model(row: UtilityRow, majority: float | None) -> Judgement | None:
    """Judge an accuracy: its interval has to lie above naming the commonest class."""
    if row.metric != "accuracy" or row.value is None or majority is None:
        return None
    least = row.value if row.low is None else row.low
    if least > majority:
        return None
    return Judgement(
        row.protection,
        NO_MODEL,
        f"its accuracy interval does not lie above {percent(majority)}, which always "
        "naming the most frequent class reaches",
    )
