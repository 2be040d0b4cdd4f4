"""What a sum alone says: no client stands beside it, so the null is the population.

Secure aggregation leaves the server the sum. Records that the attacker knows to be in
nobody's training take the others' place: measured on the same sum in the same round,
they show how a record looks that is not in it.

    against_population   any measurement of a record, against those of its class
    matched_filter       a measurement: the change itself, against a normal distribution
                         that is fitted to everybody else's part in it

The second follows Ngo et al., "Secure aggregation is not private against membership
inference attacks" (ECML PKDD 2024, arXiv 2403.17775): the others' updates are noise to
the one that is sought, close to a normal distribution by the central limit theorem, and
the likelihood ratio is the best test against it. They ask which of two updates a client
sent; asked here is whether one record's gradient is in the sum, and the normal is
fitted to gradients of the population.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from attacks.errors import ParameterError
from attacks.membership.federated.gradients import RecordGradients
from attacks.membership.federated.seen import Series, SideBySide, series_of

Floats = NDArray[np.float64]
Bits = NDArray[np.bool_]
Labels = NDArray[np.integer]

POPULATION = "against the population"
POPULATION_NEEDED = 10
# Variance in every direction beside the population's, in shares of all of its variance:
# a few hundred gradients have not shown most directions.
_RIDGE = 1e-3


def against_population(
    evidence: Series | SideBySide,
    population: Bits,
    labels: Labels,
    *,
    attack: str = POPULATION,
) -> Floats:
    """Score records by how far they stand above records that are in nobody's training.

    Args:
        evidence: one series, of a sum or of released models.
        population: (records,) bool, whom the attacker knows to be no member; ten or
            more. Never the non-members that the attack is judged on.
        labels: (records,); a record is compared with the population of its class, as
            far as there is one.
        attack: named in errors.

    Returns:
        (records,), the sum over rounds of `z |z| / 2`, as `fedmia`. Higher for members.

    Raises:
        RicherThanNeeded: handed every client's updates (the caller's fault).
        ParameterError: shapes do not fit, or the population is too small.
    """
    measured = series_of(evidence, attack)
    if population.shape != labels.shape or population.shape != measured.shape[1:]:
        raise ParameterError(
            f"population {population.shape} and labels {labels.shape} must be vectors "
            f"of all {measured.shape[1]} records."
        )
    if population.sum() < POPULATION_NEEDED:
        raise ParameterError(
            f"The population has {population.sum()} records; give "
            f"{POPULATION_NEEDED} or more."
        )
    kinds, of = np.unique(labels, return_inverse=True)
    scores = np.zeros(measured.shape[1])
    for row in measured:
        known = row[population]
        gaps = row - _class_means(known, of[population], len(kinds))[of]
        deviation = max(float(gaps[population].std()), _least(known))
        z = gaps / deviation
        scores += z * np.abs(z) / 2
    return scores


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Background:
    """What a round's gradients are like in general, at the model that it began from.

    Attributes:
        population: (population, parameters) float32 gradients, less their mean.
        centre: (parameters,) that mean, m.
        weights: (population, records) of the population's gradients in S^-1 (g - m).
        lengths: (records,) the roots of (g - m)' S^-1 (g - m).
        ridge: the variance of S in every direction.
    """

    population: NDArray[np.float32] = field(repr=False)
    centre: Floats = field(repr=False)
    weights: Floats = field(repr=False)
    lengths: Floats = field(repr=False)
    ridge: float


def background(
    gradients: RecordGradients, population: NDArray[np.floating]
) -> Background:
    """Fit a normal distribution to the population's gradients, for `matched_filter`.

    S has their covariance and a ridge beside; its inverse is applied through inner
    products with them alone (Woodbury), so it is never made.

    Args:
        gradients: of the records.
        population: (population, parameters) gradients of known non-members, ten or
            more.

    Raises:
        ParameterError: fewer than ten, or all of them alike.
    """
    count = len(population)
    if count < POPULATION_NEEDED:
        raise ParameterError(
            f"The population has {count} records; give {POPULATION_NEEDED} or more."
        )
    centre = population.mean(axis=0, dtype=np.float64)
    around = (population - centre).astype(np.float32)  # the largest array there is
    inner = gradients.along(np.vstack([around, centre[None]]))
    gram, of_centre = (around @ around.T).astype(np.float64), around @ centre
    records = inner[:-1] - of_centre[:, None]
    squared = gradients.norms() ** 2 - 2 * inner[-1] + float(centre @ centre)
    ridge = _RIDGE * float(np.trace(gram)) / count
    if ridge <= 0:
        raise ParameterError("The population's gradients are all equal.")
    # S = Z'Z / count + ridge, so S^-1 = (1 - Z' (Z Z' + count ridge)^-1 Z) / ridge.
    weights = np.linalg.solve(gram + count * ridge * np.eye(count), records)
    lengths = (squared - (records * weights).sum(axis=0)) / ridge
    # A record that is the mean in every direction says nothing.
    return Background(
        population=around,
        centre=centre,
        weights=weights,
        lengths=np.sqrt(np.maximum(lengths, _least(squared / ridge))),
        ridge=ridge,
    )


def matched_filter(
    known: Background, gradients: RecordGradients, descents: NDArray[np.floating]
) -> Floats:
    """Measure how much of each record's gradient is in each sum.

    With m and S the mean and covariance of the population's gradients and y the mean
    gradient that the sum shows over n records, y is normal around m with covariance
    S / n without the record, and around m + a (g - m) / n with it; a is 1 after one
    step, and less once the record was learnt. The log likelihood ratio at the a that
    fits best grows with

        (y - m)' S^-1 (g - m) / sqrt((g - m)' S^-1 (g - m))

    which is what is returned.

    Args:
        known: of the same round and records.
        gradients: of the records.
        descents: (changes, parameters) model before less model after, over how far a
            gradient moves the model in the round: the mean gradient of a sum.

    Returns:
        (changes, records), higher for members; to be held `against_population`.
    """
    shown = descents - known.centre
    own = gradients.along(shown) - (shown @ known.centre)[:, None]
    along = (own - (shown @ known.population.T) @ known.weights) / known.ridge
    return np.asarray(along / known.lengths)


def _class_means(values: Floats, of: Labels, kinds: int) -> Floats:
    """Return each class's mean, shrunk towards all as far as classes are alike.

    The usual estimate of a random effect: the variance between classes, less what the
    variance within makes of their means, says how much a class's own records count.
    """
    counts = np.bincount(of, minlength=kinds)
    own = np.bincount(of, weights=values, minlength=kinds) / np.maximum(counts, 1)
    there = counts > 0
    within = float(((values - own[of]) ** 2).sum()) / max(len(values) - kinds, 1)
    chance = within * float((1 / counts[there]).mean())
    between = float(own[there].var(ddof=1)) - chance if there.sum() > 1 else 0.0
    if between <= 0:
        return np.full(kinds, values.mean())
    share = counts * between / (counts * between + within)
    return np.asarray(share * own + (1 - share) * values.mean())


def _least(values: Floats) -> float:
    """Return the least deviation that float64 resolves among such values."""
    scale = float(np.abs(values).max()) + float(np.finfo(np.float64).tiny)
    return float(np.finfo(np.float64).eps) * scale
