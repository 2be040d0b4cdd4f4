"""The crowd table: how many honest inputs one sum holds, and what an attack got there.

It does NOT compute any statistic.
"""

from __future__ import annotations

from dataclasses import dataclass

from fl.report import wording
from fl.report.records import CrowdRow
from fl.report.schema import Report

# A sum of fewer honest inputs than this is shown as a small crowd.
FEW_HONEST = 3


@dataclass(frozen=True, slots=True)
class CrowdCell:
    """One sum: its honest inputs, the class that shades it, the attack's finding."""

    text: str
    note: str
    kind: str
    verdict: str = ""
    figure: str = ""
    span: str = ""


@dataclass(frozen=True, slots=True)
class CrowdGrid:
    """The crowd table: one row per number of colluders.

    `attacks` says what was tried on the sums; `measured` lists every number of it.
    """

    dropouts: tuple[int, ...]
    rows: tuple[tuple[int, tuple[CrowdCell, ...]], ...]
    attacks: str
    measured: tuple[tuple[str, ...], ...]


MEASURED_HEAD = (
    *("colluding", "vanish", "honest inputs", "attack", "verdict", "value"),
    *("interval", "confidence", "null", "n"),
)


def crowd_grid(report: Report) -> CrowdGrid | None:
    """Lay out the crowd table; None where the report has no crowd rows."""
    if not report.crowd:
        return None
    sums = {(r.colluders, r.dropouts): r for r in report.crowd}
    dropouts = tuple(sorted({r.dropouts for r in report.crowd}))
    colluders = sorted({r.colluders for r in report.crowd})
    return CrowdGrid(
        dropouts,
        tuple((a, tuple(_cell(sums.get((a, d))) for d in dropouts)) for a in colluders),
        _attacks(report.crowd),
        tuple(_numbers(r) for r in report.crowd if r.value is not None),
    )


def _cell(row: CrowdRow | None) -> CrowdCell:
    if row is None:
        return CrowdCell(wording.NONE, "", "unmeasured")
    if row.honest is None:
        return CrowdCell("no sum", "the round aborts", "none")
    kind = "few" if row.honest < FEW_HONEST else "many"
    note = ""
    if row.honest <= 1:
        kind, note = "one", "nothing hides it"
    if row.value is None or row.metric is None or row.verdict is None:
        return CrowdCell(str(row.honest), note, kind)
    return CrowdCell(
        str(row.honest),
        note,
        kind,
        verdict=row.verdict.value,
        figure=f"{wording.metric_name(row.metric)} "
        f"{wording.measure(row.value, row.metric)}",
        span=wording.interval(row.low, row.high, row.metric)
        + f" null {wording.measure(row.null, row.metric)}",
    )


def _attacks(rows: tuple[CrowdRow, ...]) -> str:
    """Name what was tried, with its null where all sums share one."""
    said = []
    for name in dict.fromkeys(r.attack for r in rows if r.attack):
        own = [r for r in rows if r.attack == name]
        nulls = {wording.measure(r.null, r.metric or "") for r in own}
        null = f" (null {nulls.pop()})" if len(nulls) == 1 else ""
        said.append(f"{name}{null}")
    return ", ".join(said)


def _numbers(row: CrowdRow) -> tuple[str, ...]:
    metric = row.metric or ""
    return (
        str(row.colluders),
        str(row.dropouts),
        wording.number(row.honest),
        f"{row.attack}, {wording.metric_name(metric)}",
        row.verdict.value if row.verdict else wording.NONE,
        wording.measure(row.value, metric),
        wording.interval(row.low, row.high, metric) or wording.NONE,
        wording.level(row.confidence),
        wording.measure(row.null, metric),
        str(row.n),
    )
