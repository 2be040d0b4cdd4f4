"""Attacks that rebuild training records from what an adversary saw of an update.

`LinearInversion` and `Spear` are exact and know when they are; `DLG` and `CosineTV`
search. Label counts come from `attacks.inversion.labels`. Malicious servers are
not in this slice.
"""

from attacks.inversion.attack import Certificate, InversionAttack, Reconstruction
from attacks.inversion.labels import (
    estimate_labels,
    guess_counts,
    label_accuracy,
    label_counts,
)
from attacks.inversion.linear import LinearInversion
from attacks.inversion.matching import DLG, CosineTV
from attacks.inversion.spear import Spear

__all__ = [
    "DLG",
    "Certificate",
    "CosineTV",
    "InversionAttack",
    "LinearInversion",
    "Reconstruction",
    "Spear",
    "estimate_labels",
    "guess_counts",
    "label_accuracy",
    "label_counts",
]
