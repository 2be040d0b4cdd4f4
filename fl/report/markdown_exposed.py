"""Who is exposed, as Markdown.

It does NOT compute any statistic, and knows of no single record.
"""

from __future__ import annotations

from fl.report.markdown_table import table
from fl.report.risks import risk_views
from fl.report.schema import Report
from fl.report.who import HEAD, VALIDITY_HEAD, exposure_rows, validity_rows


def exposed(report: Report) -> list[str]:
    """Write risk and accuracy of sets of records, validity, and what rows bear on."""
    blocks = ["## Who is exposed"]
    rows = exposure_rows(report)
    if rows:
        blocks += [
            "d' is how far training on a record moves its score, in standard "
            "deviations: 0 tells nothing, 1 lets the best attack on such records reach "
            "an AUC of 0.76. Risk is of training records, accuracy of held-out records "
            "of the same kind. Intervals of one kind of set hold together at 95 %.",
            table(HEAD, rows),
        ]
    else:
        blocks.append("No shadow models were trained: nothing is known of records.")
    alike = validity_rows(report)
    if alike:
        blocks += [
            "### Were members and others alike to begin with?",
            table(VALIDITY_HEAD, alike),
        ]
    bearing = [
        (r.risk, r.question, r.rows, r.configured, r.worst_case)
        for r in risk_views(report)
    ]
    head = ("question", "in words", "rows", "as configured", "worst case")
    return [
        *blocks,
        "### What the rows of this page bear on",
        "Singling out, linkability and inference are the questions of the Article 29 "
        "Working Party's Opinion 05/2014; reconstruction is asked of models besides. "
        "The table answers none of them by itself.",
        table(head, bearing),
    ]
