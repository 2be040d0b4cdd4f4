"""Which members are exposed, as far as reference models on both sides can say.

Sets of members come onto the page, the single records go to their owner: the line
number of a record in the members' file, and how far training moved its score.
"""

from __future__ import annotations

import csv
import io
import math

import numpy as np
from numpy.typing import NDArray

from attacks import AttackError, Estimate, clopper_pearson
from attacks.exposure import WORST, MeanDistance, exposure, mean_distances, most_exposed
from fl.exposure import LISTED, MOST_ROWS, shown_of
from fl.model_audit.measure import MODEL, Asked
from fl.model_audit.records import Pool
from fl.model_audit.references import References
from fl.report import ExposureRow
from fl.report.exposed import SMALLEST_GROUP, GroupKind
from fl.seeds import seed_for
from fl.verdict import FAMILY_ERROR

HEAD = ("rank", "record", "distance")


def exposed(
    references: References, asked: Asked, pool: Pool, *, seed: int
) -> tuple[tuple[ExposureRow, ...], str]:
    """Return rows of sets of members, and the most exposed members as CSV.

    The intervals hold together at 95 % over the classes, and over the other two rows.
    Records count the lines of the members' file from 1, its head not included.

    Returns:
        No rows and "" where the references do not know every member from both sides.
    """
    answers, right = references.answers, asked.right
    inside = np.flatnonzero(pool.members)
    try:
        found = exposure(answers.phi[:, inside], answers.members[:, inside])
        share = max(WORST, SMALLEST_GROUP / len(inside))
        worst = most_exposed(found, share=share, seed=seed_for(seed, "most exposed"))
    except AttackError:
        return (), ""
    labels = answers.labels[inside]
    classes = shown_of(np.bincount(labels).tolist())
    sets = [np.arange(len(inside)), *(np.flatnonzero(labels == one) for one in classes)]
    whole, *each = mean_distances(found, sets)
    few, many = 1 - FAMILY_ERROR / 2, 1 - FAMILY_ERROR / max(1, len(classes))
    shadows = len(answers.members)
    outside = ~pool.members
    rows = [
        _row(GroupKind.ALL, "all", whole, whole, few, shadows, _right(right, outside)),
        _row(
            GroupKind.WORST,
            f"the most exposed {100 * worst.n / len(inside):.2g} %",
            worst,
            whole,
            few,
            shadows,
            None,
        ),
    ]
    by_class = []
    for one, mean in zip(classes, each, strict=True):
        alike = answers.labels == one
        held_out = outside & alike
        by_class.append(
            _row(
                GroupKind.CLASS,
                str(pool.labels[alike][0]),  # as it was given
                mean,
                whole,
                many,
                shadows,
                _right(right, held_out),
                groups=len(classes),
            )
        )
    by_class.sort(key=lambda row: -row.distance)
    rows += by_class[:MOST_ROWS]
    return tuple(rows), _listed(found.shrunk, pool.rows[inside])


def _listed(distance: NDArray[np.float64], lines: NDArray[np.int64]) -> str:
    least, share, most = LISTED
    count = min(most, max(least, math.ceil(share * len(lines))))
    text = io.StringIO()
    out = csv.writer(text, lineterminator="\n")
    out.writerow(HEAD)
    worst = np.argsort(-distance, kind="stable")[:count]
    for rank, place in enumerate(worst, start=1):
        out.writerow((rank, int(lines[place]) + 1, f"{distance[place]:.3f}"))
    return text.getvalue()


def _right(
    right: NDArray[np.bool_] | None, chosen: NDArray[np.bool_]
) -> Estimate | None:
    if right is None or chosen.sum() < SMALLEST_GROUP:  # they point at people, too
        return None
    return clopper_pearson(int(right[chosen].sum()), int(chosen.sum()))


def _row(
    by: GroupKind,
    group: str,
    mean: MeanDistance,
    whole: MeanDistance,
    level: float,
    shadows: int,
    accuracy: Estimate | None,
    *,
    groups: int = 1,
) -> ExposureRow:
    risk = mean.estimate(level)
    return ExposureRow(
        protection=MODEL,
        by=by,
        group=group,
        n=mean.n,
        distance=risk.value,
        low=risk.low,
        high=risk.high,
        confidence=level,
        above_all=by is not GroupKind.ALL and mean.above(whole, level),
        accuracy=None if accuracy is None else accuracy.value,
        accuracy_low=None if accuracy is None else accuracy.low,
        accuracy_high=None if accuracy is None else accuracy.high,
        accuracy_n=0 if accuracy is None else accuracy.n,
        groups=groups,
        shadows=shadows,
    )
