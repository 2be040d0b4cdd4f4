"""Which rows of the page bear on singling out, linkability, inference, reconstruction.

The first three are the questions that the Article 29 Working Party put to anonymised
data (Opinion 05/2014, WP 216, section 2.2); the fourth is asked of models besides. The
table is fixed: what a row bears on follows from its attack and metric, not from what it
found. It answers no question of law.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from fl.report.records import LeakageRow, Scenario, Verdict
from fl.report.schema import Report

NOTHING = "no row of this page"


class Risk(StrEnum):
    """What a row may bear on."""

    SINGLING_OUT = "singling out"
    LINKABILITY = "linkability"
    INFERENCE = "inference"
    RECONSTRUCTION = "reconstruction"


QUESTIONS: dict[Risk, str] = {
    Risk.SINGLING_OUT: "Can one person's record be isolated?",
    Risk.LINKABILITY: "Can a record that somebody holds be tied to this federation, or "
    "to one of its clients?",
    Risk.INFERENCE: "Can something not known of a person or of a client be deduced?",
    Risk.RECONSTRUCTION: "Can a record, or a part of it, be computed back?",
}


@dataclass(frozen=True, slots=True)
class RiskView:
    """One line of the table, in words."""

    risk: str
    question: str
    rows: str
    configured: str
    worst_case: str


def bears_on(attack: str, metric: str) -> tuple[Risk, ...]:
    """Return what rows of this attack and metric bear on; () where nothing is known."""
    name, measured = attack.lower(), metric.lower()
    if any(word in name for word in ("attribute", "property", "label counts")):
        return (Risk.INFERENCE,)
    if measured.startswith("labels"):
        return (Risk.INFERENCE,)
    if "source" in name:
        return (Risk.LINKABILITY,)
    if measured.startswith("tpr"):
        # Few are accused, and nearly all of them rightly.
        return (Risk.SINGLING_OUT, Risk.LINKABILITY)
    if measured.startswith(("auc", "advantage", "balanced")):
        return (Risk.LINKABILITY,)
    if measured.startswith("exact"):
        return (Risk.SINGLING_OUT, Risk.RECONSTRUCTION)
    if measured.startswith(("psnr", "ssim", "mse", "numbers", "categories", "token")):
        return (Risk.RECONSTRUCTION,)
    return ()


def risk_views(report: Report) -> tuple[RiskView, ...]:
    """Lay out the table: one line per question, with its rows' worst verdicts."""
    return tuple(
        RiskView(
            risk=risk.value,
            question=question,
            rows="; ".join(_named(risk, report)) or NOTHING,
            configured=_verdicts(risk, report, Scenario.AS_CONFIGURED),
            worst_case=_verdicts(risk, report, Scenario.WORST_CASE),
        )
        for risk, question in QUESTIONS.items()
    )


def _named(risk: Risk, report: Report) -> Iterator[str]:
    yield from dict.fromkeys(r.attack for r in _rows(risk, report.leakage))
    if risk is Risk.SINGLING_OUT and report.exposure:
        yield "the most exposed records above"


def _rows(risk: Risk, rows: Sequence[LeakageRow]) -> list[LeakageRow]:
    return [row for row in rows if risk in bears_on(row.attack, row.metric)]


def _verdicts(risk: Risk, report: Report, scenario: Scenario) -> str:
    """Name the protections by the worst verdict of their rows, the worst first."""
    rows = [r for r in _rows(risk, report.leakage) if r.scenario is scenario]
    worst: dict[Verdict, list[str]] = {}
    for protection in report.protections:
        own = {row.verdict for row in rows if row.protection == protection}
        verdict = next((v for v in Verdict if v in own), Verdict.NOT_MEASURED)
        worst.setdefault(verdict, []).append(protection)
    if set(worst) <= {Verdict.NOT_MEASURED}:
        return Verdict.NOT_MEASURED.value
    return "; ".join(
        f"{verdict.value}: {', '.join(worst[verdict])}"
        for verdict in Verdict
        if verdict in worst
    )
