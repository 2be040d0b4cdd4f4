"""Attacks on federated learning, over typed observations of what an adversary saw.

An attack takes an `Observation` and returns reconstructions or scores; `quality` and
`ranking` turn those into numbers, `nulls` says what chance achieves, `bounds` adds the
intervals. Nothing here trains a model, knows a configuration or draws a picture.
"""

from attacks.bootstrap import (
    bootstrap_auc,
    bootstrap_tpr,
    resample_auc,
    resample_tpr,
)
from attacks.bounds import (
    Estimate,
    clopper_pearson,
    mean_interval,
    min_detectable,
    paired_excess,
)
from attacks.canary import coins, dirac, one_run_audit, own_coordinates
from attacks.convert import from_breaching, from_state_dicts
from attacks.diagnosis import diagnose
from attacks.epsilon import (
    EpsilonBound,
    clopper_pearson_bound,
    gaussian_bound,
    gaussian_epsilon,
    one_run_bound,
)
from attacks.errors import (
    AttackError,
    LabelsUnavailable,
    MissingKnowledge,
    ObservationError,
    ParameterError,
    ScoringError,
    TooFewShadows,
    Unresolvable,
)
from attacks.finding import Finding, Trouble
from attacks.inversion import (
    APRIL,
    DAGER,
    DLG,
    ILRG,
    RGAP,
    Certificate,
    CocktailParty,
    CosineTV,
    InversionAttack,
    LabelCounts,
    LinearInversion,
    LocalCounts,
    LocalTraining,
    Modern,
    RankAnalysis,
    Reconstruction,
    Spear,
    certain_counts,
    estimate_labels,
    guess_counts,
    label_accuracy,
    label_counts,
    rank_analysis,
)
from attacks.membership import (
    Trainer,
    balanced_memberships,
    lira,
    logit_scaled_confidence,
    loss_threshold,
    rotate,
)
from attacks.nulls import (
    mean_record,
    other_records,
    with_foreign_gradient,
    with_random_gradient,
)
from attacks.observation import Adversary, Observation, require
from attacks.observed_file import load_observation, read_header, save_observation
from attacks.quality import VictimScore, match, mse, psnr, score, ssim
from attacks.ranking import ModelScores, auc, tpr_at_fpr
from attacks.resampled import Resampled, resamples_for
from attacks.tables import Field, RowScore, commonest_row, score_rows

__all__ = [
    "APRIL",
    "DAGER",
    "DLG",
    "ILRG",
    "RGAP",
    "Adversary",
    "AttackError",
    "Certificate",
    "CocktailParty",
    "CosineTV",
    "EpsilonBound",
    "Estimate",
    "Field",
    "Finding",
    "InversionAttack",
    "LabelCounts",
    "LabelsUnavailable",
    "LinearInversion",
    "LocalCounts",
    "LocalTraining",
    "MissingKnowledge",
    "ModelScores",
    "Modern",
    "Observation",
    "ObservationError",
    "ParameterError",
    "RankAnalysis",
    "Reconstruction",
    "Resampled",
    "RowScore",
    "ScoringError",
    "Spear",
    "TooFewShadows",
    "Trainer",
    "Trouble",
    "Unresolvable",
    "VictimScore",
    "auc",
    "balanced_memberships",
    "bootstrap_auc",
    "bootstrap_tpr",
    "certain_counts",
    "clopper_pearson",
    "clopper_pearson_bound",
    "coins",
    "commonest_row",
    "diagnose",
    "dirac",
    "estimate_labels",
    "from_breaching",
    "from_state_dicts",
    "gaussian_bound",
    "gaussian_epsilon",
    "guess_counts",
    "label_accuracy",
    "label_counts",
    "lira",
    "load_observation",
    "logit_scaled_confidence",
    "loss_threshold",
    "match",
    "mean_interval",
    "mean_record",
    "min_detectable",
    "mse",
    "one_run_audit",
    "one_run_bound",
    "other_records",
    "own_coordinates",
    "paired_excess",
    "psnr",
    "rank_analysis",
    "read_header",
    "require",
    "resample_auc",
    "resample_tpr",
    "resamples_for",
    "rotate",
    "save_observation",
    "score",
    "score_rows",
    "ssim",
    "tpr_at_fpr",
    "with_foreign_gradient",
    "with_random_gradient",
]
