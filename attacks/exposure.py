"""How exposed single records are: what training on a record does to its score.

With phi the logit-scaled confidence under shadow models, a record's

    d' = (mean of phi where it was trained on - mean where not) / spread

is the distance between the two bell curves that a membership attack has to tell apart:
0 tells nothing, 1 lets the best attack reach an AUC of Phi(d' / sqrt 2) = 0.76 on such
records (Green and Swets 1966). With few shadows a single d' is mostly chance, so the
most exposed records are found by some shadows and measured by others: the highest of
many noisy numbers overstate themselves, while the mean hides them (Aerni, Zhang and
Tramer, "Evaluations of machine learning privacy defenses are misleading", CCS 2024).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special

from attacks.bounds import Estimate, check_confidence
from attacks.errors import ParameterError, TooFewShadows
from attacks.membership.lira import SIDE_NEEDED

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bits = NDArray[np.bool_]

WORST = 0.01  # share of the records that is set beside the mean
_PRIOR = 3.0  # strength with which a record's spread is drawn to the typical one
_SPLITS = 8  # divisions of the shadows into those that find and those that measure


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Exposure:
    """What the shadows say of each record.

    Args:
        distance: (N,) d', noisy and not drawn to anything: for means over records.
        shrunk: (N,) d' drawn towards the mean of all by as much of it as is chance
            (empirical Bayes; Efron and Morris 1975): for a ranking of records.
        spread: (N,) the unit of d', in units of phi.
        phi: (S, N) the shadows' scores.
        members: (S, N) which record trained which shadow.
    """

    distance: Floats
    shrunk: Floats
    spread: Floats
    phi: Floats
    members: Bits


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MeanDistance:
    """The mean d' of some records, and what each shadow may have added to it by chance.

    Args:
        value: the mean.
        parts: (S,) each shadow's part in the error; their squares sum to the variance.
        n: records.
    """

    value: float
    parts: Floats
    n: int

    def estimate(self, confidence: float) -> Estimate:
        """Return the interval for these very records under other shadows.

        Student's t on S - 2 degrees of freedom. Records may depend on one another in
        any way within a shadow; shadows are independent (cluster-robust variance,
        Liang and Zeger 1986, residuals corrected for the fitted means).
        """
        reach = self._reach(self.parts, confidence)
        return Estimate(
            value=self.value,
            low=self.value - reach,
            high=self.value + reach,
            n=self.n,
            confidence=confidence,
            method="Student's t over shadows",
        )

    def above(self, other: MeanDistance, confidence: float) -> bool:
        """Return whether this mean is above another one from the same shadows."""
        reach = self._reach(self.parts - other.parts, confidence)
        return self.value - other.value > reach

    def _reach(self, parts: Floats, confidence: float) -> float:
        check_confidence(confidence)
        quantile = special.stdtrit(len(parts) - 2, (1 + confidence) / 2)
        return float(quantile * np.sqrt(np.square(parts).sum()))


def exposure(phi: NDArray[np.floating], members: NDArray[np.bool_]) -> Exposure:
    """Measure d' of every record.

    Args:
        phi: (S, N) logit-scaled confidences under the shadows.
        members: (S, N) bool, drawn independently of everything else; each record in and
            out of at least two shadows.

    Raises:
        TooFewShadows: a record is in or out of fewer than two.
        ParameterError: the arrays do not fit or are not finite.
    """
    if phi.ndim != 2 or phi.shape != members.shape or members.dtype != np.bool_:
        raise ParameterError("phi and members must be (S, N), members of bool.")
    if not np.isfinite(phi).all():
        raise ParameterError("Confidences must be finite.")
    n_in, n_out = members.sum(axis=0), (~members).sum(axis=0)
    for count, what in ((n_in, "with"), (n_out, "without")):
        fewest = int(count.min(initial=SIDE_NEEDED))
        if fewest < SIDE_NEEDED:
            raise TooFewShadows(SIDE_NEEDED, fewest, f"shadows {what} each record")
    scores = phi.astype(np.float64)
    gap, spread = _gap(scores, members)
    distance = gap / spread
    noise = 1 / n_in + 1 / n_out
    real = max(0.0, float(distance.var() - noise.mean()))
    middle = float(distance.mean())
    return Exposure(
        distance=distance,
        shrunk=middle + real / (real + noise) * (distance - middle),
        spread=spread,
        phi=scores,
        members=members,
    )


def mean_distances(found: Exposure, groups: Sequence[Ints]) -> list[MeanDistance]:
    """Measure the mean d' of several sets of records.

    Args:
        found: from `exposure`.
        groups: rows of each set, none empty.

    Returns:
        One per set.

    Raises:
        ParameterError: a set is empty.
    """
    if not all(len(rows) for rows in groups):
        raise ParameterError("A group without records has no mean.")
    share = np.zeros((found.phi.shape[1], len(groups)))
    for place, rows in enumerate(groups):
        share[rows, place] = 1 / len(rows)
    parts = (_errors(found) * _contrast(found.members) / found.spread) @ share
    values = found.distance @ share
    return [
        MeanDistance(value=float(value), parts=own, n=len(rows))
        for value, own, rows in zip(values, parts.T, groups, strict=True)
    ]


def most_exposed(found: Exposure, *, share: float = WORST, seed: int) -> MeanDistance:
    """Measure the most exposed records' mean d' by shadows that did not find them.

    The shadows are divided at random into two halves, several times over; the records
    whose d' is highest by one half are measured by the other. Guarantee: where nothing
    leaks the mean is 0, not that of the highest of N chance results.

    Args:
        found: from `exposure`.
        share: of the records; at least one is taken.
        seed: of the divisions.

    Raises:
        TooFewShadows: the halves know no record from both sides.
    """
    shadows, records = found.phi.shape
    count = max(1, round(share * records))
    rng = np.random.default_rng(seed)
    errors = _errors(found)
    values: list[float] = []
    parts = np.zeros(shadows)
    for _ in range(_SPLITS):
        half = rng.permutation(np.arange(shadows) < shadows // 2)
        known = np.flatnonzero(_known(found, half) & _known(found, ~half))
        for finds in (half, ~half):
            scores, bits = found.phi[finds][:, known], found.members[finds][:, known]
            gap, spread = _gap(scores, bits)
            worst = known[np.argsort(-gap / spread, kind="stable")[:count]]
            if not len(worst):
                continue
            scores, bits = found.phi[~finds][:, worst], found.members[~finds][:, worst]
            # All of the other half, the spread too: one that the finders took part in
            # is small where both agree by chance.
            gap, spread = _gap(scores, bits)
            values.append(float((gap / spread).mean()))
            weights = _contrast(bits) / spread
            parts[~finds] += (errors[~finds][:, worst] * weights).mean(axis=1)
    if not values:
        raise TooFewShadows(2 * SIDE_NEEDED, shadows, "shadows to divide in two")
    return MeanDistance(
        value=float(np.mean(values)), parts=parts / len(values), n=count
    )


def area(distance: float) -> float:
    """Return the AUC of the best attack on records of this d': Phi(d' / sqrt 2)."""
    return float(special.ndtr(distance / np.sqrt(2)))


def _gap(phi: Floats, members: Bits) -> tuple[Floats, Floats]:
    """Return the difference of the means and the shrunk spread around them, (N,)."""
    inside, outside = _means(phi, members)
    squares = np.square(phi - np.where(members, inside, outside)).sum(axis=0)
    freedom = max(len(phi) - 2, 1)
    typical = float(squares.mean()) / freedom if squares.size else 0.0
    variance = (squares + 2 * _PRIOR * typical) / (freedom + 2 * _PRIOR)
    # Shadows that all say the same would divide by zero.
    floor = np.finfo(np.float64).eps * (1 + inside**2)
    return inside - outside, np.sqrt(np.maximum(variance, floor))


def _means(phi: Floats, members: Bits) -> tuple[Floats, Floats]:
    n_in = members.sum(axis=0)
    total, inside = phi.sum(axis=0), np.where(members, phi, 0.0).sum(axis=0)
    return inside / n_in, (total - inside) / (len(phi) - n_in)


def _contrast(members: Bits) -> Floats:
    """Return the weights that turn scores into the difference of the means, (S, N)."""
    n_in = members.sum(axis=0)
    weights: Floats = np.where(members, 1 / n_in, -1 / (len(members) - n_in))
    return weights


def _errors(found: Exposure) -> Floats:
    """Return what of each score no mean explains, as large as it is on average."""
    inside, outside = _means(found.phi, found.members)
    n_in = found.members.sum(axis=0)
    count = np.where(found.members, n_in, len(found.members) - n_in)
    left = found.phi - np.where(found.members, inside, outside)
    return np.asarray(left * np.sqrt(count / (count - 1)), dtype=np.float64)


def _known(found: Exposure, chosen: Bits) -> Bits:
    """Return which records these shadows know from both sides, (N,)."""
    part = found.members[chosen]
    return np.asarray(part.any(axis=0) & ~part.all(axis=0))
