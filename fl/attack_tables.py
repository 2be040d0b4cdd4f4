"""Attack results for the terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.table import Table

from fl.attack_rows import Row
from fl.attack_update import Answer


def summary(rows: Sequence[Row]) -> Table:
    """Return one line per protection, view, attack and metric."""
    table = Table("protection", "view", "attack", "metric")
    for name in (
        "n", "mean", "interval", "min", "5 %", "median", "95 %", "null", "excess",
        "certified", "refused",
    ):  # fmt: skip
        table.add_column(name, justify="right")
    for row in rows:
        spread = row.quantiles or (None,) * 5
        table.add_row(
            row.protection,
            row.view,
            row.attack,
            row.metric,
            str(row.n),
            _number(row.value),
            _interval(row.low, row.high),
            _number(row.minimum),
            _number(spread[0]),
            _number(spread[2]),
            _number(spread[4]),
            _number(row.null),
            _interval(row.excess_low, row.excess_high),
            str(row.certified),
            str(row.refused),
        )
    return table


def sentences(rows: Sequence[Row]) -> Iterator[str]:
    """Say what the intervals mean, and why attacks gave up."""
    yield (
        "Intervals hold together at 95 % over all rows; null: the same answers beside "
        "other real records; excess: interval of the mean of value - null per victim."
    )
    said = {(row.attack, row.why): row.refused for row in rows if row.why}
    for (attack, why), count in said.items():
        yield f"{attack} gave up on {count}: {why}"


def answers(found: Sequence[Answer]) -> Table:
    """Return one line per attack on a saved update."""
    table = Table("attack", "certificate", "records", "objective", "seconds", "why")
    for one in found:
        table.add_row(
            one.attack,
            one.certificate.value,
            str(one.records),
            "-" if one.objective is None else f"{one.objective:.3g}",
            f"{one.seconds:.2f}",
            one.reason,
        )
    return table


def _interval(low: float | None, high: float | None) -> str:
    if low is None or high is None:
        return "-"
    return f"{low:.2f} to {high:.2f}"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"
