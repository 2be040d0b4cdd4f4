"""The record refuses what would mislead, and its JSON Schema says what it can."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped, unused-ignore]
import pytest
from pydantic import ValidationError

import fl.report
from fl.report import LeakageRow, Report, Verdict, from_json, to_json
from fl.report.schema import schema_text
from tests.fl.page import fixture

SHIPPED = Path(fl.report.__file__).with_name("report.schema.json")


def record() -> dict[str, Any]:
    return dict(json.loads(to_json(fixture.report())))


def refused(raw: dict[str, Any], match: str) -> None:
    with pytest.raises(ValidationError, match=match):
        from_json(json.dumps(raw))


def row(verdict: Verdict, **changes: object) -> dict[str, object]:
    base: dict[str, object] = {
        "protection": "none",
        "adversary": "server",
        "view": "one client's update",
        "scenario": "worst case",
        "attack": "linear-layer inversion",
        "metric": "psnr_db",
        "value": 20.0,
        "low": 18.0,
        "high": 22.0,
        "confidence": 0.99,
        "n": 40,
        "n_failed": 1,
        "null": 12.0,
        "verdict": verdict,
        "min_detectable": 13.5,
        "seeds": [1],
        "seconds": 2.0,
        "why": "by the rule of pairwise masks",
    }
    return base | changes


def test_the_top_level_is_exactly_the_contract() -> None:
    assert list(record()) == [
        *("schema", "answer", "federation", "utility", "privacy", "leakage", "crowd"),
        *("cost", "baselines", "gates", "not_covered", "ledger", "statements"),
        *("drill", "refused", "audited", "validity", "exposure", "manifest"),
    ]
    assert record()["schema"] == "blindsum.report/1"


def test_json_reads_back_to_the_same_report_and_the_same_text() -> None:
    report = fixture.report()
    assert from_json(to_json(report)) == report
    assert to_json(from_json(to_json(report))) == to_json(report)


def test_the_shipped_schema_is_the_generated_one() -> None:
    assert SHIPPED.read_text() == schema_text(), (
        "write it anew: python -m fl.report.schema"
    )


def test_a_report_meets_the_shipped_schema() -> None:
    schema = json.loads(SHIPPED.read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.Draft202012Validator(schema).validate(record())


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("schema",), "blindsum.report/2"),
        (("answer",), ["one", "two"]),
        (("leakage", 0, "verdict"), "fine"),
        (("leakage", 0, "scenario"), "sometimes"),
        (("leakage", 0, "n"), -1),
        (("leakage", 0, "extra"), 1),
        (("manifest", "simulation"), False),
        (("manifest", "data", "sha256"), "abc"),
        (("federation", "clients"), 0),
    ],
)
def test_schema_and_model_refuse_the_same_tampered_field(
    path: tuple[str | int, ...], value: object
) -> None:
    raw = record()
    place: Any = raw
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    with pytest.raises(ValidationError):
        from_json(json.dumps(raw))
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(raw, json.loads(SHIPPED.read_text()))


def test_schema_and_model_both_want_a_reason_for_prevented() -> None:
    raw = record()
    raw["leakage"][0] |= {"verdict": "prevented", "why": ""}
    refused(raw, "needs a reason")
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(raw, json.loads(SHIPPED.read_text()))


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("field", ["value", "low", "null", "min_detectable", "seconds"])
def test_a_number_that_json_cannot_hold_is_refused(bad: float, field: str) -> None:
    with pytest.raises(ValidationError):
        LeakageRow.model_validate(row(Verdict.RECOVERED, **{field: bad}))


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_nan_deep_in_the_config_is_refused(bad: float) -> None:
    report = fixture.report()
    manifest = report.manifest.model_dump()
    manifest["config"] = {"train": {"rates": [0.1, bad]}}
    with pytest.raises(ValidationError, match=r"finite|null where nothing"):
        type(report.manifest).model_validate(manifest)


def test_two_accuracy_rows_for_one_protection_are_refused() -> None:
    raw = record()
    raw["utility"].append(raw["utility"][0])
    refused(raw, "2 accuracy rows")


def test_a_protection_without_an_accuracy_row_is_refused() -> None:
    raw = record()
    raw["leakage"][0]["protection"] = "bfv"
    refused(raw, "'bfv' has 0 accuracy rows")


def test_a_second_metric_that_reads_like_accuracy_is_refused() -> None:
    raw = record()
    raw["utility"][-1]["metric"] = "balanced_acc"
    refused(raw, "second accuracy")


@pytest.mark.parametrize("table", ["leakage", "crowd", "cost"])
def test_a_repeated_row_is_refused(table: str) -> None:
    raw = record()
    raw[table].append(raw[table][0])
    refused(raw, f"{table} has 2 rows")


@pytest.mark.parametrize("verdict", list(Verdict))
def test_a_row_with_all_its_evidence_is_taken(verdict: Verdict) -> None:
    assert LeakageRow.model_validate(row(verdict)).verdict is verdict


@pytest.mark.parametrize(
    ("verdict", "missing", "match"),
    [
        (
            Verdict.RECOVERED,
            {"value": None, "low": None, "high": None},
            "value that shows",
        ),
        (Verdict.LEAKS, {"null": None}, "above null"),
        (Verdict.LEAKS, {"low": 12.0}, "above null"),
        (Verdict.LEAKS, {"low": None}, "above null"),
        (Verdict.NOT_DETECTED, {"min_detectable": None}, "min_detectable"),
        (Verdict.PREVENTED, {"why": "  "}, "reason"),
        (Verdict.NOT_MEASURED, {"why": ""}, "reason"),
    ],
)
def test_a_verdict_without_its_evidence_is_refused(
    verdict: Verdict, missing: dict[str, object], match: str
) -> None:
    with pytest.raises(ValidationError, match=match):
        LeakageRow.model_validate(row(verdict, **missing))


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"n": 0, "n_failed": 0}, "n=0"),
        ({"low": 21.0}, "must hold"),
        ({"high": 19.0}, "must hold"),
        ({"value": None}, "interval needs its value"),
        ({"confidence": None}, "needs its confidence"),
        ({"confidence": 1.0}, "less than 1"),
        ({"n_failed": 41}, "exceeds n"),
    ],
)
def test_a_number_without_its_uncertainty_is_refused(
    changes: dict[str, object], match: str
) -> None:
    with pytest.raises(ValidationError, match=match):
        LeakageRow.model_validate(row(Verdict.NOT_DETECTED, **changes))


@pytest.mark.parametrize("field", ["ceiling", "confidence"])
def test_a_lower_bound_on_epsilon_needs_its_ceiling_and_confidence(field: str) -> None:
    raw = record()
    measured = next(r for r in raw["privacy"] if r["epsilon_lower"] is not None)
    measured[field] = None
    refused(raw, "epsilon_lower needs")


def test_a_lower_bound_above_its_ceiling_is_refused() -> None:
    raw = record()
    measured = next(r for r in raw["privacy"] if r["epsilon_lower"] is not None)
    measured["ceiling"] = 0.1
    refused(raw, "perfect attack")


@pytest.mark.parametrize("word", ["safe", "Private", "COMPLIANT"])
@pytest.mark.parametrize(
    "place", ["answer", "not_covered", "why", "plan", "statement", "drill", "refused"]
)
def test_words_that_claim_too_much_are_refused(word: str, place: str) -> None:
    raw, sentence = record(), f"The training is {word}."
    if place == "why":
        raw["leakage"][0]["why"] = sentence
    elif place == "plan":
        raw["federation"]["plan_sentence"] = sentence
    elif place == "statement":
        raw["statements"][0]["sentences"][0] = sentence
    elif place == "drill":
        raw["drill"][0]["detail"] = sentence
    elif place == "refused":
        raw["refused"] = [{"protection": "ckks", "why": sentence}]
    else:
        raw[place][0] = sentence
    refused(raw, "claims more")


def test_a_name_that_the_user_chose_may_hold_any_word() -> None:
    raw = record()
    raw["federation"]["data"] = "private/safe.csv"
    raw["answer"][0] = "Trained on private/safe.csv, the accuracy is 0.947."
    assert from_json(json.dumps(raw)).federation.data == "private/safe.csv"


def test_a_report_cannot_be_changed() -> None:
    report = fixture.report()
    with pytest.raises(ValidationError, match="frozen"):
        report.answer = ("a", "b", "c")
    assert isinstance(report, Report)


def test_a_report_of_an_older_version_still_reads() -> None:
    raw = record()
    for table in ("ledger", "statements", "drill", "refused"):
        del raw[table]
    del raw["baselines"]["majority"]
    for cell in raw["crowd"]:
        for field in set(cell) - {"colluders", "dropouts", "honest"}:
            del cell[field]
    report = from_json(json.dumps(raw))
    assert report.ledger == report.drill == report.refused == ()
    assert report.baselines.majority is None
    assert {row.verdict for row in report.crowd} == {None}


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"low": 99.0}, "must hold"),
        ({"n": 0}, "n=0"),
        ({"verdict": None}, "needs its count of honest inputs"),
        ({"attack": None}, "needs its count of honest inputs"),
        ({"honest": None}, "needs its count of honest inputs"),
        ({"confidence": None}, "needs its confidence"),
        ({"verdict": "leaks", "null": 50.0}, "above null"),
        ({"verdict": "prevented"}, "rests on a reason"),
        ({"value": None, "low": None, "high": None}, "not attacked"),
    ],
)
def test_a_sum_measured_in_half_is_refused(
    changes: dict[str, object], match: str
) -> None:
    raw = record()
    measured = next(r for r in raw["crowd"] if r["value"] is not None)
    measured |= changes
    refused(raw, match)


def test_a_ledger_over_its_budget_is_refused() -> None:
    raw = record()
    raw["ledger"][0]["epsilon_spent"] = 8.01
    refused(raw, "a ledger refuses before that")


@pytest.mark.parametrize("noise", [0, 1])
def test_a_drill_whose_outcome_contradicts_its_numbers_is_refused(noise: int) -> None:
    raw = record()
    raw["drill"][noise]["violated"] = not raw["drill"][noise]["violated"]
    refused(raw, "contradicts")


def test_a_drill_above_its_ceiling_is_refused() -> None:
    raw = record()
    raw["drill"][1]["epsilon_lower"] = 5.2
    refused(raw, "perfect attack")


@pytest.mark.parametrize("table", ["utility", "ledger", "statements"])
def test_a_refused_protection_has_no_row(table: str) -> None:
    raw = json.loads(to_json(fixture.refusing()))
    row = json.loads(to_json(fixture.report()))[table][-1]
    raw[table].append(row | {"protection": "central-dp"})
    refused(raw, "refused and yet has rows|has 0 accuracy rows")


@pytest.mark.parametrize("table", ["ledger", "statements", "drill"])
def test_a_repeated_row_about_epsilon_is_refused(table: str) -> None:
    raw = record()
    raw[table].append(raw[table][0])
    refused(raw, f"{table} has 2 rows")


def test_a_measured_epsilon_above_the_proven_one_can_be_shown() -> None:
    broken = [r for r in fixture.report(violated=True).privacy if r.violated]
    assert [r.protection for r in broken] == ["dp-sgd"]
