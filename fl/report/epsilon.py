"""The report's rows about differential privacy: bounds, ledger, statement, drill.

A row states what an accountant proved or what an audit measured, never both as one
number: a measured lower bound above the proven upper one is a violation, and it can be
written down.

It does NOT account for anything or audit anything.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from fl.report.records import Amount, Confidence, Count, Name, Probability, Record


class PrivacyRow(Record):
    """The proven upper and the measured lower bound on epsilon.

    `ceiling` is the epsilon that a perfect attack would have shown with the same
    canaries and confidence: without it a small lower bound says nothing. `claimed`
    marks an upper bound that somebody else states and nothing here accounts for.

    `epsilon_lower` holds whatever the mechanism is. `epsilon_lower_gaussian` assumes
    more, that the trade-off of the mechanism is a Gaussian's, as it is claimed to be,
    and is higher as a rule; null where no such thing is claimed. The first decides on a
    violation, but for somebody else's claim of Gaussian noise: the second then refutes
    that claim as it was made, and says nothing of other noise.
    """

    protection: Name
    unit: Name
    relation: Name
    delta: Probability | None
    epsilon_upper: Amount | None
    accountant: Name | None
    epsilon_lower: Amount | None
    ceiling: Amount | None
    confidence: Confidence | None
    n_canaries: Count
    claimed: bool = False
    epsilon_lower_gaussian: Amount | None = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.epsilon_lower is None and self.epsilon_lower_gaussian is not None:
            raise ValueError(
                "epsilon_lower_gaussian stands beside epsilon_lower, never alone."
            )
        if self.epsilon_lower is not None and (
            self.ceiling is None or self.confidence is None or self.n_canaries == 0
        ):
            raise ValueError(
                "epsilon_lower needs its ceiling, confidence and n_canaries; "
                "give all of them or leave epsilon_lower null."
            )
        if (
            self.epsilon_lower is not None
            and self.ceiling is not None
            and self.epsilon_lower > self.ceiling
        ):
            raise ValueError(
                f"epsilon_lower={self.epsilon_lower} exceeds its "
                f"ceiling={self.ceiling}; a perfect attack cannot be beaten."
            )
        if self.epsilon_upper is not None and self.accountant is None:
            raise ValueError("epsilon_upper needs the name of its accountant.")
        return self

    @property
    def measured(self) -> float | None:
        """Return the lower bound that the upper one is held against.

        Where somebody else claims Gaussian noise, it is that of such noise.
        """
        return (
            self.epsilon_lower_gaussian if self.assumes_gaussian else self.epsilon_lower
        )

    @property
    def assumes_gaussian(self) -> bool:
        """Say whether what is measured holds for Gaussian noise alone."""
        return self.claimed and self.epsilon_lower_gaussian is not None

    @property
    def violated(self) -> bool:
        """Say whether the measured lower bound exceeds the upper one."""
        lower, upper = self.measured, self.epsilon_upper
        return lower is not None and upper is not None and lower > upper


class LedgerRow(Record):
    """What one party has spent of its budget, over how many releases."""

    protection: Name
    party: Name
    unit: Name
    relation: Name = "add or remove one"  # what every ledger kept before it was stated
    releases: Count
    refused: Count
    epsilon_spent: Amount
    epsilon_budget: Amount
    delta: Probability

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.epsilon_spent > self.epsilon_budget:
            raise ValueError(
                f"{self.party!r} has spent epsilon={self.epsilon_spent} of a budget of "
                f"{self.epsilon_budget}; a ledger refuses before that."
            )
        return self


class Statement(Record):
    """What a protection's epsilon means, said in full; one sentence each."""

    protection: Name
    sentences: Annotated[tuple[Name, ...], Field(min_length=1)]


class DrillRow(Record):
    """One audit of a mechanism whose noise was added, or left out on purpose.

    `violated` says that the audit caught it: the measured lower bound exceeds the
    claimed epsilon.
    """

    name: Name
    noise: Literal["added", "left out"]
    claimed_epsilon: Amount
    delta: Probability
    epsilon_lower: Amount
    ceiling: Amount
    confidence: Confidence
    n_canaries: Annotated[int, Field(ge=1)]
    violated: bool
    detail: str

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.epsilon_lower > self.ceiling:
            raise ValueError(
                f"epsilon_lower={self.epsilon_lower} exceeds its "
                f"ceiling={self.ceiling}; a perfect attack cannot be beaten."
            )
        if self.violated != (self.epsilon_lower > self.claimed_epsilon):
            raise ValueError(
                f"violated={self.violated} contradicts "
                f"epsilon_lower={self.epsilon_lower} against "
                f"claimed_epsilon={self.claimed_epsilon}."
            )
        return self


class Refusal(Record):
    """A protection that cannot be had here, and why."""

    protection: Name
    why: Name
