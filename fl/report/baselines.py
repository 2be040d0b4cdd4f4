"""What federated training is compared with: pooled, local only, and naming one class.

It does NOT train anything.
"""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, model_validator

from fl.report.records import Probability, Record, check_interval


class PooledBaseline(Record):
    """Accuracy of one model trained on all records in one place."""

    value: Probability
    low: Probability
    high: Probability
    n: Annotated[int, Field(ge=1)]

    @model_validator(mode="after")
    def _check(self) -> Self:
        check_interval(self.value, self.low, self.high, self.n)
        return self


class LocalBaseline(Record):
    """Accuracy of models that each client trains alone: mean, worst and best."""

    mean: Probability
    low: Probability
    high: Probability
    n: Annotated[int, Field(ge=1)]

    @model_validator(mode="after")
    def _check(self) -> Self:
        check_interval(self.mean, self.low, self.high, self.n)
        return self


class Baselines(Record):
    """What federated training is compared with; null where not known.

    `majority` is the held-out accuracy of always naming the most frequent class.
    """

    pooled: PooledBaseline | None
    local_only: LocalBaseline | None
    majority: Probability | None = None
