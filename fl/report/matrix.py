"""Who learns what under which protection: the leakage rows, grouped into cells.

A cell holds all rows of one (scenario, adversary, protection). Its verdict is that of
its worst row; rows of different scenarios never meet in one cell.

It does NOT test hypotheses: the verdicts come with the rows.
"""

from __future__ import annotations

from dataclasses import dataclass

from fl.report.records import LeakageRow, Scenario, Verdict
from fl.report.schema import Report

_ADVERSARIES = ("server", "malicious_server", "client", "outsider")
_WORST_FIRST = tuple(Verdict)


@dataclass(frozen=True, slots=True)
class Cell:
    """All attacks on one protection by one adversary in one scenario."""

    protection: str
    verdict: Verdict
    rows: tuple[LeakageRow, ...]  # the deciding row first

    @property
    def best(self) -> LeakageRow | None:
        """Return the row that decides the verdict; None for an empty cell."""
        return self.rows[0] if self.rows else None

    @property
    def tally(self) -> str:
        """Count the cell's attacks on each view by their worst verdict, in words."""
        worst: dict[tuple[str, str], Verdict] = {}
        for row in self.rows:  # rows come worst first
            worst.setdefault((row.attack, row.view), row.verdict)
        if len(worst) == 1:
            rows = len(self.rows)
            return "1 attack" if rows == 1 else f"1 attack, {rows} measurements"
        found = list(worst.values())
        counts = [
            f"{found.count(verdict)} {verdict.value}"
            for verdict in _WORST_FIRST
            if verdict in found
        ]
        return f"{len(worst)} attacks: {', '.join(counts)}"


@dataclass(frozen=True, slots=True)
class Line:
    """One adversary's row of the matrix: a cell per protection."""

    adversary: str
    cells: tuple[Cell, ...]


@dataclass(frozen=True, slots=True)
class Band:
    """One scenario's table; no lines where nothing was measured."""

    scenario: Scenario
    lines: tuple[Line, ...]


def bands(report: Report) -> tuple[Band, Band]:
    """Group the leakage rows into the two tables of the page.

    Guarantees that every row is in exactly one cell and that every adversary named
    in either scenario has a line in each scenario that has any row.

    Args:
        report: the whole report; its protections give the columns.

    Returns:
        The band as configured, then the worst case.
    """
    adversaries = sorted(
        dict.fromkeys(r.adversary for r in report.leakage), key=_adversary_order
    )
    return (
        _band(report, Scenario.AS_CONFIGURED, adversaries),
        _band(report, Scenario.WORST_CASE, adversaries),
    )


def _band(report: Report, scenario: Scenario, adversaries: list[str]) -> Band:
    rows = [r for r in report.leakage if r.scenario is scenario]
    if not rows:
        return Band(scenario, ())
    return Band(
        scenario,
        tuple(
            Line(
                adversary,
                tuple(
                    _cell(
                        protection,
                        [
                            r
                            for r in rows
                            if r.adversary == adversary and r.protection == protection
                        ],
                    )
                    for protection in report.protections
                ),
            )
            for adversary in adversaries
        ),
    )


def _cell(protection: str, rows: list[LeakageRow]) -> Cell:
    if not rows:
        return Cell(protection, Verdict.NOT_MEASURED, ())
    ranked = sorted(rows, key=_worst_first)
    return Cell(protection, ranked[0].verdict, tuple(ranked))


def _worst_first(row: LeakageRow) -> tuple[int, float]:
    """Order by verdict, then by distance from the null in interval widths.

    Metrics differ in unit, so the distance is counted in the one scale they share:
    their own uncertainty.
    """
    rank = _WORST_FIRST.index(row.verdict)
    if row.value is None or row.null is None:
        return rank, 0.0
    if row.low is None or row.high is None or row.high == row.low:
        return rank, -float("inf") if row.value > row.null else 0.0
    return rank, -(row.value - row.null) / (row.high - row.low)


def _adversary_order(adversary: str) -> tuple[int, str]:
    """Put DESIGN section 5's adversaries first, each followed by its collusions."""
    name = adversary.partition("+")[0]
    known = _ADVERSARIES.index(name) if name in _ADVERSARIES else len(_ADVERSARIES)
    return known, adversary
