"""Attacks that tell whether a record was trained on; higher score means member.

Pure functions on arrays: signals of one model, attacks that learn from shadow models,
and attacks that learn from records known not to be members. `registry` names them with
what each needs, `known` hands each no more than that, `compare` runs them all on the
same models, and the `Trainer` protocol is how somebody else trains the shadows.
Intervals are in `attacks.ranking` and `attacks.bootstrap`.
"""

from attacks.membership.bavaria import bavaria
from attacks.membership.calibrated import calibrated
from attacks.membership.compare import Rotated, paired, rotate_all
from attacks.membership.folds import scored
from attacks.membership.known import Known, Needs, ShadowAnswers, Shadowing
from attacks.membership.labelonly import label_only
from attacks.membership.lira import lira, lira_offline, lira_queries, rotate
from attacks.membership.quantile import quantile_regression
from attacks.membership.queries import queries
from attacks.membership.registry import ATTACKS, MembershipAttack
from attacks.membership.rmia import log_ratio, offline_log_ratio, ranked, tune_a
from attacks.membership.shadow_classifier import shadow_classifier
from attacks.membership.shadows import Trainer, balanced_memberships
from attacks.membership.signals import (
    log_confidence,
    logit_scaled_confidence,
    loss_threshold,
    negative_entropy,
    negative_modified_entropy,
)
from attacks.membership.thresholds import above_threshold, class_thresholds
from attacks.membership.trajectory import mean_over_rounds

__all__ = [
    "ATTACKS",
    "Known",
    "MembershipAttack",
    "Needs",
    "Rotated",
    "ShadowAnswers",
    "Shadowing",
    "Trainer",
    "above_threshold",
    "balanced_memberships",
    "bavaria",
    "calibrated",
    "class_thresholds",
    "label_only",
    "lira",
    "lira_offline",
    "lira_queries",
    "log_confidence",
    "log_ratio",
    "logit_scaled_confidence",
    "loss_threshold",
    "mean_over_rounds",
    "negative_entropy",
    "negative_modified_entropy",
    "offline_log_ratio",
    "paired",
    "quantile_regression",
    "queries",
    "ranked",
    "rotate",
    "rotate_all",
    "scored",
    "shadow_classifier",
    "tune_a",
]
