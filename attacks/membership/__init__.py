"""Attacks that tell whether a record was trained on; higher score means member.

Signals of one model, LiRA over shadow models, and the `Trainer` protocol through which
somebody else trains those shadows. Intervals are in `attacks.ranking`.
"""

from attacks.membership.lira import lira, rotate
from attacks.membership.shadows import Trainer, balanced_memberships
from attacks.membership.signals import logit_scaled_confidence, loss_threshold

__all__ = [
    "Trainer",
    "balanced_memberships",
    "lira",
    "logit_scaled_confidence",
    "loss_threshold",
    "rotate",
]
