"""Whether members and non-members were alike to begin with: one row per view.

An attack's success speaks of the model only where inputs and labels alone tell
nothing; a row that beats chance makes the view's membership rows invalid.
"""

from __future__ import annotations

from typing import Self

from pydantic import model_validator

from fl.report.records import Confidence, Count, Name, Record, check_interval


class ValidityRow(Record):
    """How well members of one view are told from non-members without any model.

    `value` is an AUC, one half by chance; `groups` is how many record sets were asked,
    of `groups_of` that the view has. All numbers are null where there were too few
    records to ask. `permuted` is the highest AUC on permuted membership, null where the
    interval holds chance anyway.
    """

    view: Name
    learner: Name | None
    value: float | None
    low: float | None
    high: float | None
    confidence: Confidence | None
    n: Count
    groups: Count
    groups_of: Count
    permuted: float | None
    beats_chance: bool

    @model_validator(mode="after")
    def _check(self) -> Self:
        check_interval(self.value, self.low, self.high, self.n)
        if self.beats_chance and (self.low is None or self.low <= 0.5):
            raise ValueError(f"low={self.low} does not beat chance, which is 0.5.")
        if (self.value is None) != (self.learner is None):
            raise ValueError("a measured row names its learner, and no other does.")
        return self
