"""The empirical ROC curve and its upper hull, from scores.

The curve holds what a threshold reaches on these scores; the hull what a coin between
two thresholds reaches. Both are chosen on the scores they describe, so they flatter: a
hull lies above the diagonal for any scores at all. They are for drawing; a figure with
an interval comes from `attacks.ranking`, `attacks.rates` and `attacks.bootstrap`, and
must not lie above the hull.
"""

from dataclasses import dataclass

import numpy as np

from attacks.errors import ParameterError
from attacks.ranking import Floats, check_scores


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Roc:
    """Rates of false and true alarms, from (0, 0) to (1, 1), both ascending.

    Args:
        fpr: (points,).
        tpr: (points,).
    """

    fpr: Floats
    tpr: Floats

    def area(self) -> float:
        """Return the area below the straight lines between the points."""
        widths = np.diff(self.fpr)
        return float((widths * (self.tpr[1:] + self.tpr[:-1])).sum() / 2)

    def at(self, fpr: float) -> float:
        """Return the height at one rate of false alarms, the upper end of a jump.

        Raises:
            ParameterError: (caller) the rate is not in [0, 1].
        """
        if not 0 <= fpr <= 1:
            raise ParameterError(f"fpr={fpr} must lie in [0, 1].")
        right = int(np.searchsorted(self.fpr, fpr, side="right"))
        if right == len(self.fpr):
            return float(self.tpr[-1])
        left = right - 1
        share = (fpr - self.fpr[left]) / (self.fpr[right] - self.fpr[left])
        return float(self.tpr[left] + share * (self.tpr[right] - self.tpr[left]))


def roc(members: Floats, nonmembers: Floats) -> Roc:
    """Return the points of all thresholds; its area is `auc`, ties counting one half.

    Raises:
        ParameterError: (caller) no or non-finite scores.
    """
    check_scores(members, "members")
    check_scores(nonmembers, "nonmembers")
    thresholds = np.unique(np.concatenate([members, nonmembers]))[::-1]

    def rates(scores: Floats) -> Floats:
        below = np.searchsorted(np.sort(scores), thresholds, side="left")
        return np.concatenate([[0.0], 1 - below / len(scores)])

    return Roc(fpr=rates(nonmembers), tpr=rates(members))


def hull(curve: Roc) -> Roc:
    """Return the vertices of the smallest concave curve on or above the points.

    Source: Andrew, "Another efficient algorithm for convex hulls in two dimensions",
    Information Processing Letters 9, 1979 (the upper chain).
    """
    kept: list[tuple[float, float]] = []
    for point in zip(curve.fpr.tolist(), curve.tpr.tolist(), strict=True):
        while len(kept) > 1 and _not_above(kept[-2], kept[-1], point):
            kept.pop()
        kept.append(point)
    fpr, tpr = np.array(kept).T
    return Roc(fpr=fpr, tpr=tpr)


def _not_above(
    one: tuple[float, float], middle: tuple[float, float], other: tuple[float, float]
) -> bool:
    """Say whether the middle point lies on or below the line between the others."""
    rise = (middle[1] - one[1]) * (other[0] - one[0])
    return rise <= (other[1] - one[1]) * (middle[0] - one[0])
