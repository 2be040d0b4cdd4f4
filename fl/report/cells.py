"""The report's tables as the template shows them: words, marks and placed strips.

Between the numbers (`schema`, `matrix`) and the HTML (`page.html.jinja`): each view
is a frozen value of ready text, so that the template holds no logic.

It does NOT compute any statistic.
"""

from __future__ import annotations

from dataclasses import dataclass

from fl.report import wording
from fl.report.matrix import Cell, bands
from fl.report.records import LeakageRow, Verdict
from fl.report.schema import Report
from fl.report.strip import Scale, Strip, scale, strip

# A sum of fewer honest inputs than this is shown as a small crowd.
FEW_HONEST = 3


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
class CrowdCell:
    """Honest inputs in one sum, with the class that shades it."""

    text: str
    note: str
    kind: str


@dataclass(frozen=True, slots=True)
class CrowdGrid:
    """The crowd table: one row per number of colluders."""

    dropouts: tuple[int, ...]
    rows: tuple[tuple[int, tuple[CrowdCell, ...]], ...]


@dataclass(frozen=True, slots=True)
class AccuracyView:
    """One line of the accuracy table, a protection or a baseline."""

    name: str
    value: str
    span: str
    span_name: str
    n: str
    strip: Strip | None
    label: str
    refs: tuple[tuple[str, str], ...]
    baseline: bool


def band_views(report: Report) -> tuple[BandView, ...]:
    """Lay out the two scenarios' tables; one scale per metric over the whole page."""
    scales = {
        metric: _metric_scale([r for r in report.leakage if r.metric == metric])
        for metric in dict.fromkeys(r.metric for r in report.leakage)
    }
    return tuple(
        BandView(
            *wording.SCENARIO[band.scenario],
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
    )


def crowd_grid(report: Report) -> CrowdGrid | None:
    """Lay out the crowd table; None where the report has no crowd rows."""
    if not report.crowd:
        return None
    honest = {(r.colluders, r.dropouts): r for r in report.crowd}
    dropouts = tuple(sorted({r.dropouts for r in report.crowd}))
    colluders = sorted({r.colluders for r in report.crowd})
    return CrowdGrid(
        dropouts,
        tuple(
            (
                a,
                tuple(
                    _crowd_cell(honest[a, d].honest)
                    if (a, d) in honest
                    else CrowdCell(wording.NONE, "", "unmeasured")
                    for d in dropouts
                ),
            )
            for a in colluders
        ),
    )


def accuracy_rows(report: Report) -> tuple[Scale | None, tuple[AccuracyView, ...]]:
    """Lay out the accuracy table: the pooled baseline, each protection, local only."""
    rows = [r for r in report.utility if r.metric == "accuracy"]
    pooled, local = report.baselines.pooled, report.baselines.local_only
    known = [v for r in rows for v in (r.value, r.low, r.high)]
    if pooled:
        known += [pooled.value, pooled.low, pooled.high]
    if local:
        known += [local.mean, local.low, local.high]
    on = scale(known)
    refs = ((on.at(pooled.value), "pooled"),) if on and pooled else ()
    views = [
        _accuracy(r.protection, r.value, r.low, r.high, f"{r.n:,}", on, refs)
        for r in rows
    ]
    if pooled:
        views.insert(
            0,
            _accuracy(
                "all data in one place",
                pooled.value,
                pooled.low,
                pooled.high,
                f"{pooled.n:,}",
                on,
                refs,
                baseline=True,
            ),
        )
    if local:
        views.append(
            _accuracy(
                "each client alone",
                local.mean,
                local.low,
                local.high,
                f"{local.n} clients",
                on,
                refs,
                baseline=True,
                span_name="Range",
            )
        )
    return on, tuple(views)


def facts(row: LeakageRow) -> tuple[tuple[str, str], ...]:
    """List what stands behind one attack's verdict as (name, text)."""
    known = [
        (wording.metric_name(row.metric), wording.measure(row.value, row.metric)),
        ("interval", wording.interval(row.low, row.high, row.metric)),
        ("confidence", wording.level(row.confidence) if row.confidence else ""),
        ("null", "" if row.null is None else wording.measure(row.null, row.metric)),
        (
            "smallest detectable",
            ""
            if row.min_detectable is None
            else wording.measure(row.min_detectable, row.metric),
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


def _crowd_cell(honest: int | None) -> CrowdCell:
    if honest is None:
        return CrowdCell("no sum", "the round aborts", "none")
    if honest <= 1:
        return CrowdCell(str(honest), "nothing hides it", "one")
    return CrowdCell(str(honest), "", "few" if honest < FEW_HONEST else "many")


def _accuracy(
    name: str,
    value: float | None,
    low: float | None,
    high: float | None,
    n: str,
    on: Scale | None,
    refs: tuple[tuple[str, str], ...],
    *,
    baseline: bool = False,
    span_name: str = "Interval",
) -> AccuracyView:
    span = wording.interval(low, high, "accuracy")
    return AccuracyView(
        name=name,
        value=wording.percent(value),
        span=span or wording.NONE,
        span_name=span_name,
        n=n,
        strip=strip(on, value, low, high),
        label=f"{name}: accuracy {wording.percent(value)} {span}",
        refs=refs,
        baseline=baseline,
    )
