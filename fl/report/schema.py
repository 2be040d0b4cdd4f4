"""The report as frozen, typed values: what `report.json` may hold.

One model per record of DESIGN section 6. Everything that a reader could be misled
by is refused here and nowhere else: a number without its count, an interval that
does not hold its value, NaN or Infinity, a verdict without its evidence.
`report.schema.json` beside this file is what `schema_text` gives; a test compares.

It does NOT decide verdicts, compute intervals or format anything.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Hashable, Iterable
from enum import StrEnum
from typing import Annotated, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    model_validator,
)

SCHEMA_ID: Literal["blindsum.report/1"] = "blindsum.report/1"
# Claims that no measurement supports; a report that needs one of them is wrong.
REFUSED_WORDS = ("safe", "private", "compliant")
_REFUSED = re.compile(rf"\b({'|'.join(REFUSED_WORDS)})\b", re.IGNORECASE)


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


def _plain_words(text: str) -> str:
    """Refuse prose that claims more than a measurement can."""
    found = _REFUSED.search(text)
    if found:
        raise ValueError(
            f"the word {found.group(0)!r} claims more than was measured; "
            "say what was measured, against which adversary."
        )
    return text


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
Sentence = Annotated[str, Field(min_length=1), AfterValidator(_plain_words)]
Count = Annotated[int, Field(ge=0)]
Amount = Annotated[float, Field(ge=0)]
Probability = Annotated[float, Field(ge=0, le=1)]
Confidence = Annotated[float, Field(gt=0, lt=1)]
FiniteJson = Annotated[JsonValue, AfterValidator(_finite_json)]


class _Record(BaseModel):
    """The rules shared by every record: frozen, no unknown field, no NaN."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Federation(_Record):
    """Who took part, on what, under which plan.

    `plan_sentence` is the plan's own guarantee in words; `threshold` and
    `honest_min` are null where no secure aggregation was planned.
    """

    clients: Annotated[int, Field(ge=1)]
    corrupt: Count
    drop: Count
    threshold: Count | None
    honest_min: Count | None
    rounds: Count
    partition: Name
    records: Count
    test_records: Count
    input_shape: tuple[Annotated[int, Field(ge=1)], ...]
    classes: Count
    model: Name
    parameters: Count
    data: Name
    plan_sentence: Sentence


class UtilityRow(_Record):
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
        _check_interval(self.value, self.low, self.high, self.n)
        return self


class PrivacyRow(_Record):
    """The proven upper and the measured lower bound on epsilon.

    `ceiling` is the epsilon that a perfect attack would have shown with the same
    canaries and confidence: without it a small lower bound says nothing.
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

    @model_validator(mode="after")
    def _check(self) -> Self:
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


_NEEDS_WHY: dict[str, JsonValue] = {
    "if": {
        "properties": {"verdict": {"enum": ["prevented", "not measured"]}},
        "required": ["verdict"],
    },
    "then": {"properties": {"why": {"minLength": 1}}, "required": ["why"]},
}


class LeakageRow(_Record):
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
    why: Annotated[str, AfterValidator(_plain_words)] = ""

    @model_validator(mode="after")
    def _check(self) -> Self:
        _check_interval(self.value, self.low, self.high, self.n)
        if self.n_failed > self.n:
            raise ValueError(f"n_failed={self.n_failed} exceeds n={self.n}.")
        if self.low is not None and self.confidence is None:
            raise ValueError("an interval needs its confidence.")
        match self.verdict:
            case Verdict.RECOVERED:
                if self.value is None:
                    raise ValueError("'recovered' needs the value that shows it.")
            case Verdict.LEAKS:
                if self.low is None or self.null is None or self.low <= self.null:
                    raise ValueError(
                        f"'leaks' needs low={self.low} above null={self.null}; "
                        "otherwise the verdict is 'not detected'."
                    )
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


class CrowdRow(_Record):
    """How many honest inputs hide in one sum; null where no sum is released."""

    colluders: Count
    dropouts: Count
    honest: Count | None


class CostRow(_Record):
    """Bytes per client and round, CPU seconds per round."""

    protection: Name
    bytes_up: Amount | None
    bytes_down: Amount | None
    client_cpu_s: Amount | None
    server_cpu_s: Amount | None


class PooledBaseline(_Record):
    """Accuracy of one model trained on all records in one place."""

    value: Probability
    low: Probability
    high: Probability
    n: Annotated[int, Field(ge=1)]

    @model_validator(mode="after")
    def _check(self) -> Self:
        _check_interval(self.value, self.low, self.high, self.n)
        return self


class LocalBaseline(_Record):
    """Accuracy of models that each client trains alone: mean, worst and best."""

    mean: Probability
    low: Probability
    high: Probability
    n: Annotated[int, Field(ge=1)]

    @model_validator(mode="after")
    def _check(self) -> Self:
        _check_interval(self.mean, self.low, self.high, self.n)
        return self


class Baselines(_Record):
    """What federated training is compared with; null where not trained."""

    pooled: PooledBaseline | None
    local_only: LocalBaseline | None


class Gate(_Record):
    """One condition that the run had to meet."""

    name: Name
    passed: bool
    detail: str


class Machine(_Record):
    """Where it ran."""

    cpu: Name
    cores: Annotated[int, Field(ge=1)]
    python: Name
    torch: Name | None


class DataSource(_Record):
    """Where the records came from and the hash of what was read."""

    origin: Literal["built-in", "user"]
    provenance: Name
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None


class Manifest(_Record):
    """All that is needed to run it again."""

    run: Name
    version: Name
    commit: Name | None
    seed: int
    seeds: dict[str, int]
    config: dict[str, FiniteJson]
    started_utc: Annotated[str, Field(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$")]
    seconds: Amount
    machine: Machine
    simulation: Literal[True]
    data: DataSource
    packages: dict[str, str]


class Report(_Record):
    """One audit, whole: the only input that `report.json` is written from.

    Guarantees on construction: every protection named anywhere has exactly one
    accuracy row, no measurement appears twice, and each crowd cell is given once.
    """

    schema_id: Literal["blindsum.report/1"] = Field(default=SCHEMA_ID, alias="schema")
    answer: tuple[Sentence, Sentence, Sentence]
    federation: Federation
    utility: tuple[UtilityRow, ...]
    privacy: tuple[PrivacyRow, ...]
    leakage: tuple[LeakageRow, ...]
    crowd: tuple[CrowdRow, ...]
    cost: tuple[CostRow, ...]
    baselines: Baselines
    gates: tuple[Gate, ...]
    not_covered: tuple[Sentence, ...]
    manifest: Manifest

    @property
    def protections(self) -> tuple[str, ...]:
        """Name the protections in the order of their accuracy rows."""
        return tuple(r.protection for r in self.utility if r.metric == "accuracy")

    @model_validator(mode="after")
    def _check(self) -> Self:
        self._check_protections()
        _refuse_repeats(
            "leakage",
            (
                (
                    r.protection,
                    r.adversary,
                    r.view,
                    r.scenario.value,
                    r.attack,
                    r.metric,
                )
                for r in self.leakage
            ),
        )
        _refuse_repeats("crowd", ((r.colluders, r.dropouts) for r in self.crowd))
        _refuse_repeats("utility", ((r.protection, r.metric) for r in self.utility))
        _refuse_repeats("cost", (r.protection for r in self.cost))
        return self

    def _check_protections(self) -> None:
        """Require exactly one accuracy row for every protection named anywhere."""
        rows = Counter(self.protections)
        named = [
            r.protection
            for table in (self.utility, self.privacy, self.leakage, self.cost)
            for r in table
        ]
        for protection in dict.fromkeys(named):
            if rows[protection] != 1:
                raise ValueError(
                    f"protection {protection!r} has {rows[protection]} accuracy rows "
                    "in utility; give exactly one."
                )


def to_json(report: Report) -> str:
    """Write the report as JSON text, the same bytes for the same report.

    Returns:
        UTF-8 text ending in a newline; absent numbers are null, never NaN.
    """
    record = report.model_dump(mode="json", by_alias=True)
    return json.dumps(record, allow_nan=False, ensure_ascii=False, indent=2) + "\n"


def from_json(text: str) -> Report:
    """Read a report back from `report.json`.

    Args:
        text: the whole file.

    Returns:
        The report; `to_json` of it gives the same text.

    Raises:
        pydantic.ValidationError: the file's fault; it names each wrong field.
    """
    return Report.model_validate_json(text)


def schema_text() -> str:
    """Write the JSON Schema (draft 2020-12) of `report.json` as text.

    The rules between rows (one accuracy row per protection, no repeats, intervals
    that hold their value) are checked by `Report` only: JSON Schema cannot say them.
    """
    schema = Report.model_json_schema(by_alias=True, mode="serialization")
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:{SCHEMA_ID.replace('/', ':')}",
        **schema,
    }
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


def _check_interval(
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


def _refuse_repeats(table: str, keys: Iterable[Hashable]) -> None:
    """Refuse two rows with the same key."""
    for key, times in Counter(keys).items():
        if times > 1:
            raise ValueError(f"{table} has {times} rows for {key}; give one.")
