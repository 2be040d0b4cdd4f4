"""Who is exposed: risk and accuracy of one set of records, side by side.

Rows are of sets, never of single records: those are listed for their owner alone.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Self

from pydantic import Field, model_validator

from fl.report.records import (
    Confidence,
    Count,
    Name,
    Probability,
    Record,
    check_interval,
)

# Smaller sets are not shown: a row about three records points at three people.
SMALLEST_GROUP = 10


class GroupKind(StrEnum):
    """What the records of a row have in common."""

    ALL = "all"
    WORST = "most exposed"
    CLASS = "class"
    CLIENT = "client"
    SUBGROUP = "subgroup"


class ExposureRow(Record):
    """What training on some records does to their scores, and how well they are served.

    `distance` is the mean d' of `n` training records under the noise of `protection`: 0
    tells nothing, 1 lets the best attack on such records reach an AUC of 0.76. Its
    interval holds together with those of its kind at 95 %. `above_all` says whether
    the mean lies above that of all records, likewise. `accuracy` is that of the
    released model on held-out records of the same kind; null where there are none.
    `groups` is how many sets of this kind there are, of which the rows are the most
    exposed.
    """

    protection: Name
    by: GroupKind
    group: Name
    n: Annotated[int, Field(ge=1)]
    distance: float
    low: float
    high: float
    confidence: Confidence
    above_all: bool
    accuracy: Probability | None
    accuracy_low: Probability | None
    accuracy_high: Probability | None
    accuracy_n: Count
    groups: Annotated[int, Field(ge=1)]
    shadows: Count

    @model_validator(mode="after")
    def _check(self) -> Self:
        check_interval(self.distance, self.low, self.high, self.n)
        check_interval(
            self.accuracy, self.accuracy_low, self.accuracy_high, self.accuracy_n
        )
        named = self.by in (GroupKind.CLASS, GroupKind.CLIENT, GroupKind.SUBGROUP)
        if named and self.n < SMALLEST_GROUP:
            raise ValueError(
                f"a row of {self.n} records points at people; show sets of at least "
                f"{SMALLEST_GROUP}."
            )
        if named and 0 < self.accuracy_n < SMALLEST_GROUP:
            raise ValueError(
                f"an accuracy on {self.accuracy_n} records points at people; leave it "
                f"out below {SMALLEST_GROUP}."
            )
        return self
