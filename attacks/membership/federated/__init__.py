"""Membership attacks on what federated training sends: updates, sums, round by round.

Every attack says the least that it needs (a `Series` or what stands `SideBySide`) and
refuses more. Scores are made without membership bits; higher means member.
"""

from attacks.membership.federated.fedmia import (
    FEDMIA,
    fedmia,
    fedmia_as_published,
    without_owner,
)
from attacks.membership.federated.gradients import (
    Alignment,
    RecordGradients,
    gradient_cosine,
    gradient_difference,
)
from attacks.membership.federated.moderated import moderated_variance
from attacks.membership.federated.nasr import nasr_active, nasr_passive
from attacks.membership.federated.seen import RicherThanNeeded, Series, SideBySide
from attacks.membership.federated.series import as_measured, loss_series
from attacks.membership.federated.source import source_accuracy, sources
from attacks.membership.federated.sums import (
    Background,
    against_population,
    background,
    matched_filter,
)

__all__ = [
    "FEDMIA",
    "Alignment",
    "Background",
    "RecordGradients",
    "RicherThanNeeded",
    "Series",
    "SideBySide",
    "against_population",
    "as_measured",
    "background",
    "fedmia",
    "fedmia_as_published",
    "gradient_cosine",
    "gradient_difference",
    "loss_series",
    "matched_filter",
    "moderated_variance",
    "nasr_active",
    "nasr_passive",
    "source_accuracy",
    "sources",
    "without_owner",
]
