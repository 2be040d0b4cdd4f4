"""Results as tables for the terminal; the page shows the same rows in full."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from fl.change import Change, Difference, Setting
from fl.compare import Comparison
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


def differences(rows: Sequence[Difference]) -> Table:
    """Return what got worse, better, came and went, one line each."""
    table = Table("", "what", "old", "new")
    for row in rows:
        style = "bold" if row.change is Change.WORSE else ""
        table.add_row(
            Text(row.change.value, style=style),
            *(Text(cell) for cell in (row.what, row.old, row.new)),
        )
    return table


def settings(rows: Sequence[Setting]) -> Table:
    """Return the settings that differ between two runs."""
    table = Table("setting", "old", "new")
    for row in rows:
        table.add_row(*(Text(cell) for cell in (row.key, row.old, row.new)))
    return table


def tally(found: Comparison) -> str:
    """Say in one sentence what the tables hold, and what is wrong with the new run."""
    counts = ", ".join(f"{found.count(change)} {change.value}" for change in Change)
    differ = len(found.settings)
    said = (
        f"{counts}; {differ} {'setting differs' if differ == 1 else 'settings differ'}"
    )
    if found.failed:
        said += f"; gates that fail now: {', '.join(found.failed)}"
    if found.violated:
        said += f"; VIOLATION: {' '.join(found.violated).rstrip('.')}"
    return f"{said}."


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
