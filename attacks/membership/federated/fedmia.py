"""FedMIA: a client's update against the updates of all the others.

Zhu et al., "FedMIA" (CVPR 2025, arXiv 2402.06289): the clients' records are disjoint,
so every client but one is a model of how an update looks without the record. Per round
and record a normal distribution is fitted to the others' measurements, and the target's
is placed in it. The paper's measurements are the loss of the client's model (I) and the
cosine of its update with the record's gradient (II).

Two things are done differently in `fedmia` than in `fedmia_as_published`, which is kept
to compare with:

*Outliers.* One of the others may own the record, and would widen the fit: the paper
drops what is beyond three deviations (its equation 9), to which the outlier itself has
added. The largest of n values is never more than sqrt(n - 1) of their deviations above
their mean, so with fewer than eleven others nothing is ever dropped: the paper's own
ten clients leave nine. Here the largest is held against the rest, without itself, at
the same level in Student's t (`without_owner`). Records are disjoint: one is enough.

*Score.* The mean probability over rounds saturates: a record at seven deviations counts
like one at four. Here it is the sum over rounds of the log likelihood ratio of the
best-fitting shift against none, under variances that are shrunk towards those of the
other records (`moderated_variance`), since nine values say little of their own spread.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import special, stats

from attacks.errors import ParameterError
from attacks.membership.federated.moderated import moderated_variance
from attacks.membership.federated.seen import Series, SideBySide, side_by_side_of

Floats = NDArray[np.float64]
Bits = NDArray[np.bool_]

FEDMIA = "FedMIA"
OTHERS_NEEDED = 2  # fewer have no spread
DEVIATIONS = 3.0  # of the paper's rule
_TAIL = float(special.ndtr(-DEVIATIONS))  # what they leave beyond them
_PUBLISHED_FLOOR = 1e-8  # added to every variance by the authors' code


def fedmia(evidence: Series | SideBySide) -> Floats:
    """Score records by how far the target stands above the other clients.

    Args:
        evidence: every client's measurements; two others or more in each round.

    Returns:
        (records,), the sum over rounds of `z |z| / 2`: for z > 0 the log likelihood
        ratio of the shift that fits best, and for z < 0 the same against it. Higher
        for members.

    Raises:
        MissingKnowledge: only one series was seen (see `attacks.membership.federated.
            sums` for what to do then).
        ParameterError: a round has fewer than two other clients.
    """
    seen = side_by_side_of(evidence, FEDMIA)
    scores = np.zeros(seen.measured.shape[2])
    for target, others in _rounds(seen):
        kept = without_owner(others)
        count = kept.sum(axis=0).astype(np.float64)
        mean = np.where(kept, others, 0.0).sum(axis=0) / count
        squares = np.where(kept, (others - mean) ** 2, 0.0).sum(axis=0)
        variance = moderated_variance(squares, count - 1)
        z = _standardised(target - mean, variance * (1 + 1 / count))
        scores += z * np.abs(z) / 2
    return scores


def fedmia_as_published(evidence: Series | SideBySide) -> Floats:
    """Score records as in the paper: the mean over rounds of the normal distribution.

    Returns:
        (records,) in [0, 1], higher for members.

    Raises:
        MissingKnowledge: only one series was seen.
        ParameterError: a round has fewer than two other clients.

    Source: arXiv 2402.06289, section 3.3; the variance is that of the whole sample
    (divided by n), and 1e-8 is added to it, as in the authors' code.
    """
    seen = side_by_side_of(evidence, FEDMIA)
    probabilities = []
    for target, others in _rounds(seen):
        limit = others.mean(axis=0) + DEVIATIONS * others.std(axis=0)
        kept = np.where(others > limit, np.nan, others)
        mean, variance = np.nanmean(kept, axis=0), np.nanvar(kept, axis=0)
        deviation = np.sqrt(variance + _PUBLISHED_FLOOR)
        probabilities.append(special.ndtr((target - mean) / deviation))
    return np.asarray(np.mean(probabilities, axis=0))


def without_owner(others: Floats) -> Bits:
    """Say which of the other clients stay in the null of each record.

    The largest value is left out if it exceeds the prediction of the others: its
    distance from their mean, over their deviation times `sqrt(1 + 1 / (n - 1))`, is
    Student's t with n - 2 degrees of freedom where nobody owns the record; it is held
    against the level that three deviations have in a normal distribution, 0.00135 for
    each of the n values.

    Args:
        others: (n, records).

    Returns:
        bool (n, records); at most one False in a column, and none if n < 3.
    """
    count = len(others)
    kept = np.ones(others.shape, dtype=np.bool_)
    if count <= OTHERS_NEEDED:
        return kept
    columns = np.arange(others.shape[1])
    largest = others.argmax(axis=0)
    rest = others.copy()
    rest[largest, columns] = 0.0
    mean = rest.sum(axis=0) / (count - 1)
    deviations = (others - mean) ** 2
    deviations[largest, columns] = 0.0
    variance = deviations.sum(axis=0) / (count - 2)
    gap = others[largest, columns] - mean
    t = _standardised(gap, variance * (1 + 1 / (count - 1)))
    kept[largest, columns] = t <= stats.t.isf(_TAIL, count - 2)
    return kept


def _rounds(seen: SideBySide) -> list[tuple[Floats, Floats]]:
    """Return the target's and the others' measurements, round by round."""
    found = []
    for number, (target, others) in enumerate(
        zip(seen.alone().measured, seen.others(), strict=True)
    ):
        there = others[~np.isnan(others[:, 0])]
        if len(there) < OTHERS_NEEDED:
            raise ParameterError(
                f"FedMIA compares the target with at least {OTHERS_NEEDED} other "
                f"clients, but round {number} has {len(there)}; leave it out."
            )
        found.append((target, there))
    return found


def _standardised(gap: Floats, variance: Floats) -> Floats:
    """Return the gap in deviations, and a great many where these are all but zero."""
    # Equal updates have no spread; float64 cannot resolve less.
    floor = np.finfo(np.float64).eps * np.abs(gap) + np.finfo(np.float64).tiny
    return np.asarray(gap / np.maximum(np.sqrt(variance), floor))
