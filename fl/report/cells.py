"""The report's tables as the template shows them: words, marks and placed strips.

Between the numbers (`schema`, `matrix`) and the HTML (`page.html.jinja`): each view
is a frozen value of ready text, so that the template holds no logic.

It does NOT compute any statistic.
"""

from __future__ import annotations

from dataclasses import dataclass

from fl.report import wording
from fl.report.judgement import Judgement, judgements
from fl.report.matrix import Cell, bands
from fl.report.records import POWERLESS, LeakageRow, Verdict
from fl.report.schema import Report
from fl.report.strip import Scale, Strip, scale, strip

EVERY_HEAD = (
    *("scenario", "adversary", "protection", "attack", "verdict", "numbers or reason"),
)


@dataclass(frozen=True, slots=True)
class ItemView:
    """One attack inside an opened cell."""

    row: LeakageRow
    span: str
    facts: tuple[tuple[str, str], ...]
    strip: Strip | None
    null_at: str | None
    label: str


@dataclass(frozen=True, slots=True)
class CellView:
    """One cell of the matrix."""

    protection: str
    verdict: str
    best: LeakageRow | None
    span: str
    strip: Strip | None
    null_at: str | None
    label: str
    count_words: str
    items: tuple[ItemView, ...]


@dataclass(frozen=True, slots=True)
class LineView:
    """One adversary's line."""

    adversary: str
    cells: tuple[CellView, ...]
    empty: bool  # no attack in any cell


@dataclass(frozen=True, slots=True)
class BandView:
    """One scenario's table."""

    title: str
    text: str
    lines: tuple[LineView, ...]


@dataclass(frozen=True, slots=True)
class HeadView:
    """One column's head: the protection, its accuracy and epsilon, and judgements."""

    name: str
    notes: tuple[str, ...]
    judged: tuple[Judgement, ...]
    violated: bool


def band_views(report: Report) -> tuple[BandView, ...]:
    """Lay out the two scenarios' tables; one scale per metric over the whole page."""
    scales = {
        metric: _metric_scale([r for r in report.leakage if r.metric == metric])
        for metric in dict.fromkeys(r.metric for r in report.leakage)
    }
    return tuple(
        BandView(
            *(wording.GIVEN if report.audited else wording.SCENARIO[band.scenario]),
            tuple(
                LineView(
                    line.adversary,
                    tuple(_cell(c, scales) for c in line.cells),
                    empty=not any(c.rows for c in line.cells),
                )
                for line in band.lines
            ),
        )
        for band in bands(report)
        if band.lines or report.audited is None
    )


def head_views(report: Report) -> tuple[HeadView, ...]:
    """Lay out the heads of the matrix's columns."""
    judged = judgements(report)
    proven = {
        r.protection: f"{'claimed ' if r.claimed else ''}epsilon "
        f"{wording.number(r.epsilon_upper)} per {r.unit}"
        for r in report.privacy
        if r.epsilon_upper is not None
    }
    broken = {r.protection for r in report.privacy if r.violated}
    return tuple(
        HeadView(
            name=r.protection,
            notes=(
                *wording.trusts(r.protection),
                f"accuracy {wording.percent(r.value)}",
                *([proven[r.protection]] if r.protection in proven else []),
            ),
            judged=judged[r.protection],
            violated=r.protection in broken,
        )
        for r in report.utility
        if r.metric == "accuracy"
    )


def detectable(row: LeakageRow) -> str:
    """Write the smallest effect that would have been found; empty where one was."""
    if row.min_detectable is None:
        return ""
    if row.why.startswith(POWERLESS):
        return "none on this scale"
    return wording.measure(row.min_detectable, row.metric)


def facts(row: LeakageRow) -> tuple[tuple[str, str], ...]:
    """List what stands behind one attack's verdict as (name, text)."""
    known = [
        (wording.metric_name(row.metric), wording.measure(row.value, row.metric)),
        ("interval", wording.interval(row.low, row.high, row.metric)),
        ("confidence", wording.level(row.confidence) if row.confidence else ""),
        ("null", "" if row.null is None else wording.measure(row.null, row.metric)),
        (
            "smallest detectable",
            detectable(row),
        ),
        ("n", str(row.n) if row.n else ""),
        ("failed", str(row.n_failed) if row.n else ""),
        ("seeds", ", ".join(map(str, row.seeds))),
        ("time", wording.duration(row.seconds) if row.seconds is not None else ""),
    ]
    if row.value is None:
        known = known[1:]
    return tuple((name, text) for name, text in known if text)


def _metric_scale(rows: list[LeakageRow]) -> Scale | None:
    """Fit one metric's scale to what is uncertain.

    An exact recovery sits at its metric's cap (a PSNR of 100 dB, say) and would
    squeeze every interval into a dot, so it is left out unless there is nothing else.
    """
    measured = [r for r in rows if r.value is not None]
    uncertain = [r for r in measured if r.verdict is not Verdict.RECOVERED]
    return scale(
        v for r in uncertain or measured for v in (r.value, r.low, r.high, r.null)
    )


def _cell(cell: Cell, scales: dict[str, Scale | None]) -> CellView:
    items = tuple(_item(row, scales[row.metric]) for row in cell.rows)
    best = cell.best
    first = items[0] if items else None
    return CellView(
        protection=cell.protection,
        verdict=cell.verdict.value,
        best=best,
        span="" if best is None else wording.interval(best.low, best.high, best.metric),
        strip=first.strip if first else None,
        null_at=first.null_at if first else None,
        label=first.label if first else "",
        count_words=cell.tally,
        items=items,
    )


def _item(row: LeakageRow, on: Scale | None) -> ItemView:
    value = wording.measure(row.value, row.metric)
    null = wording.measure(row.null, row.metric)
    span = wording.interval(row.low, row.high, row.metric)
    return ItemView(
        row=row,
        span=span,
        facts=_rest(row),
        strip=strip(on, row.value, row.low, row.high),
        null_at=on.at(row.null) if on and row.null is not None else None,
        label=f"{wording.metric_name(row.metric)} {value} {span}, null {null}",
    )


def _rest(row: LeakageRow) -> tuple[tuple[str, str], ...]:
    """List the facts that the line of figures above them does not show."""
    shown = {wording.metric_name(row.metric), "interval", "null"}
    return tuple(fact for fact in facts(row) if fact[0] not in shown)


def every_row(report: Report) -> tuple[tuple[str, ...], ...]:
    """List every attack with all its numbers, in the order of the matrix."""
    return tuple(
        (
            band.scenario.value,
            line.adversary,
            cell.protection,
            f"{row.attack} on {row.view}",
            row.verdict.value,
            "; ".join(
                text for text in (*(f"{n} {t}" for n, t in facts(row)), row.why) if text
            ),
        )
        for band in bands(report)
        for line in band.lines
        for cell in line.cells
        for row in cell.rows
    )
