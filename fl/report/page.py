"""The page: a report and its pictures turned into one self-contained HTML text.

Everything is placed here and written by the templates beside this file; every value
is escaped by the template engine. The page loads nothing, runs no script and says so
to the browser in a content security policy.

It does NOT write files and does NOT decide what may be shown: `render.write` does.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from fl.report import bounds, plot, who, wording
from fl.report.accuracy import accuracy_rows
from fl.report.cells import EVERY_HEAD, band_views, detectable, every_row, head_views
from fl.report.crowd import MEASURED_HEAD, crowd_grid
from fl.report.judgement import reasons
from fl.report.pictures import Gallery, data_uri
from fl.report.plot import Curve
from fl.report.proofs import Claim, proofs
from fl.report.records import UtilityRow
from fl.report.risks import risk_views
from fl.report.schema import Report

_HERE = Path(__file__).resolve().parent
FEW_CLIENTS = 10  # below this the crowd bounds everything else, so it comes first
# The protection under which a coin decides what is uploaded, not whether.
SHARES = "distributed-dp"
# More rows than this would make a printed page a book; report.json has them all.
_MOST_PRINTED = 120
_FRAME = {
    "width": plot.WIDTH,
    "height": plot.HEIGHT,
    "left": plot.LEFT,
    "x_end": plot.WIDTH - plot.RIGHT,
    "y_end": plot.HEIGHT - plot.BOTTOM,
}


def page(
    report: Report,
    *,
    galleries: Sequence[Gallery] = (),
    curves: Sequence[Curve] = (),
    claims: Sequence[Claim] = (),
    galleries_withheld: bool = False,
    exposed_listed: bool = False,
) -> str:
    """Write the report as one HTML text that needs no network and no script.

    Args:
        report: all numbers and sentences of the page.
        galleries: pictures to show; only ever of built-in data.
        curves: plots, each placed by its `place`.
        claims: what is proven and assumed beyond what the report states.
        galleries_withheld: say that pictures exist but are kept elsewhere.
        exposed_listed: say that a list of records exists and is kept elsewhere.

    Returns:
        The page; the same arguments give the same text.

    Raises:
        ClaimError: a claim names a protection that the report does not have.
    """
    scale_, rows = accuracy_rows(report)
    bound_scale, bound_rows = bounds.bound_views(report)
    slots = {name: i for i, name in enumerate(report.protections)}
    context: dict[str, object] = {
        "report": report,
        "all_upload": any(u.protection == SHARES for u in report.utility),
        "upper_word": bounds.upper_word(report),
        "crowd_first": few_clients(report),
        "css": _css(),
        "none_mark": wording.NONE,
        "failed": [g for g in report.gates if not g.passed],
        "meanings": list(wording.MEANING.items()),
        "glossary": list(wording.GLOSSARY.items()),
        "profile": str(report.manifest.config.get("profile", "")),
        "bands": band_views(report),
        "heads": head_views(report),
        "crowd_grid": crowd_grid(report),
        "crowd_head": MEASURED_HEAD,
        "judged_why": reasons(report),
        "every": every_row(report),
        "most_printed": _MOST_PRINTED,
        "every_head": EVERY_HEAD,
        "violations": bounds.violations(report),
        "bound_scale": bound_scale,
        "bounds": bound_rows,
        "unbounded": bounds.unbounded(report),
        "statements": bounds.statement_views(report),
        "ledger": bounds.ledger_views(report),
        "drill": [(row, *bounds.outcome(row)) for row in report.drill],
        "accuracy_scale": scale_,
        "accuracy": rows,
        "other_utility": [r for r in report.utility if r.metric != "accuracy"],
        "utility_plots": _plots(curves, "utility", slots),
        "leakage_plots": _plots(curves, "leakage", slots),
        "exposed_plots": _plots(curves, "exposed", slots),
        "exposed_listed": exposed_listed,
        "who": who.who_view(report),
        "validity": who.validity_rows(report),
        "validity_head": who.VALIDITY_HEAD,
        "risks": risk_views(report),
        "galleries": [_gallery(g) for g in galleries],
        "galleries_withheld": galleries_withheld,
        "proofs": proofs(report, tuple(claims)),
        "manifest_facts": manifest_facts(report),
        "config": config_text(report),
    }
    context["contents"] = _contents(report, context)
    return _environment().get_template("page.html.jinja").render(context)


def private_page(report: Report, galleries: Sequence[Gallery]) -> str:
    """Write the pictures of the user's own records as a page that is not handed on."""
    template = _environment().get_template("private.html.jinja")
    return template.render(
        report=report, css=_css(), galleries=[_gallery(g) for g in galleries]
    )


def few_clients(report: Report) -> bool:
    """Say whether the crowd bounds everything else, so that it comes first."""
    return report.federation is not None and report.federation.clients < FEW_CLIENTS


def manifest_facts(report: Report) -> tuple[tuple[str, str], ...]:
    """List the manifest's one-line facts as (name, text)."""
    manifest = report.manifest
    return (
        ("Version", manifest.version),
        ("Commit", manifest.commit or "not known"),
        ("Seed", str(manifest.seed)),
        ("Started", manifest.started_utc),
        ("Took", wording.duration(manifest.seconds)),
        ("Processor", f"{manifest.machine.cpu}, {manifest.machine.cores} cores"),
        ("Python", manifest.machine.python),
        ("Torch", manifest.machine.torch or "not used"),
        ("Data", f"{manifest.data.origin}: {manifest.data.provenance}"),
        ("Data SHA-256", manifest.data.sha256 or "not known"),
    )


def config_text(report: Report) -> str:
    """Write the resolved configuration as indented JSON."""
    return json.dumps(
        report.manifest.model_dump(mode="json")["config"],
        indent=2,
        ensure_ascii=False,
        allow_nan=False,
    )


def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(_HERE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=False,
        keep_trailing_newline=True,
    )
    filters: Mapping[str, Callable[..., str]] = {
        "number": wording.number,
        "percent": wording.percent,
        "measure": wording.measure,
        "metric_name": wording.metric_name,
        "named": wording.named,
        "sees": wording.adversary_sees,
        "detectable": detectable,
        "size": wording.size,
        "duration": wording.duration,
        "level": wording.level,
        "span": _span,
        "breakable": _breakable,
    }
    environment.filters.update(filters)
    return environment


def _span(row: UtilityRow) -> str:
    return wording.interval(row.low, row.high, row.metric) or wording.NONE


def _breakable(name: str) -> Markup:
    """Let a joined name break behind its plus sign, and nowhere else."""
    parts = (Markup('<span class="whole">{}</span>').format(p) for p in name.split("+"))
    return Markup("+<wbr>").join(parts)


def _css() -> Markup:
    """Read the style sheet: our own file, so its quotes are not escaped."""
    return Markup((_HERE / "page.css").read_text(encoding="utf-8").strip())


def _plots(
    curves: Sequence[Curve], place: str, slots: Mapping[str, int]
) -> list[dict[str, object]]:
    return [
        {
            "id": f"{place}-plot-{index}",
            "curve": curve,
            "drawing": plot.draw(curve, slots),
            "numbers": plot.table(curve),
            "frame": _FRAME,
        }
        for index, curve in enumerate(c for c in curves if c.place == place)
    ]


def _gallery(gallery: Gallery) -> dict[str, object]:
    kinds = (
        ("original", "record", gallery.originals),
        ("recovered", "reconstruction", gallery.reconstructions),
        ("null", "null", gallery.null),
    )
    rows = [
        {
            "kind": kind,
            "name": name,
            "images": [
                {
                    "uri": data_uri(image),
                    "width": image.shape[1],
                    "height": image.shape[0],
                    "alt": f"{name} {index} of {len(images)}, label {label}",
                }
                for index, (image, label) in enumerate(
                    zip(images, gallery.labels, strict=True), start=1
                )
            ],
        }
        for kind, name, images in kinds
    ]
    return {
        "title": gallery.title,
        "caption": gallery.caption,
        "labels": gallery.labels,
        "psnr": [
            "failed" if v is None else wording.measure(v, "psnr_db")
            for v in gallery.psnr
        ],
        "rows": rows,
    }


def _contents(report: Report, context: Mapping[str, object]) -> list[tuple[str, str]]:
    present = [
        ("leakage", "Who learns what", True),
        ("crowd", "Crowd", context["crowd_grid"]),
        ("refused", "Refused", report.refused),
        ("epsilon", "Epsilon", context["bounds"]),
        ("drill", "Drill", context["drill"]),
        ("utility", "Accuracy", True),
        (
            "pictures",
            "Pictures",
            context["galleries"] or context["galleries_withheld"],
        ),
        ("curves", "Curves", context["leakage_plots"]),
        ("exposed", "Exposed", True),
        ("cost", "Costs", report.federation is not None),
        ("proven", "Proven", True),
        ("words", "Words", True),
        ("not-covered", "Not covered", True),
        ("manifest", "Run it again", True),
    ]
    if few_clients(report):
        present[0], present[1] = present[1], present[0]  # as on the page
    return [(anchor, title) for anchor, title, there in present if there]
