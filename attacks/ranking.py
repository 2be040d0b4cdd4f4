"""Scores to ROC figures with intervals: AUC, and TPR at a low FPR.

Higher score = member, everywhere. Figures at an FPR that the non-members cannot
resolve (fewer than ten expected false positives) raise instead of being printed.
Intervals that know that scores share models and records are in `attacks.bootstrap`.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from attacks.bounds import (
    DEFAULT_CONFIDENCE,
    Estimate,
    clopper_pearson,
)
from attacks.errors import ParameterError, Unresolvable

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

FALSE_POSITIVES_NEEDED = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelScores:
    """Membership scores under one target model.

    Args:
        members: scores of the records it was trained on, (n,).
        nonmembers: scores of other records, (m,).
        member_ids: which record each score belongs to, int64 (n,), or which person, if
            a person's records are in or out together; None if none recurs.
        nonmember_ids: the same for `nonmembers`.
    """

    members: Floats
    nonmembers: Floats
    member_ids: Ints | None = None
    nonmember_ids: Ints | None = None

    def __post_init__(self) -> None:
        check_scores(self.members, "members")
        check_scores(self.nonmembers, "nonmembers")
        if (self.member_ids is None) != (self.nonmember_ids is None):
            raise ParameterError(
                "Give ids for members and non-members, or for neither."
            )
        for ids, scores in (
            (self.member_ids, self.members),
            (self.nonmember_ids, self.nonmembers),
        ):
            if ids is not None and ids.shape != scores.shape:
                raise ParameterError("Ids and scores must have the same shape.")


def auc(members: Floats, nonmembers: Floats) -> float:
    """Return P(member scores above non-member), ties counting one half.

    Source: Mann and Whitney 1947, by midranks.
    """
    check_scores(members, "members")
    check_scores(nonmembers, "nonmembers")
    n, m = len(members), len(nonmembers)
    ranks = stats.rankdata(np.concatenate([members, nonmembers]))
    return float((ranks[:n].sum() - n * (n + 1) / 2) / (n * m))


def tpr_at_fpr(
    members: Floats,
    nonmembers: Floats,
    fpr: float,
    confidence: float = DEFAULT_CONFIDENCE,
) -> Estimate:
    """Estimate the true-positive rate at a false-positive rate of at most `fpr`.

    The threshold lets at most `floor(fpr * m)` of the m non-members pass; ties are
    refused, never interpolated. The interval is Clopper-Pearson over members at this
    threshold: it does not know that the threshold was estimated (`bootstrap_tpr` does).

    Raises:
        Unresolvable: fewer than 10 / fpr non-members.
    """
    check_scores(members, "members")
    check_scores(nonmembers, "nonmembers")
    check_resolution(fpr, len(nonmembers))
    allowed = math.floor(fpr * len(nonmembers) + 1e-9)
    threshold = np.sort(nonmembers)[::-1][allowed]
    hits = int((members > threshold).sum())
    found = clopper_pearson(hits, len(members), confidence)
    return Estimate(
        value=found.value,
        low=found.low,
        high=found.high,
        n=len(members),
        confidence=confidence,
        method="Clopper-Pearson at a fixed threshold",
    )


def check_resolution(fpr: float, nonmembers: int) -> None:
    """Raise Unresolvable unless ten false positives are expected at this rate."""
    if not 0 < fpr < 1:
        raise ParameterError(f"fpr={fpr} must lie between 0 and 1.")
    need = math.ceil(FALSE_POSITIVES_NEEDED / fpr - 1e-9)
    if nonmembers < need:
        raise Unresolvable(fpr, need, nonmembers)


def check_scores(scores: Floats, name: str) -> None:
    """Raise ParameterError unless these are some finite scores in one vector."""
    if scores.ndim != 1 or len(scores) == 0 or not np.isfinite(scores).all():
        raise ParameterError(f"{name} must be a non-empty vector of finite scores.")
