"""The setting of a model that was trained elsewhere, as Markdown.

It does NOT say how the model was trained: nobody here knows.
"""

from __future__ import annotations

from fl.report import wording
from fl.report.markdown_table import table, text
from fl.report.schema import Report


def audited(report: Report) -> list[str]:
    """Write what was audited; nothing for a federation."""
    model = report.audited
    if model is None:
        return []
    rows = [
        ("model", model.model),
        ("parameters", wording.number(model.parameters)),
        ("data", model.data),
        ("members", str(model.members)),
        ("non-members", str(model.nonmembers)),
        ("dropped for a twin", str(model.dropped)),
        ("included by coins", "stated" if model.coins else "not stated"),
        ("input", " × ".join(map(str, model.input_shape)) or wording.NONE),
        ("classes", wording.number(model.classes)),
        ("given to attack", ", ".join(model.views)),
    ]
    return [
        "## The setting",
        text(model.sentence),
        table(("what", "value"), rows),
    ]
