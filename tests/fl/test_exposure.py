"""Who is exposed: sets of records on the page, single records for their owner alone."""

from __future__ import annotations

import csv
import io
import stat
from dataclasses import replace
from pathlib import Path
from typing import cast

import numpy as np
import pytest

from attacks import balanced_memberships
from fl import exposure
from fl.evidence import Evidence, Repeat
from fl.exposed_plot import exposed
from fl.federation import Federation
from fl.membership import Shadows
from fl.outcomes import SUPPORTS
from fl.report import ExposureRow, GroupKind, LeakageRow, write
from fl.report.risks import Risk, bears_on, risk_views
from tests.fl import tiny
from tests.fl.page import fixture

SETTINGS = tiny.config("federation.clients=4", "federation.corrupt=0")
EXPOSED_CLASS, WRONG_CLASS = 1, 2


def evidence(federation: Federation, *, leak: float = 3.0) -> Evidence:
    """Shadows that training on one class tells on; a model wrong on another class."""
    labels = federation.dataset.labels
    rng = np.random.default_rng(0)
    members = balanced_memberships(24, len(labels), 0.6, 0)
    logits = np.zeros((*members.shape, federation.classes), dtype=np.float32)
    told = leak * members * (labels == EXPOSED_CLASS)
    own = rng.normal(size=members.shape) + told
    np.put_along_axis(
        logits,
        np.broadcast_to(labels[:, None], (24, *labels.shape, 1)),
        own[..., None].astype(np.float32),
        axis=2,
    )
    shadows = Shadows(logits=logits, labels=labels, members=members, seconds=0.0)
    run = type("Run", (), {"correct": labels[federation.held_out.ids] != WRONG_CLASS})
    repeat = type(
        "Repeat",
        (),
        {
            "runs": {"none": run, "secagg": run},
            "federations": {"none": federation, "secagg": federation},
        },
    )
    return Evidence(repeats=[cast(Repeat, repeat)], shadows={"none": shadows})


@pytest.fixture(scope="module")
def federation() -> Federation:
    return tiny.federation(SETTINGS, raw=tiny.dataset(records=240))


@pytest.fixture(scope="module")
def found(federation: Federation) -> dict[tuple[GroupKind, str], ExposureRow]:
    rows = exposure.rows(evidence(federation), SETTINGS)
    return {(row.by, row.group): row for row in rows}


def test_the_exposed_class_stands_above_all_and_the_others_do_not(
    found: dict[tuple[GroupKind, str], ExposureRow],
) -> None:
    whole = found[GroupKind.ALL, "all"]
    classes = [found[GroupKind.CLASS, str(c)] for c in range(3)]
    assert [row.above_all for row in classes] == [False, True, False]
    assert classes[EXPOSED_CLASS].low > whole.distance > classes[0].distance
    assert classes[0].low < 0 < classes[0].high
    (worst,) = (row for (by, _), row in found.items() if by is GroupKind.WORST)
    assert worst.distance > whole.distance
    assert (worst.n, whole.n) == (10, 144)


def test_risk_stands_beside_the_accuracy_of_the_same_kind_of_records(
    federation: Federation, found: dict[tuple[GroupKind, str], ExposureRow]
) -> None:
    held_out = federation.dataset.labels[federation.held_out.ids]
    for one in range(3):
        row = found[GroupKind.CLASS, str(one)]
        assert row.accuracy == (0.0 if one == WRONG_CLASS else 1.0)
        assert row.accuracy_n == (held_out == one).sum()
        assert row.accuracy_low is not None and row.accuracy_low <= row.accuracy
    right = found[GroupKind.ALL, "all"].accuracy
    assert right == pytest.approx((held_out != WRONG_CLASS).mean())


def test_a_clients_accuracy_is_on_held_out_records_of_its_mix_of_classes(
    federation: Federation, found: dict[tuple[GroupKind, str], ExposureRow]
) -> None:
    for client in federation.clients:
        row = found[GroupKind.CLIENT, client.name]
        mix = (client.y != WRONG_CLASS).double().mean().item()
        assert row.n == client.records
        assert row.accuracy == pytest.approx(mix, abs=0.05)


def test_every_kind_is_corrected_for_all_of_its_sets(
    found: dict[tuple[GroupKind, str], ExposureRow],
) -> None:
    asked = {
        GroupKind.ALL: 2,
        GroupKind.WORST: 2,
        GroupKind.CLASS: 3,
        GroupKind.CLIENT: 4,
    }
    for (by, _), row in found.items():
        assert row.confidence == pytest.approx(1 - 0.05 / asked[by])


def test_subgroups_have_rows_where_the_data_name_them() -> None:
    raw = tiny.dataset(records=240)
    people = np.where(raw.labels == EXPOSED_CLASS, 1, np.where(raw.labels == 0, 0, -1))
    grouped = replace(raw, subgroups=people, subgroup_names=("men", "women"))
    rows = exposure.rows(evidence(tiny.federation(SETTINGS, raw=grouped)), SETTINGS)
    own = {row.group: row for row in rows if row.by is GroupKind.SUBGROUP}
    assert set(own) == {"men", "women"}  # those of no subgroup are in none
    assert own["women"].above_all and not own["men"].above_all
    assert own["women"].accuracy == own["men"].accuracy == 1.0


def test_sets_of_a_few_records_are_on_no_page() -> None:
    raw = tiny.dataset(records=240)
    labels = raw.labels.copy()
    labels[np.flatnonzero(labels == 2)[12:]] = 0
    few = tiny.federation(SETTINGS, raw=replace(raw, labels=labels))
    rows = exposure.rows(evidence(few), SETTINGS)
    shown = {row.group for row in rows if row.by is GroupKind.CLASS}
    assert len(shown) == 1 and "2" not in shown  # nor is it what the rest leaves over


def test_many_records_of_a_few_people_are_on_no_page() -> None:
    raw = tiny.dataset(records=240)
    few = np.where(raw.labels == 2, np.arange(240) % 9, np.arange(240))
    fed = tiny.federation(SETTINGS, raw=replace(raw, subjects=few))
    rows = exposure.rows(evidence(fed), SETTINGS)
    shown = {row.group for row in rows if row.by is GroupKind.CLASS}
    assert len(shown) == 1 and "2" not in shown  # nor is it what the rest leaves over


def test_how_well_a_few_held_out_records_are_served_is_on_no_page() -> None:
    raw = tiny.dataset(records=240)
    labels = raw.labels.copy()
    labels[np.flatnonzero(labels == 2)[22:]] = 0
    few = tiny.federation(SETTINGS, raw=replace(raw, labels=labels))
    rows = exposure.rows(evidence(few), SETTINGS)
    (row,) = (row for row in rows if (row.by, row.group) == (GroupKind.CLASS, "2"))
    assert 0 < (labels[few.held_out.ids] == 2).sum() < 10 <= row.n
    assert (row.accuracy, row.accuracy_n) == (None, 0)
    with pytest.raises(ValueError, match="points at people"):
        ExposureRow.model_validate(
            row.model_dump()
            | {"accuracy": 1.0, "accuracy_low": 0.5, "accuracy_high": 1.0}
            | {"accuracy_n": 3}
        )
    whole = next(row for row in rows if row.by is GroupKind.ALL)
    with pytest.raises(ValueError, match="points at people"):
        ExposureRow.model_validate(whole.model_dump() | {"by": GroupKind.CLASS, "n": 9})


def test_the_list_names_record_client_and_class_of_the_most_exposed(
    federation: Federation,
) -> None:
    rows = list(
        csv.DictReader(io.StringIO(exposure.most_exposed(evidence(federation))))
    )
    assert len(rows) == 10
    owner = {row: one.name for one in federation.clients for row in one.ids.tolist()}
    distances = [float(row["distance"]) for row in rows]
    assert distances == sorted(distances, reverse=True)
    for row in rows:
        record = int(row["record"])
        assert row["client"] == owner[record]
        assert row["class"] == str(federation.dataset.labels[record]) == "1"


def test_the_list_is_the_owners_and_the_page_only_says_that_it_is_there(
    tmp_path: Path,
) -> None:
    report = fixture.report()
    listed = write(report, folder=tmp_path, exposed="record\n8471\n", private=True)
    assert listed.exposed is not None
    assert listed.exposed == tmp_path / "private" / "exposed.csv"
    assert stat.S_IMODE(listed.exposed.stat().st_mode) == 0o600
    assert stat.S_IMODE(listed.exposed.parent.stat().st_mode) == 0o700
    for path in (listed.html, listed.json, listed.markdown):
        assert "8471" not in path.read_text()
    assert "private/exposed.csv" in listed.html.read_text()
    without = write(report, folder=tmp_path, private=True)
    assert without.exposed is None
    assert "exposed.csv" not in without.html.read_text()


def test_without_shadows_there_are_no_rows_no_plot_and_no_list(
    federation: Federation,
) -> None:
    nothing = evidence(federation)
    nothing.shadows.clear()
    assert exposure.rows(nothing, SETTINGS) == ()
    assert exposed(nothing, SETTINGS) is None
    assert exposure.most_exposed(nothing) == ""


def test_the_plot_draws_the_exposed_to_the_right_of_chance(
    federation: Federation,
) -> None:
    curve = exposed(evidence(federation), SETTINGS)
    assert curve is not None
    measured, chance = curve.series
    assert (measured.name, chance.role) == ("none", "reference")
    assert measured.x[-1] > chance.x[-1] + 1
    assert min(measured.y) >= 10 / 144  # no point stands for fewer than ten records


def test_every_measure_of_an_attack_bears_on_some_question() -> None:
    metrics = [
        *SUPPORTS,
        "AUC",
        "TPR at 1.0% FPR",
        "exact recoveries (fraction of victims)",
    ]
    for metric in metrics:
        assert bears_on("some attack", metric), metric
    assert bears_on("LiRA", "AUC") == (Risk.LINKABILITY,)
    assert bears_on("linear", "exact recoveries (fraction of victims)") == (
        Risk.SINGLING_OUT,
        Risk.RECONSTRUCTION,
    )
    assert bears_on("label counts", "labels right (fraction)") == (Risk.INFERENCE,)
    assert bears_on("new", "no such metric") == ()


def test_the_four_questions_show_the_worst_verdict_of_each_protection() -> None:
    report = fixture.report()
    views = {view.risk: view for view in risk_views(report)}
    assert list(views) == [risk.value for risk in Risk]

    def worst(protection: str) -> str:
        def counts(row: LeakageRow) -> bool:
            return (
                row.protection == protection
                and row.scenario.value == "worst case"
                and Risk.RECONSTRUCTION in bears_on(row.attack, row.metric)
            )

        ranks = ["recovered", "leaks", "not detected", "prevented", "not measured"]
        return min(
            (r.verdict.value for r in report.leakage if counts(r)), key=ranks.index
        )

    said = dict(
        part.split(": ", 1) for part in views["reconstruction"].worst_case.split("; ")
    )
    for verdict, names in said.items():
        assert all(worst(name) == verdict for name in names.split(", "))
    assert views["inference"].rows == "no row of this page"


def test_a_part_that_is_hidden_cannot_be_told_from_the_rest() -> None:
    # What is left of the whole holds ten people or none, whatever is shown.
    for people in ([50, 40, 4], [50, 12, 3, 2], [50, 40], [9, 30, 5], [4], [0, 20, 30]):
        shown = exposure.shown_of(people)
        left = sum(people) - sum(people[place] for place in shown)
        assert left == 0 or left >= 10 or not shown
        assert all(people[place] >= 10 for place in shown)
    assert exposure.shown_of([50, 40, 4]) == [0]
    assert exposure.shown_of([9, 30, 5]) == [1]
