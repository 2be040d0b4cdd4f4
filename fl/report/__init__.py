"""The report: frozen numbers in, a page that people look at and hand on out.

`Report` is the record (DESIGN section 6, `report.json`), `write` makes the three
files of it. `Gallery`, `Curve` and `Claim` are what the page shows beside the record.

It does NOT run attacks, decide verdicts or choose where a run is kept.
"""

from __future__ import annotations

from fl.report.audited import AuditedModel
from fl.report.baselines import Baselines, LocalBaseline, PooledBaseline
from fl.report.epsilon import DrillRow, LedgerRow, PrivacyRow, Refusal, Statement
from fl.report.exposed import ExposureRow, GroupKind
from fl.report.manifest import DataSource, Machine, Manifest
from fl.report.pictures import Gallery, GalleryError
from fl.report.plot import Curve, CurveError, Series
from fl.report.proofs import Claim, ClaimError
from fl.report.records import (
    CostRow,
    CrowdRow,
    LeakageRow,
    Scenario,
    UtilityRow,
    Verdict,
)
from fl.report.render import DisclosureError, Written, write
from fl.report.schema import (
    Federation,
    Gate,
    Report,
    from_json,
    to_json,
)
from fl.report.validity import ValidityRow

__all__ = [
    "AuditedModel",
    "Baselines",
    "Claim",
    "ClaimError",
    "CostRow",
    "CrowdRow",
    "Curve",
    "CurveError",
    "DataSource",
    "DisclosureError",
    "DrillRow",
    "ExposureRow",
    "Federation",
    "Gallery",
    "GalleryError",
    "Gate",
    "GroupKind",
    "LeakageRow",
    "LedgerRow",
    "LocalBaseline",
    "Machine",
    "Manifest",
    "PooledBaseline",
    "PrivacyRow",
    "Refusal",
    "Report",
    "Scenario",
    "Series",
    "Statement",
    "UtilityRow",
    "ValidityRow",
    "Verdict",
    "Written",
    "from_json",
    "to_json",
    "write",
]
