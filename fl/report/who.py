"""The part of the page on who is exposed, as views of ready text.

It does NOT compute any statistic, and knows of no single record.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fl.report import wording
from fl.report.exposed import ExposureRow, GroupKind
from fl.report.schema import Report
from fl.report.strip import Scale, Strip, scale, strip
from fl.report.validity import ValidityRow

OVERALL = (GroupKind.ALL, GroupKind.WORST)
KINDS: dict[GroupKind, tuple[str, str]] = {
    GroupKind.CLASS: ("By class", "classes"),
    GroupKind.CLIENT: ("By client", "clients"),
    GroupKind.SUBGROUP: ("By subgroup", "subgroups"),
}
HEAD = ("trained with", "records", "n", "d'", "interval", "accuracy", "its interval")
VALIDITY_HEAD = ("View", "AUC without a model", "Interval", "n", "By", "So")


@dataclass(frozen=True, slots=True)
class ExposureView:
    """One set of records."""

    protection: str
    group: str
    n: str
    distance: str
    span: str
    accuracy: str
    accuracy_span: str
    strip: Strip | None
    null_at: str | None
    accuracy_strip: Strip | None
    label: str
    above: bool


@dataclass(frozen=True, slots=True)
class KindView:
    """All sets of one kind under one protection."""

    protection: str
    rows: tuple[ExposureView, ...]
    more: str  # what of this kind is not shown
    accuracy: bool  # whether any row has one


@dataclass(frozen=True, slots=True)
class WhoView:
    """The whole part: the records as a whole, then every kind of set."""

    overall: tuple[ExposureView, ...]
    kinds: tuple[tuple[str, tuple[KindView, ...]], ...]
    shadows: str


def who_view(report: Report) -> WhoView | None:
    """Lay out who is exposed; None where no shadows were trained."""
    rows = report.exposure
    if not rows:
        return None
    overall = [r for r in rows if r.by in OVERALL]
    kinds = [
        (title, tuple(_kinds([r for r in rows if r.by is kind], word)))
        for kind, (title, word) in KINDS.items()
        if any(r.by is kind for r in rows)
    ]
    return WhoView(
        overall=_views(overall),
        kinds=tuple(kinds),
        shadows=wording.number(rows[0].shadows),
    )


def validity_rows(report: Report) -> tuple[tuple[str, ...], ...]:
    """List what a blind guess achieves in each view, in words."""
    return tuple(
        (
            row.view,
            wording.measure(row.value, "auc"),
            wording.interval(row.low, row.high, "auc") or wording.NONE,
            wording.number(row.n),
            row.learner or wording.NONE,
            _so(row),
        )
        for row in report.validity
    )


def exposure_rows(report: Report) -> tuple[tuple[str, ...], ...]:
    """List all sets with all their numbers, in the order of the record."""
    return tuple(
        (
            row.protection,
            _called(row),
            wording.number(row.n),
            _number(row.distance),
            _span(row),
            wording.percent(row.accuracy),
            wording.interval(row.accuracy_low, row.accuracy_high, "accuracy")
            or wording.NONE,
        )
        for row in report.exposure
    )


def _so(row: ValidityRow) -> str:
    if row.value is None:
        return "not measured: too few records"
    if row.beats_chance:
        return "INVALID: an attack's success here need not come from the model"
    return "no difference found"


def _kinds(rows: Sequence[ExposureRow], word: str) -> list[KindView]:
    made = []
    for protection in dict.fromkeys(r.protection for r in rows):
        own = [r for r in rows if r.protection == protection]
        left = own[0].groups - len(own)
        made.append(
            KindView(
                protection=protection,
                rows=_views(own, [r for r in rows]),
                more=f"{left} less exposed {word} are not shown." if left else "",
                accuracy=any(r.accuracy is not None for r in own),
            )
        )
    return made


def _views(
    rows: Sequence[ExposureRow], alike: Sequence[ExposureRow] | None = None
) -> tuple[ExposureView, ...]:
    shared = alike or rows
    risks = scale(v for r in shared for v in (0.0, r.distance, r.low, r.high))
    served = scale(
        v for r in shared for v in (r.accuracy, r.accuracy_low, r.accuracy_high)
    )
    return tuple(_view(row, risks, served) for row in rows)


def _view(row: ExposureRow, risks: Scale | None, served: Scale | None) -> ExposureView:
    return ExposureView(
        protection=row.protection,
        group=row.group if row.by is GroupKind.CLIENT else _called(row),
        n=wording.number(row.n),
        distance=_number(row.distance),
        span=_span(row),
        accuracy=wording.percent(row.accuracy),
        accuracy_span=wording.interval(row.accuracy_low, row.accuracy_high, "accuracy"),
        strip=strip(risks, row.distance, row.low, row.high),
        null_at=risks.at(0.0) if risks else None,
        accuracy_strip=strip(served, row.accuracy, row.accuracy_low, row.accuracy_high),
        label=f"{row.group}: d' {_number(row.distance)} {_span(row)}",
        above=row.above_all and row.by is not GroupKind.WORST,
    )


def _called(row: ExposureRow) -> str:
    named = row.by in KINDS
    return f"{row.by.value} {row.group}" if named else row.group


def _number(value: float) -> str:
    rounded = round(value, 2) + 0.0  # never a minus zero
    return f"{rounded:.2f}".replace("-", "\u2212")


def _span(row: ExposureRow) -> str:
    return f"[{_number(row.low)}, {_number(row.high)}]"
