"""The report as one frozen value: what `report.json` may hold.

The top level is DESIGN section 6's, name by name. `report.schema.json` beside this
file is what `schema_text` gives; a test compares.

It does NOT format anything for reading: the page and the text report do.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Hashable, Iterable
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from fl.report.audited import AuditedModel
from fl.report.baselines import Baselines
from fl.report.epsilon import DrillRow, LedgerRow, PrivacyRow, Refusal, Statement
from fl.report.exposed import ExposureRow
from fl.report.manifest import DataSource, Machine, Manifest
from fl.report.records import (
    CostRow,
    Count,
    CrowdRow,
    LeakageRow,
    Name,
    Record,
    Scenario,
    UtilityRow,
    Verdict,
    refused_word,
)
from fl.report.validity import ValidityRow

# The record's types can be had from here too, wherever they are defined.
__all__ = [
    "SCHEMA_ID",
    "AuditedModel",
    "Baselines",
    "CostRow",
    "CrowdRow",
    "DataSource",
    "DrillRow",
    "ExposureRow",
    "Federation",
    "Gate",
    "LeakageRow",
    "LedgerRow",
    "Machine",
    "Manifest",
    "PrivacyRow",
    "Refusal",
    "Report",
    "Scenario",
    "Statement",
    "UtilityRow",
    "ValidityRow",
    "Verdict",
    "from_json",
    "schema_text",
    "to_json",
]

SCHEMA_ID: Literal["blindsum.report/1"] = "blindsum.report/1"


class Federation(Record):
    """Who took part, on what, under which plan.

    `plan_sentence` is the plan's own guarantee in words; `threshold` and
    `honest_min` are null where no secure aggregation was planned. `cohort` is how many
    clients are expected in a round. `trained` is how clients' training was batched, and
    why so; it changes no result.
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
    plan_sentence: Name
    cohort: Annotated[int, Field(ge=1)] | None = None
    trained: Name | None = None


class Gate(Record):
    """One condition that the run had to meet."""

    name: Name
    passed: bool
    detail: str


class Report(Record):
    """One audit, whole: the only input that `report.json` is written from.

    `federation` is null for a model that was trained elsewhere, which `audited`
    describes instead; one of the two is there.

    Guarantees on construction: every protection named anywhere has exactly one
    accuracy row, a refused one has no row at all, no measurement appears twice, each
    crowd cell is given once, and no sentence of ours says "safe", "private" or
    "compliant"; names that the user chose (data, model) may hold any word. A measured
    epsilon above the proven one is taken: a violation must be showable.
    """

    schema_id: Literal["blindsum.report/1"] = Field(default=SCHEMA_ID, alias="schema")
    answer: tuple[Name, Name, Name]
    federation: Federation | None
    utility: tuple[UtilityRow, ...]
    privacy: tuple[PrivacyRow, ...]
    leakage: tuple[LeakageRow, ...]
    crowd: tuple[CrowdRow, ...]
    cost: tuple[CostRow, ...]
    baselines: Baselines
    gates: tuple[Gate, ...]
    not_covered: tuple[Name, ...]
    ledger: tuple[LedgerRow, ...] = ()
    statements: tuple[Statement, ...] = ()
    drill: tuple[DrillRow, ...] = ()
    refused: tuple[Refusal, ...] = ()
    audited: AuditedModel | None = None
    validity: tuple[ValidityRow, ...] = ()
    exposure: tuple[ExposureRow, ...] = ()
    manifest: Manifest

    @property
    def protections(self) -> tuple[str, ...]:
        """Name the protections in the order of their accuracy rows."""
        return tuple(r.protection for r in self.utility if r.metric == "accuracy")

    @property
    def setting(self) -> Federation | AuditedModel:
        """Return what was audited: a federation, or a model trained elsewhere."""
        found = self.audited if self.federation is None else self.federation
        assert found is not None
        return found

    @model_validator(mode="after")
    def _check(self) -> Self:
        if (self.federation is None) == (self.audited is None):
            raise ValueError("give the federation, or the model trained elsewhere.")
        self._check_protections()
        self._check_words()
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
        _refuse_repeats(
            "ledger", ((r.protection, r.party, r.unit) for r in self.ledger)
        )
        for table, rows in (("statements", self.statements), ("refused", self.refused)):
            _refuse_repeats(table, (r.protection for r in rows))
        _refuse_repeats(
            "exposure", ((r.protection, r.by, r.group) for r in self.exposure)
        )
        _refuse_repeats("validity", (r.view for r in self.validity))
        _refuse_repeats("drill", ((r.name, r.noise) for r in self.drill))
        return self

    def _check_words(self) -> None:
        """Refuse prose that claims more than a measurement can."""
        said = self.setting
        sentences = [
            *self.answer,
            *self.not_covered,
            *(r.why for r in self.leakage),
            *(s for r in self.statements for s in r.sentences),
            *(r.detail for r in self.drill),
            *(r.why for r in self.refused),
            said.sentence if isinstance(said, AuditedModel) else said.plan_sentence,
        ]
        for sentence in sentences:
            ours = sentence
            for given in (said.data, said.model):
                ours = ours.replace(given, "")
            word = refused_word(ours)
            if word:
                raise ValueError(
                    f"the word {word!r} in {sentence!r} claims more than was measured; "
                    "say what was measured, against which adversary."
                )

    def _check_protections(self) -> None:
        """Require one accuracy row per protection that has rows, none if refused."""
        rows = Counter(self.protections)
        measured = (self.utility, self.privacy, self.leakage, self.cost)
        stated = (self.ledger, self.statements, self.exposure)
        named = [r.protection for table in (*measured, *stated) for r in table]
        for protection in dict.fromkeys(named):
            if rows[protection] != 1:
                raise ValueError(
                    f"protection {protection!r} has {rows[protection]} accuracy rows "
                    "in utility; give exactly one."
                )
        for refusal in self.refused:
            if refusal.protection in named:
                raise ValueError(
                    f"protection {refusal.protection!r} is refused and yet has rows; "
                    "leave out the one or the other."
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


def _refuse_repeats(table: str, keys: Iterable[Hashable]) -> None:
    """Refuse two rows with the same key."""
    for key, times in Counter(keys).items():
        if times > 1:
            raise ValueError(f"{table} has {times} rows for {key}; give one.")


if __name__ == "__main__":
    target = Path(__file__).with_name("report.schema.json")
    target.write_text(schema_text(), encoding="utf-8")
