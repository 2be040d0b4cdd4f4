"""The accuracy table as the template shows it, baselines included.

It does NOT compute any statistic.
"""

from __future__ import annotations

from dataclasses import dataclass

from fl.report import wording
from fl.report.judgement import Judgement, judgements
from fl.report.schema import Report
from fl.report.strip import Scale, Strip, scale, strip


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
    judged: tuple[Judgement, ...]


def accuracy_rows(report: Report) -> tuple[Scale | None, tuple[AccuracyView, ...]]:
    """Lay out the accuracy table: pooled, each protection, local only, one class."""
    rows = [r for r in report.utility if r.metric == "accuracy"]
    base = report.baselines
    pooled, local = base.pooled, base.local_only
    known = [v for r in rows for v in (r.value, r.low, r.high)]
    known += [pooled.value, pooled.low, pooled.high] if pooled else []
    known += [local.mean, local.low, local.high] if local else []
    on = scale([*known, base.majority])
    refs = tuple(
        (on.at(value), kind)
        for value, kind in (
            (pooled.value if pooled else None, "pooled"),
            (base.majority, "majority"),
        )
        if on and value is not None
    )
    judged = judgements(report)
    views = [
        _accuracy(
            r.protection,
            (r.value, r.low, r.high),
            f"{r.n:,}",
            on,
            refs,
            judged=judged[r.protection],
        )
        for r in rows
    ]
    if pooled:
        numbers = (pooled.value, pooled.low, pooled.high)
        name, count = "all data in one place", f"{pooled.n:,}"
        views.insert(0, _accuracy(name, numbers, count, on, refs, baseline=True))
    if local:
        views.append(
            _accuracy(
                "each client alone",
                (local.mean, local.low, local.high),
                f"{local.n} clients",
                on,
                refs,
                baseline=True,
                span_name="Range",
            )
        )
    if base.majority is not None:
        name, only = "always the most frequent class", (base.majority, None, None)
        views.append(_accuracy(name, only, wording.NONE, on, refs, baseline=True))
    return on, tuple(views)


def _accuracy(
    name: str,
    numbers: tuple[float | None, float | None, float | None],
    n: str,
    on: Scale | None,
    refs: tuple[tuple[str, str], ...],
    *,
    baseline: bool = False,
    span_name: str = "Interval",
    judged: tuple[Judgement, ...] = (),
) -> AccuracyView:
    value, low, high = numbers
    span = wording.interval(low, high, "accuracy")
    return AccuracyView(
        name=name,
        value=wording.percent(value),
        span=span or wording.NONE,
        span_name=span_name,
        n=n,
        strip=strip(on, value, low, high),
        label=f"{name}: accuracy {wording.percent(value)} {span}".rstrip(),
        refs=refs,
        baseline=baseline,
        judged=judged,
    )
