"""The report as Markdown text: the page's content as tables, for terminals and mail.

Values are escaped so that a data set's name can be neither markup nor a table cell's
end. It does NOT hold pictures; curves become tables.
"""

from __future__ import annotations

from collections.abc import Sequence

from fl.report import plot, wording
from fl.report.accuracy import accuracy_rows
from fl.report.cells import facts
from fl.report.crowd import MEASURED_HEAD, CrowdCell, crowd_grid
from fl.report.judgement import judgements, reasons
from fl.report.markdown_audited import audited
from fl.report.markdown_epsilon import epsilon, judged, refused, violated
from fl.report.markdown_exposed import exposed
from fl.report.markdown_table import table, text
from fl.report.matrix import Band, Cell, bands
from fl.report.page import config_text, few_clients, manifest_facts
from fl.report.plot import Curve
from fl.report.proofs import Claim, proofs
from fl.report.schema import Report


def markdown(
    report: Report,
    *,
    curves: Sequence[Curve] = (),
    claims: Sequence[Claim] = (),
) -> str:
    """Write the report as Markdown.

    Args:
        report: all numbers and sentences.
        curves: written as tables of their numbers.
        claims: what is proven and assumed beyond what the report states.

    Returns:
        Text ending in a newline; the same arguments give the same text.

    Raises:
        ClaimError: a claim names a protection that the report does not have.
    """
    crowd = _crowd(report)
    first = few_clients(report)
    parts = [
        [f"# blindsum audit: {text(report.manifest.run)}"],
        violated(report),
        [" ".join(text(s) for s in report.answer)],
        _setting(report),
        crowd if first else [],
        _leakage(report),
        [] if first else crowd,
        refused(report),
        _utility(report),
        epsilon(report),
        _curves(curves, "utility"),
        _curves(curves, "leakage"),
        exposed(report),
        _curves(curves, "exposed"),
        _cost(report) if report.federation else [],
        _proven(report, tuple(claims)),
        _not_covered(report),
        _gates(report),
        _manifest(report),
    ]
    return "\n\n".join(block for part in parts for block in part if block) + "\n"


def _setting(report: Report) -> list[str]:
    fed = report.federation
    if fed is None:
        return audited(report)
    rows = [
        ("clients", str(fed.clients)),
        ("clients expected in a round", wording.number(fed.cohort)),
        ("may collude", str(fed.corrupt)),
        ("may vanish", str(fed.drop)),
        ("threshold", wording.number(fed.threshold)),
        ("honest inputs per sum, at least", wording.number(fed.honest_min)),
        ("rounds", str(fed.rounds)),
        ("data", fed.data),
        ("records", f"{fed.records}, and {fed.test_records} held out"),
        ("partition", fed.partition),
        ("input", " × ".join(map(str, fed.input_shape)) + f", {fed.classes} classes"),
        ("model", f"{fed.model}, {fed.parameters} parameters"),
        ("trained", fed.trained or "-"),
    ]
    return [
        "## The setting",
        text(fed.plan_sentence),
        table(("what", "value"), rows),
    ]


def _crowd(report: Report) -> list[str]:
    grid = crowd_grid(report)
    if grid is None:
        return []
    head = ("colluding clients", *(f"{d} vanish" for d in grid.dropouts))
    rows = [(str(a), *(_sum(c) for c in cells)) for a, cells in grid.rows]
    blocks = ["## How many hide in one sum", table(head, rows)]
    if grid.measured:
        blocks += [
            f"Attack on sums of that many: {text(grid.attacks)}",
            table(MEASURED_HEAD, grid.measured),
        ]
    return blocks


def _sum(cell: CrowdCell) -> str:
    if not cell.verdict:
        return cell.text
    return f"{cell.text} ({cell.verdict}: {cell.figure} {cell.span})"


def _leakage(report: Report) -> list[str]:
    legend = [f"- **{v.value}**: {text}" for v, text in wording.MEANING.items()]
    blocks = ["## Who learns what", "\n".join(legend)]
    for band in bands(report):
        title, text = wording.SCENARIO[band.scenario]
        blocks += [f"### {title}", text]
        blocks += (
            _band(band, _heads(report))
            if band.lines
            else ["Nothing was measured in this scenario."]
        )
    return blocks


def _heads(report: Report) -> tuple[str, ...]:
    found = judgements(report)
    return tuple(judged(name, found[name]) for name in report.protections)


def _band(band: Band, heads: tuple[str, ...]) -> list[str]:
    summary = [
        (line.adversary, *(_summary(cell) for cell in line.cells))
        for line in band.lines
    ]
    detail = [
        (
            line.adversary,
            cell.protection,
            row.attack,
            row.view,
            row.verdict.value,
            "; ".join(f"{name} {text}" for name, text in facts(row)),
            row.why or wording.NONE,
        )
        for line in band.lines
        for cell in line.cells
        for row in cell.rows
    ]
    head = ("adversary", "protection", "attack", "on", "verdict", "numbers", "why")
    return [table(("adversary", *heads), summary), table(head, detail)]


def _summary(cell: Cell) -> str:
    best = cell.best
    if best is None or best.value is None:
        return cell.verdict.value
    span = wording.interval(best.low, best.high, best.metric)
    value = wording.measure(best.value, best.metric)
    null = wording.measure(best.null, best.metric)
    name = wording.metric_name(best.metric)
    return f"{cell.verdict.value}: {name} {value} {span}, null {null}"


def _utility(report: Report) -> list[str]:
    _, rows = accuracy_rows(report)
    accuracy = table(
        ("trained with", "accuracy", "interval or range", "n"),
        [(judged(r.name, r.judged), r.value, r.span, r.n) for r in rows],
    )
    blocks = ["## What protection costs in accuracy", accuracy]
    why = [
        f"- **{words}** under {text(who)}: {text(told)}."
        for words, who, told in reasons(report)
    ]
    blocks.append("\n".join(why))
    others = [
        (
            r.protection,
            wording.metric_name(r.metric),
            wording.measure(r.value, r.metric),
            wording.interval(r.low, r.high, r.metric) or wording.NONE,
            wording.number(r.n),
        )
        for r in report.utility
        if r.metric != "accuracy"
    ]
    if others:
        head = ("trained with", "measure", "value", "interval", "n")
        blocks.append(table(head, others))
    return blocks


def _curves(curves: Sequence[Curve], place: str) -> list[str]:
    blocks = []
    for curve in curves:
        if curve.place == place:
            head = ("series", curve.x_label, curve.y_label, "interval")
            blocks += [
                f"### {text(curve.title)}",
                text(curve.caption),
                table(head, plot.table(curve)),
            ]
    return blocks


def _cost(report: Report) -> list[str]:
    head = ("protection", "up", "down", "client CPU", "server CPU")
    rows = [
        (
            wording.named(r.protection),
            wording.size(r.bytes_up),
            wording.size(r.bytes_down),
            wording.duration(r.client_cpu_s),
            wording.duration(r.server_cpu_s),
        )
        for r in report.cost
    ]
    return [
        "## What protection costs in bytes and time",
        "Traffic per client and round, CPU time per round.",
        table(head, rows) if rows else "Not measured.",
    ]


def _proven(report: Report, claims: tuple[Claim, ...]) -> list[str]:
    blocks = ["## What is proven, and what it assumes"]
    for claim in proofs(report, claims):
        lines = [f"- proven: {text(s)}" for s in claim.proven]
        lines += [f"- assumed: {text(s)}" for s in claim.assumes]
        nothing = "Nothing is proven; there are only the measurements above."
        blocks += [
            f"### {text(wording.named(claim.protection))}",
            "\n".join(lines) or nothing,
        ]
    return blocks


def _not_covered(report: Report) -> list[str]:
    lines = [f"- {text(s)}" for s in report.not_covered]
    nothing = "Nothing was listed. That is an omission, not a finding."
    return ["## What this report does not cover", "\n".join(lines) or nothing]


def _gates(report: Report) -> list[str]:
    rows = [
        (g.name, "passed" if g.passed else "FAILED", g.detail) for g in report.gates
    ]
    return ["## Gates", table(("gate", "outcome", "detail"), rows)] if rows else []


def _manifest(report: Report) -> list[str]:
    manifest = report.manifest
    rows = [
        *manifest_facts(report),
        *((f"seed: {name}", str(seed)) for name, seed in manifest.seeds.items()),
        *((f"package: {name}", text) for name, text in manifest.packages.items()),
    ]
    return [
        "## How to run it again",
        table(("what", "value"), rows),
        # No line of indented JSON can be a bare fence, so nothing in it ends the block.
        f"```json\n{config_text(report)}\n```",
    ]
