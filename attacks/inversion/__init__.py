"""Attacks that rebuild training records from what an adversary saw of an update.

`LinearInversion` is exact and knows when it is; `DLG`, `CosineTV` and `Modern` search.
Label counts come from `attacks.inversion.labels`. Malicious servers are not here.
"""

from attacks.inversion.april import APRIL
from attacks.inversion.attack import Certificate, InversionAttack, Reconstruction
from attacks.inversion.cosine import CosineTV
from attacks.inversion.dager import DAGER
from attacks.inversion.dlg import DLG
from attacks.inversion.labels import (
    estimate_labels,
    guess_counts,
    label_accuracy,
    label_counts,
)
from attacks.inversion.linear import LinearInversion
from attacks.inversion.modern import Modern
from attacks.inversion.rgap import RGAP, RankAnalysis, rank_analysis

__all__ = [
    "APRIL",
    "DAGER",
    "DLG",
    "RGAP",
    "Certificate",
    "CosineTV",
    "InversionAttack",
    "LinearInversion",
    "Modern",
    "RankAnalysis",
    "Reconstruction",
    "estimate_labels",
    "guess_counts",
    "label_accuracy",
    "label_counts",
    "rank_analysis",
]
