"""`report diff`: what changed between two reports, and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fl.change import Change, Difference
from fl.cli import run
from fl.compare import Comparison, compare
from fl.console import tally
from fl.report import Report, Verdict, write
from fl.status import GATE_FAILED
from tests.fl.page import fixture

OLD = fixture.report()


def changed(table: str, at: int, report: Report = OLD, **numbers: Any) -> Report:
    """Return the report with some fields of one row set."""
    rows = list(getattr(report, table))
    rows[at] = rows[at].model_copy(update=numbers)
    return report.model_copy(update={table: tuple(rows)})


def without(table: str, at: int) -> Report:
    """Return the report without one row."""
    rows = list(getattr(OLD, table))
    del rows[at]
    return OLD.model_copy(update={table: tuple(rows)})


def only(found: Comparison) -> Difference:
    (difference,) = found.differences
    return difference


def at(wanted: Callable[[Any], bool], table: str = "leakage") -> int:
    """Return the index of the first row that is wanted."""
    return next(i for i, row in enumerate(getattr(OLD, table)) if wanted(row))


QUIET = at(lambda r: r.verdict is Verdict.NOT_DETECTED)
LEAK = at(lambda r: r.verdict is Verdict.LEAKS)
HELD = at(lambda r: r.verdict is Verdict.PREVENTED)
UNSEEN = at(lambda r: r.verdict is Verdict.NOT_MEASURED)


def test_nothing_changed_gives_nothing() -> None:
    found = compare(OLD, OLD)
    assert found == Comparison(differences=(), settings=(), failed=(), violated=())
    assert not found.alarming
    assert tally(found) == "0 worse, 0 better, 0 new, 0 gone; 0 settings differ."


@pytest.mark.parametrize(
    ("row", "verdict", "change"),
    [
        (QUIET, Verdict.LEAKS, Change.WORSE),
        (LEAK, Verdict.RECOVERED, Change.WORSE),
        (HELD, Verdict.LEAKS, Change.WORSE),
        (LEAK, Verdict.NOT_DETECTED, Change.BETTER),
        (LEAK, Verdict.NOT_MEASURED, Change.GONE),
        (UNSEEN, Verdict.LEAKS, Change.NEW),
    ],
)
def test_a_verdict_that_changes_is_told(
    row: int, verdict: Verdict, change: Change
) -> None:
    found = only(compare(OLD, changed("leakage", row, verdict=verdict)))
    assert found.change is change
    assert found.what.startswith(OLD.leakage[row].protection)


@pytest.mark.parametrize(
    ("shift", "change"), [(5.0, Change.WORSE), (-5.0, Change.BETTER)]
)
def test_intervals_that_do_not_overlap_are_told(shift: float, change: Change) -> None:
    row = OLD.leakage[LEAK]
    assert row.value and row.low and row.high
    moved = changed(
        "leakage",
        LEAK,
        value=row.value + shift,
        low=row.low + shift,
        high=row.high + shift,
    )
    assert only(compare(OLD, moved)).change is change


def test_intervals_that_touch_are_no_change() -> None:
    row = OLD.leakage[LEAK]
    assert row.low is not None and row.high is not None
    touching = changed("leakage", LEAK, low=row.high, value=row.high, high=row.high + 1)
    assert compare(OLD, touching).differences == ()


def test_a_row_that_came_is_new_and_one_that_went_is_gone() -> None:
    assert only(compare(without("leakage", LEAK), OLD)).change is Change.NEW
    assert only(compare(OLD, without("leakage", LEAK))).change is Change.GONE


def test_another_view_is_another_row() -> None:
    found = compare(OLD, changed("leakage", LEAK, view="the second round"))
    assert [d.change for d in found.differences] == [Change.NEW, Change.GONE]


@pytest.mark.parametrize(
    ("numbers", "change"),
    [
        ({"value": 0.9, "low": 0.88, "high": 0.915}, Change.WORSE),
        ({"value": 0.99, "low": 0.98, "high": 0.995}, Change.BETTER),
        ({"value": 0.93, "low": 0.90, "high": 0.95}, None),
    ],
)
def test_accuracy_is_compared_by_its_intervals(
    numbers: dict[str, float], change: Change | None
) -> None:
    found = compare(OLD, changed("utility", 0, **numbers))
    assert [d.change for d in found.differences] == ([change] if change else [])


@pytest.mark.parametrize(
    ("epsilon", "change"),
    [(8.1, Change.WORSE), (None, Change.WORSE), (7.5, Change.BETTER)],
)
def test_a_proven_epsilon_that_moves_is_told(
    epsilon: float | None, change: Change
) -> None:
    found = only(compare(OLD, changed("privacy", 3, epsilon_upper=epsilon)))
    assert found.change is change
    assert "7.94" in found.old


def test_a_new_violation_is_worse_and_alarming_and_an_old_one_only_alarming() -> None:
    broken = fixture.report(violated=True)
    found = compare(OLD, broken)
    assert only(found).change is Change.WORSE
    assert found.alarming and len(found.violated) == 1
    again = compare(broken, broken)
    assert again.differences == () and again.alarming
    assert "VIOLATION" in tally(again)
    mended = compare(broken, OLD)
    assert only(mended).change is Change.BETTER and not mended.alarming


@pytest.mark.parametrize(
    ("factor", "change"), [(1.11, Change.WORSE), (1.09, None), (0.5, Change.BETTER)]
)
def test_a_cost_counts_from_ten_per_cent_on(
    factor: float, change: Change | None
) -> None:
    up = (OLD.cost[1].bytes_up or 0) * factor
    found = compare(OLD, changed("cost", 1, bytes_up=up))
    assert [d.change for d in found.differences] == ([change] if change else [])


def test_a_gate_that_fails_now_is_named_and_alarming() -> None:
    failing = fixture.report(passed=False)
    found = compare(OLD, failing)
    assert only(found).change is Change.WORSE
    assert found.failed == ("measured epsilon below proven epsilon",)
    assert found.alarming
    assert only(compare(failing, OLD)).change is Change.BETTER
    assert compare(failing, failing).alarming


def test_fewer_honest_inputs_per_sum_are_worse() -> None:
    found = only(compare(OLD, changed("crowd", 0, honest=9)))
    assert (found.change, found.old, found.new) == (Change.WORSE, "10", "9")


def test_a_protection_that_is_refused_now_is_gone_in_one_line() -> None:
    found = compare(fixture.report(clients=4), fixture.refusing())
    gone = [d for d in found.differences if d.change is Change.GONE]
    assert [d.what for d in gone] == [
        "protection central-dp",
        "protection secagg+central-dp",
    ]
    assert {d.new for d in gone} == {"refused"}
    back = compare(fixture.refusing(), fixture.report(clients=4))
    assert back.count(Change.NEW) == 2


def test_settings_that_differ_are_listed_by_their_path() -> None:
    found = compare(OLD, fixture.report(clients=12, data="wine"))
    assert {s.key for s in found.settings} == {"data.name", "federation.clients"}
    clients = next(s for s in found.settings if s.key == "federation.clients")
    assert (clients.old, clients.new) == ("10", "12")


def test_the_worst_comes_first() -> None:
    new = changed("cost", 1, bytes_up=1.0)
    new = changed("leakage", QUIET, new, verdict=Verdict.LEAKS)
    assert [d.change for d in compare(OLD, new).differences] == [
        Change.WORSE,
        Change.BETTER,
    ]


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, one in (
        ("before", OLD),
        ("diff", fixture.report(passed=False, violated=True)),
    ):
        (tmp_path / name).mkdir()
        write(one, folder=tmp_path / name, private=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_command_prints_the_table_the_count_and_its_status(
    runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["report", "diff", "before", "before"]) == 0
    assert capsys.readouterr().out.startswith("0 worse")
    assert run(["report", "diff", "before", "diff"]) == GATE_FAILED
    said = capsys.readouterr().out
    assert "at least 9.21" in said
    assert said.splitlines()[-1].startswith("2 worse, 0 better, 0 new, 0 gone")


def test_a_folder_called_diff_can_be_shown(
    runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["report", "./diff"]) == 0
    assert "Page: diff" in capsys.readouterr().out
    assert run(["report", "show", "before"]) == 0


def test_the_help_of_report_shows_both_uses(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["report", "--help"]) == 0
    said = capsys.readouterr().out.partition("Examples")[2]
    assert "blindsum report runs/latest" in said
    assert "blindsum report diff" in said


def test_a_report_without_its_run_is_one_sentence(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for arguments in (["report"], ["report", "diff", "one"], ["report", "--pdf"]):
        assert run(arguments) == 2
        assert len(capsys.readouterr().err.strip().splitlines()) == 1
