"""Epsilon, proven and measured, as lines on one scale; the ledger as one line a group.

Between the rows (`epsilon`) and the template: frozen values of ready text. A measured
lower bound above the proven upper one is a violation and is named so, first and loudly.

It does NOT account for anything or audit anything.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fl.report import wording
from fl.report.epsilon import DrillRow, LedgerRow, PrivacyRow
from fl.report.schema import Report
from fl.report.strip import Scale
from fl.report.wording import number

_HEADROOM = 1.06  # the largest mark stays clear of the scale's end


@dataclass(frozen=True, slots=True)
class BoundView:
    """One privacy row and where its marks stand, as percentages of the line."""

    row: PrivacyRow
    start: str
    upper: str | None
    lower: str | None
    ceiling: str | None
    violated: bool
    label: str


@dataclass(frozen=True, slots=True)
class LedgerView:
    """All parties of one protection, unit and budget in one line."""

    protection: str
    text: str
    rows: tuple[LedgerRow, ...]


def bound_views(report: Report) -> tuple[Scale | None, tuple[BoundView, ...]]:
    """Place every bound on epsilon on one scale from 0; None where there is none."""
    rows = [r for r in report.privacy if r.epsilon_upper is not None or _audited(r)]
    known = [
        v
        for r in rows
        for v in (r.epsilon_upper, r.measured, r.ceiling)
        if v is not None
    ]
    if not known:
        return None, ()
    on = Scale(0.0, max(_HEADROOM * max(known), 1.0))

    def at(value: float | None) -> str | None:
        return None if value is None else on.at(value)

    return on, tuple(
        BoundView(
            row=r,
            start=on.at(0.0),
            upper=at(r.epsilon_upper),
            lower=at(r.measured),
            ceiling=at(r.ceiling) if _audited(r) else None,
            violated=r.violated,
            label=_label(r),
        )
        for r in rows
    )


def upper_word(report: Report) -> str:
    """Say what the upper bounds are: proven here, or claimed by somebody else."""
    return "claimed" if any(r.claimed for r in report.privacy) else "proven"


def unbounded(report: Report) -> tuple[str, ...]:
    """Name the protections for which no epsilon is proven."""
    bounded = {
        r.protection
        for r in report.privacy
        if r.epsilon_upper is not None and not r.claimed
    }
    return tuple(p for p in report.protections if p not in bounded)


def violations(report: Report) -> tuple[str, ...]:
    """State every proven bound that a measurement exceeds, one sentence each."""
    claims = tuple(
        f"under {r.protection} the audit measured epsilon of at least "
        f"{number(r.measured)} per {r.unit} at {wording.level(r.confidence)} "
        f"confidence{', if its noise is Gaussian' if r.assumes_gaussian else ''}, "
        f"where at most {number(r.epsilon_upper)}"
        f"{' of such noise' if r.assumes_gaussian else ''} is claimed."
        for r in report.privacy
        if r.violated
    )
    return claims + tuple(
        f"{r.name}, with its noise added, measured epsilon of at least "
        f"{number(r.epsilon_lower)}, where at most {number(r.claimed_epsilon)} is "
        "claimed."
        for r in report.drill
        if r.violated and r.noise == "added"
    )


def statement_views(report: Report) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """List each statement once, with the protections that share it word for word."""
    under: dict[tuple[str, ...], list[str]] = {}
    for row in report.statements:
        under.setdefault(row.sentences, []).append(row.protection)
    return tuple((", ".join(who), said) for said, who in under.items())


def ledger_views(report: Report) -> tuple[LedgerView, ...]:
    """Collapse the ledger to one line per protection, unit, budget and delta."""
    groups: dict[tuple[str, str, float, float], list[LedgerRow]] = {}
    for row in report.ledger:
        key = (row.protection, row.unit, row.epsilon_budget, row.delta)
        groups.setdefault(key, []).append(row)
    return tuple(
        LedgerView(protection, _spent(rows), tuple(rows))
        for (protection, *_), rows in groups.items()
    )


def outcome(row: DrillRow) -> tuple[str, bool]:
    """Say what one drill showed, and whether it went as it should."""
    match row.noise, row.violated:
        case "left out", True:
            return "caught", True
        case "left out", False:
            return "missed", False
        case _, True:
            return "VIOLATION", False
    return "claim held", True


def _audited(row: PrivacyRow) -> bool:
    return row.epsilon_lower is not None


def _label(row: PrivacyRow) -> str:
    upper = "unbounded" if row.epsilon_upper is None else number(row.epsilon_upper)
    lower = "not measured" if not _audited(row) else number(row.epsilon_lower)
    if row.epsilon_lower_gaussian:
        shaped = number(row.epsilon_lower_gaussian)
        lower = f"{lower}, or {shaped} if its noise is Gaussian"
    ceiling = f", ceiling {number(row.ceiling)}" if _audited(row) else ""
    loud = "VIOLATION, " if row.violated else ""
    kind = "claimed, not verified" if row.claimed else "proven"
    return (
        f"{row.protection}: {loud}epsilon at most {upper} ({kind}), at least {lower} "
        f"(measured){ceiling}"
    )


def _spent(rows: Sequence[LedgerRow]) -> str:
    first = rows[0]
    who = first.party if len(rows) == 1 else f"{len(rows)} clients"
    releases = _range([row.releases for row in rows])
    noun = "release" if releases == "1" else "releases"
    spent = _range([row.epsilon_spent for row in rows])
    refused = sum(row.refused for row in rows)
    said = (
        f"{who}: {releases} {noun}, epsilon {spent} of "
        f"{number(first.epsilon_budget)} spent per {first.unit} ({first.relation}) at "
        f"delta {number(first.delta)}"
    )
    return f"{said}; {refused} releases refused" if refused else said


def _range(values: Sequence[float]) -> str:
    low, high = number(min(values)), number(max(values))
    return low if low == high else f"{low} to {high}"
