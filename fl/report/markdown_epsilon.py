"""The report's words on differential privacy as Markdown: bounds, ledger, drill.

It does NOT account for anything or audit anything.
"""

from __future__ import annotations

from collections.abc import Sequence

from fl.report import bounds, wording
from fl.report.judgement import Judgement
from fl.report.markdown_table import table, text
from fl.report.schema import Report
from fl.report.wording import level, number


def violated(report: Report) -> list[str]:
    """State every violated claim, before anything else."""
    return [f"**VIOLATION:** {text(s)}" for s in bounds.violations(report)]


def judged(name: str, found: Sequence[Judgement]) -> str:
    """Write a protection's name with whom it trusts and what is judged of it."""
    notes = [*wording.trusts(name), *(one.words for one in found)]
    return f"{name} ({', '.join(notes)})" if notes else name


def refused(report: Report) -> list[str]:
    """Say which protections cannot be had here."""
    if not report.refused:
        return []
    lines = [f"- {text(r.protection)}: {text(r.why)}" for r in report.refused]
    return ["## What cannot be had here", "\n".join(lines)]


def epsilon(report: Report) -> list[str]:
    """Write the bounds, the statements, the ledger and the drill."""
    if not report.privacy:
        return _drill(report)
    head = (
        *("protection", "unit", "neighbours", "delta", "epsilon at most"),
        *("accountant", "epsilon at least", "if Gaussian", "ceiling", "confidence"),
        *("canaries", "so"),
    )
    rows = [
        (
            r.protection,
            r.unit,
            r.relation,
            number(r.delta),
            "unbounded" if r.epsilon_upper is None else number(r.epsilon_upper),
            r.accountant or wording.NONE,
            number(r.epsilon_lower),
            number(r.epsilon_lower_gaussian),
            number(r.ceiling),
            level(r.confidence),
            number(r.n_canaries),
            "VIOLATION" if r.violated else wording.NONE,
        )
        for r in report.privacy
    ]
    upper = bounds.upper_word(report)
    blocks = [f"## Epsilon: {upper} and measured", table(head, rows)]
    for who, sentences in bounds.statement_views(report):
        blocks.append(f"{text(who)}: {' '.join(text(s) for s in sentences)}")
    return [*blocks, *_ledger(report), *_drill(report)]


def _ledger(report: Report) -> list[str]:
    lines = [
        f"- {text(line.protection)}: {text(line.text)}."
        for line in bounds.ledger_views(report)
    ]
    return ["### What has been spent", "\n".join(lines)] if lines else []


def _drill(report: Report) -> list[str]:
    if not report.drill:
        return []
    head = (
        *("mechanism", "noise", "claimed epsilon", "delta", "epsilon at least"),
        *("ceiling", "confidence", "canaries", "outcome", "detail"),
    )
    rows = [
        (
            r.name,
            r.noise,
            number(r.claimed_epsilon),
            number(r.delta),
            number(r.epsilon_lower),
            number(r.ceiling),
            level(r.confidence),
            number(r.n_canaries),
            bounds.outcome(r)[0],
            r.detail,
        )
        for r in report.drill
    ]
    return ["## Could this page have caught a fault?", table(head, rows)]
