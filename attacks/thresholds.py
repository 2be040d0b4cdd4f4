"""How the threshold of an audit is chosen, so that its bound holds.

A bound at the threshold that looks best on the same scores holds for nothing. Here the
threshold is fixed in advance (`Explicit`), chosen on other scores (`Split`, or many
splits and their median, `MultiSplit`), or one of a few ranks fixed in advance, each at
its share of the error (`Bonferroni`). `attacks.many_runs` asks them.
"""

import math
from dataclasses import dataclass

from attacks.errors import ParameterError


@dataclass(frozen=True, slots=True)
class Explicit:
    """A threshold fixed without looking at any of the scores."""

    threshold: float

    def __post_init__(self) -> None:
        if not math.isfinite(self.threshold):
            raise ParameterError(f"threshold={self.threshold} must be finite.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """The best threshold of one random part of the scores, tested on the rest.

    Args:
        share: of the scores that chooses, between 0 and 1.
        seed: of the split.
    """

    share: float = 0.5
    seed: int = 0

    def __post_init__(self) -> None:
        _check_share(self.share)


@dataclass(frozen=True, slots=True, kw_only=True)
class MultiSplit:
    """The median of the bounds of many splits, each at half of the error.

    Sound because bounds that fail with probability at most a / 2 each, however they
    depend on one another, fail for half of the splits with probability at most a
    (Markov). Less a matter of luck than one split.

    Args:
        splits: how many.
        share: of the scores that chooses, between 0 and 1.
        seed: of the splits.
    """

    splits: int = 15
    share: float = 0.5
    seed: int = 0

    def __post_init__(self) -> None:
        _check_share(self.share)
        if self.splits < 1:
            raise ParameterError(f"splits={self.splits} must be at least 1.")


@dataclass(frozen=True, slots=True)
class Bonferroni:
    """The best of thresholds at ranks fixed in advance, each at a share of the error.

    A rank k stands for two thresholds: the one that k non-members exceed, and the one
    that k members fail to. The other class is independent of such a threshold, and the
    rate of its own class is bounded by its order statistic just as Clopper-Pearson does
    for k; so the cost is the number of ranks, not that of scores.

    Args:
        ranks: distinct, at least 0; None for 0, 1, 3, 7, ... below half of the smaller
            class.
    """

    ranks: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        ranks = self.ranks
        if ranks is not None and (
            not ranks or min(ranks) < 0 or len(set(ranks)) < len(ranks)
        ):
            raise ParameterError(f"ranks={ranks} must be distinct and at least 0.")


Thresholds = Explicit | Split | MultiSplit | Bonferroni


def _check_share(share: float) -> None:
    if not 0 < share < 1:
        raise ParameterError(f"share={share} must lie between 0 and 1.")
