"""Attacks that rebuild training records from what an adversary saw of an update.

`LinearInversion`, `Spear`, `RGAP` (chains of invertible layers), `APRIL` (vision
transformers) and `DAGER` (sequences of tokens) are exact and know when they are; `DLG`,
`CosineTV`, `Modern`, `GradInversion` (with batch norm statistics) and `LocalSteps`
(several local steps, unrolled) search, `TokenMatching` does on sequences, and
`CocktailParty` separates by statistics. Label counts: `labels` estimates, `counts`
proves where it can, `localcounts` follows several local steps. `imprint` is what a
malicious server adds to the model, and what it reads there.
"""

from attacks.inversion.april import APRIL
from attacks.inversion.attack import Certificate, InversionAttack, Reconstruction
from attacks.inversion.batchnorm import statistics_of_buffers
from attacks.inversion.cocktail import CocktailParty
from attacks.inversion.cosine import CosineTV
from attacks.inversion.counts import ILRG, LabelCounts, certain_counts
from attacks.inversion.dager import DAGER
from attacks.inversion.dlg import DLG
from attacks.inversion.gradinversion import GradInversion
from attacks.inversion.imprint import Imprinted, ImprintInversion, equal_cuts
from attacks.inversion.labels import (
    estimate_labels,
    guess_counts,
    label_accuracy,
    label_counts,
)
from attacks.inversion.linear import LinearInversion
from attacks.inversion.localcounts import LocalCounts, LocalTraining
from attacks.inversion.localsteps import LocalSteps
from attacks.inversion.modern import Modern
from attacks.inversion.ranks import RankAnalysis, rank_analysis
from attacks.inversion.rgap import RGAP
from attacks.inversion.spear import Spear
from attacks.inversion.subsets import Part, Unit
from attacks.inversion.tokens import TokenMatching

__all__ = [
    "APRIL",
    "DAGER",
    "DLG",
    "ILRG",
    "RGAP",
    "Certificate",
    "CocktailParty",
    "CosineTV",
    "GradInversion",
    "ImprintInversion",
    "Imprinted",
    "InversionAttack",
    "LabelCounts",
    "LinearInversion",
    "LocalCounts",
    "LocalSteps",
    "LocalTraining",
    "Modern",
    "Part",
    "RankAnalysis",
    "Reconstruction",
    "Spear",
    "TokenMatching",
    "Unit",
    "certain_counts",
    "equal_cuts",
    "estimate_labels",
    "guess_counts",
    "label_accuracy",
    "label_counts",
    "rank_analysis",
    "statistics_of_buffers",
]
