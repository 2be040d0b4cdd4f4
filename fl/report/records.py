"""The report's rows: one measurement each, refused where it would mislead.

A number without its count, an interval that does not hold its value, NaN or Infinity,
a verdict without its evidence: none of these can be built. The fields are those of
DESIGN section 6; `schema` puts the rows together to a report.

It does NOT decide verdicts or compute intervals.
"""

from __future__ import annotations

import math
import re
from enum import StrEnum
from typing import Annotated, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    model_validator,
)

# Claims that no measurement supports; a report that needs one of them is wrong.
REFUSED_WORDS = ("safe", "private", "compliant")
_REFUSED = re.compile(rf"\b({'|'.join(REFUSED_WORDS)})\b", re.IGNORECASE)


# How the reason begins where even the largest effect would have gone unseen.
POWERLESS = "No effect on this scale would have been found"


class Verdict(StrEnum):
    """What one attack established, from the worst to the least known."""

    RECOVERED = "recovered"
    LEAKS = "leaks"
    NOT_DETECTED = "not detected"
    PREVENTED = "prevented"
    NOT_MEASURED = "not measured"


class Scenario(StrEnum):
    """Which messages the attack was given; the two are never mixed."""

    AS_CONFIGURED = "as configured"
    WORST_CASE = "worst case"


def refused_word(text: str) -> str | None:
    """Return the first word of `text` that claims too much; None if there is none."""
    found = _REFUSED.search(text)
    return found.group(0) if found else None


def _finite_json(value: JsonValue) -> JsonValue:
    """Refuse NaN and Infinity at any depth of free-form JSON.

    Older pydantic 2 does not apply `allow_inf_nan` inside `JsonValue`.
    """
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{value} is not JSON; use null where nothing was measured.")
    if isinstance(value, dict):
        for item in value.values():
            _finite_json(item)
    elif isinstance(value, list):
        for item in value:
            _finite_json(item)
    return value


Name = Annotated[str, Field(min_length=1)]
Count = Annotated[int, Field(ge=0)]
Amount = Annotated[float, Field(ge=0)]
Probability = Annotated[float, Field(ge=0, le=1)]
Confidence = Annotated[float, Field(gt=0, lt=1)]
FiniteJson = Annotated[JsonValue, AfterValidator(_finite_json)]


class Record(BaseModel):
    """The rules shared by every record: frozen, no unknown field, no NaN."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class UtilityRow(Record):
    """One metric of one protection's final global model on held-out data."""

    protection: Name
    metric: Name
    value: float | None
    low: float | None
    high: float | None
    n: Count

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.metric != "accuracy" and "acc" in self.metric.lower():
            raise ValueError(
                f"metric={self.metric!r} reads like a second accuracy; "
                "choose a name without 'acc'."
            )
        check_interval(self.value, self.low, self.high, self.n)
        return self


_NEEDS_WHY: dict[str, JsonValue] = {
    "if": {
        "properties": {"verdict": {"enum": ["prevented", "not measured"]}},
        "required": ["verdict"],
    },
    "then": {"properties": {"why": {"minLength": 1}}, "required": ["why"]},
}


class LeakageRow(Record):
    """One attack by one adversary in one scenario; a higher value is worse.

    `null` is what the same attack yields where there is nothing to find. Evidence
    asked for by verdict: *recovered* a value; *leaks* a lower end above the null;
    *not detected* the smallest detectable effect; *prevented* and *not measured*
    a reason in `why`.
    """

    model_config = ConfigDict(json_schema_extra=_NEEDS_WHY)

    protection: Name
    adversary: Name
    view: Name
    scenario: Scenario
    attack: Name
    metric: Name
    value: float | None
    low: float | None
    high: float | None
    confidence: Confidence | None
    n: Count
    n_failed: Count
    null: float | None
    verdict: Verdict
    min_detectable: float | None
    seeds: tuple[int, ...]
    seconds: Amount | None
    why: str = ""

    @model_validator(mode="after")
    def _check(self) -> Self:
        check_interval(self.value, self.low, self.high, self.n)
        if self.n_failed > self.n:
            raise ValueError(f"n_failed={self.n_failed} exceeds n={self.n}.")
        if self.low is not None and self.confidence is None:
            raise ValueError("an interval needs its confidence.")
        match self.verdict:
            case Verdict.RECOVERED:
                if self.value is None:
                    raise ValueError("'recovered' needs the value that shows it.")
            case Verdict.LEAKS:
                check_leaks(self.low, self.null)
            case Verdict.NOT_DETECTED:
                if self.min_detectable is None:
                    raise ValueError(
                        "'not detected' needs min_detectable, the smallest effect "
                        "that this n would have shown."
                    )
            case Verdict.PREVENTED | Verdict.NOT_MEASURED:
                if not self.why.strip():
                    raise ValueError(
                        f"{self.verdict.value!r} needs a reason; state in `why` by "
                        "which rule and assumption, or what was missing."
                    )
        return self


class CrowdRow(Record):
    """How many honest inputs hide in one sum; null where no sum is released.

    The remaining fields are what one attack got from sums of that many honest inputs,
    read as in `LeakageRow`; all are null where no such sum was attacked. A reason has
    no place here, so the verdict is one that rests on the measurement.
    """

    colluders: Count
    dropouts: Count
    honest: Count | None
    attack: Name | None = None
    metric: Name | None = None
    value: float | None = None
    low: float | None = None
    high: float | None = None
    confidence: Confidence | None = None
    n: Count = 0
    null: float | None = None
    verdict: Verdict | None = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        check_interval(self.value, self.low, self.high, self.n)
        named = (self.attack, self.metric, self.verdict)
        if self.value is None:
            if any(v is not None for v in (*named, self.null, self.confidence)):
                raise ValueError(
                    "a sum that was not attacked has no attack, metric, null or "
                    "verdict; leave all of them null."
                )
            return self
        if self.honest is None or any(v is None for v in named):
            raise ValueError(
                "a measured sum needs its count of honest inputs, the attack, the "
                "metric and the verdict."
            )
        if self.low is not None and self.confidence is None:
            raise ValueError("an interval needs its confidence.")
        if self.verdict in (Verdict.PREVENTED, Verdict.NOT_MEASURED):
            raise ValueError(
                f"{str(self.verdict)!r} rests on a reason, not on a measured sum; "
                "leave the measurement null."
            )
        if self.verdict is Verdict.LEAKS:
            check_leaks(self.low, self.null)
        return self


class CostRow(Record):
    """Bytes per client and round, CPU seconds per round."""

    protection: Name
    bytes_up: Amount | None
    bytes_down: Amount | None
    client_cpu_s: Amount | None
    server_cpu_s: Amount | None


def check_interval(
    value: float | None, low: float | None, high: float | None, n: int
) -> None:
    """Refuse a value without a count, half an interval's order, or one outside."""
    if value is None:
        if low is not None or high is not None:
            raise ValueError("an interval needs its value.")
        return
    if n == 0:
        raise ValueError(f"value={value} was measured on n=0; give its count.")
    if (low is not None and low > value) or (high is not None and high < value):
        raise ValueError(f"the interval [{low}, {high}] must hold value={value}.")


def check_leaks(low: float | None, null: float | None) -> None:
    """Refuse *leaks* where the interval does not lie above the null."""
    if low is None or null is None or low <= null:
        raise ValueError(
            f"'leaks' needs low={low} above null={null}; "
            "otherwise the verdict is 'not detected'."
        )
