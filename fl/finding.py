"""What one attack measured, before anything is decided about it.

A finding holds the raw per-victim numbers, so that the intervals can be made as wide as
the whole page needs (`fl.verdict`). Nothing here is rounded, selected or judged.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from attacks import Adversary, ModelScores

Scores = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Paired:
    """Per-victim values beside the same measurement under the null; higher is worse.

    Attributes:
        metric: its name, with the unit in words where it has one.
        support: the least and the greatest value that the metric can take.
        values: (victims,); a failed attack counts with the value it got.
        nulls: (victims,), the same metric against other real records.
    """

    metric: str
    support: tuple[float, float]
    values: Scores
    nulls: Scores


@dataclass(frozen=True, slots=True, kw_only=True)
class Exact:
    """Per victim, whether a record came back exactly or certified.

    Attributes:
        hits: (victims,) bool.
        nulls: (victims,) bool, the same question asked of other real records.
        certified: how many of the hits carry a certificate.
        strangers: how many disjoint sets, each as large as the truth, the null asks
            about at least; 1 is always right, and needs the most hits.
    """

    hits: NDArray[np.bool_]
    nulls: NDArray[np.bool_]
    certified: int
    strangers: int = 1
    metric: str = "exact recoveries (fraction of victims)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """One attacked model: scores (higher: member), membership bits, record numbers.

    Attributes:
        scores: (records,), higher for members.
        members: (records,) the bits.
        records: (records,) row numbers.
        persons: (records,) whose each record is; None if each is somebody else's. One
            person's records are in or out together and much alike, so that intervals
            count persons where there are any.
    """

    scores: Scores
    members: NDArray[np.bool_]
    records: NDArray[np.int64]
    persons: NDArray[np.int64] | None = None

    @property
    def model_scores(self) -> ModelScores:
        """Return the scores by side, with the ids of what is resampled as a whole."""
        units = self.records if self.persons is None else self.persons
        return ModelScores(
            members=self.scores[self.members],
            nonmembers=self.scores[~self.members],
            member_ids=units[self.members],
            nonmember_ids=units[~self.members],
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranking:
    """Membership scores of one or more attacked models.

    Attributes:
        groups: one per model; intervals resample models and records.
        fpr: report the true-positive rate at this false-positive rate, or the AUC.
    """

    groups: tuple[Group, ...]
    fpr: float | None = None

    @property
    def metric(self) -> str:
        """Return the name of what is reported."""
        return "AUC" if self.fpr is None else f"TPR at {self.fpr:.1%} FPR"


@dataclass(frozen=True, slots=True, kw_only=True)
class Missing:
    """Nothing was measured, and why."""

    metric: str
    why: str


Measure = Paired | Exact | Ranking | Missing


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One attack by one adversary in one scenario.

    Attributes:
        protection: under which the messages were sent.
        adversary: who looked.
        view: at what, in words.
        scenario: "as configured" or "worst case".
        attack: its name.
        measures: what was measured, one row each.
        seeds: of the runs attacked.
        n_failed: victims on which the attack gave up; they count as failures.
        seconds: spent attacking.
        prevented: the rule and assumption that prove this view worthless, if any.
    """

    protection: str
    adversary: Adversary
    view: str
    scenario: str
    attack: str
    measures: tuple[Measure, ...]
    seeds: tuple[int, ...]
    n_failed: int = 0
    seconds: float = 0.0
    prevented: str | None = field(default=None)
