"""Results as tables for the terminal; the page shows the same rows in full."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table

from fl.report import Report, UtilityRow


def accuracies(rows: Sequence[UtilityRow]) -> Table:
    """Return one line per metric and protection."""
    table = Table("protection", "metric", "value", "low", "high", "n")
    for row in rows:
        numbers = (_number(row.value), _number(row.low), _number(row.high))
        table.add_row(row.protection, row.metric, *numbers, str(row.n))
    return table


def attacks(found: Report) -> Table:
    """Return the measured rows as a table, intervals included."""
    table = Table("protection", "adversary", "scenario", "view", "attack", "metric")
    for name in ("value", "interval", "null", "n"):
        table.add_column(name, justify="right")
    table.add_column("verdict")
    for row in found.leakage:
        if row.value is None:
            continue
        table.add_row(
            row.protection,
            row.adversary,
            row.scenario.value,
            row.view,
            row.attack,
            row.metric,
            _number(row.value),
            f"{_number(row.low)} to {_number(row.high)}",
            _number(row.null),
            str(row.n),
            row.verdict.value,
        )
    return table


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
