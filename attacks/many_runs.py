"""Epsilon from the scores of independent runs, with a threshold that was paid for.

Higher score = "the run had the canary", and so guessed if strictly above the threshold.
"""

import math
from dataclasses import dataclass, replace
from statistics import median_low

import numpy as np
from scipy import special

from attacks.bounds import DEFAULT_CONFIDENCE, check_confidence
from attacks.epsilon import EpsilonBound, check_delta
from attacks.errors import ParameterError
from attacks.ranking import Floats, Ints, check_scores
from attacks.thresholds import Bonferroni, Explicit, MultiSplit, Split, Thresholds
from attacks.tradeoff import ANY_MECHANISM, Curve, Family


def bound_from_scores(
    members: Floats,
    nonmembers: Floats,
    *,
    thresholds: Thresholds,
    delta: float,
    confidence: float = DEFAULT_CONFIDENCE,
    family: Family = ANY_MECHANISM,
) -> EpsilonBound:
    """Bound epsilon by the scores of independent runs with and without the canary.

    Guarantee: if all runs are independent, no claim of the family that covers the
    mechanism is refuted, with probability at least `confidence`. By default the claims
    are (epsilon, delta)-DP and the value is that of `clopper_pearson_bound`; another
    family assumes its shape (`GAUSSIAN` gives `gaussian_bound`).

    Canaries of *one* run are independent only if the mechanism treats them so; for
    those there is `one_run_audit`.

    Source: Jagielski et al. 2020; Nasr et al. 2023; for medians of splits Meinshausen,
    Meier and Buehlmann, Journal of the American Statistical Association 104, 2009.

    Args:
        members: scores of runs with the canary, (n,).
        nonmembers: scores of runs without it, (m,).
        thresholds: how the threshold is chosen.
        delta: at which epsilon is stated.
        confidence: one-sided.
        family: of claims to refute.

    Returns:
        The bound. `guesses` and `right` are of the runs tested at the threshold that
        gave it; `ceiling` is what perfect scores would give with this choice.

    Raises:
        ParameterError: (caller) no or non-finite scores, too few for the split, or a
            rank that one of the classes does not have.
    """
    check_confidence(confidence)
    check_delta(delta)
    check_scores(members, "members")
    check_scores(nonmembers, "nonmembers")
    ask = _Question(family, delta, 1 - confidence)
    match thresholds:
        case Explicit(threshold):
            found = ask.at(members, nonmembers, threshold)
        case Split(share=share, seed=seed):
            found = ask.split(members, nonmembers, share, seed)
        case MultiSplit(splits=splits, share=share, seed=seed):
            half = replace(ask, error=ask.error / 2)
            seeds = np.random.SeedSequence(seed).generate_state(splits)
            bounds = [half.split(members, nonmembers, share, int(s)) for s in seeds]
            middle = median_low(bound.value for bound in bounds)
            found = next(bound for bound in bounds if bound.value == middle)
        case Bonferroni(ranks):
            found = ask.best_rank(members, nonmembers, ranks)
    kind = f"{type(thresholds).__name__} threshold"
    return replace(
        found,
        confidence=confidence,
        canaries=len(members) + len(nonmembers),
        method=f"Clopper-Pearson, {family.assumes}, {kind}",
    )


@dataclass(frozen=True, slots=True)
class _Question:
    """What is asked of every threshold: a family, a delta, and the error allowed."""

    family: Family
    delta: float
    error: float

    def at(self, members: Floats, nonmembers: Floats, threshold: float) -> EpsilonBound:
        """Bound at a threshold that is independent of these scores."""
        misses = np.array([np.sum(members <= threshold)])
        alarms = np.array([np.sum(nonmembers > threshold)])
        return self.best(misses, len(members), alarms, len(nonmembers))

    def best(self, misses: Ints, n: int, alarms: Ints, m: int) -> EpsilonBound:
        """Bound by each pair of counts and return the best, beside the ceiling."""
        values = self._epsilons(misses, n, alarms, m)
        i = int(np.argmax(values))
        none = np.zeros(1, dtype=np.int64)
        return EpsilonBound(
            value=values[i],
            ceiling=self._epsilons(none, n, none, m)[0],
            confidence=1 - self.error,
            canaries=n + m,
            guesses=n + m,
            right=n - int(misses[i]) + m - int(alarms[i]),
            method="",
        )

    def _epsilons(self, misses: Ints, n: int, alarms: Ints, m: int) -> list[float]:
        # Clopper and Pearson's upper ends, each with half of the error.
        fnrs = _upper(misses, n, self.error / 2)
        fprs = _upper(alarms, m, self.error / 2)

        def epsilon(fnr: float, fpr: float) -> float:
            def refuted(curve: Curve) -> bool:
                return fpr < curve(1 - fnr) or fnr < curve(1 - fpr)

            return self.family.weakest_refuted(refuted, self.delta)

        return [epsilon(*pair) for pair in zip(fnrs, fprs, strict=True)]

    def split(
        self, members: Floats, nonmembers: Floats, share: float, seed: int
    ) -> EpsilonBound:
        """Choose on one random part, bound on the other."""
        rng = np.random.default_rng(seed)
        (choose_in, test_in), (choose_out, test_out) = (
            _parted(rng.permutation(scores), share) for scores in (members, nonmembers)
        )
        ranks = _ranks(min(len(choose_in), len(choose_out)))
        thresholds, misses, alarms = _at_ranks(choose_in, choose_out, ranks)
        n, m = len(choose_in), len(choose_out)
        values = self._epsilons(misses, n, alarms, m)
        # Where nothing is refuted yet, the threshold of the best accuracy is chosen.
        best = max(
            range(len(values)),
            key=lambda i: (values[i], -misses[i] / n - alarms[i] / m),
        )
        return self.at(
            test_in, test_out, _midway(thresholds[best], choose_in, choose_out)
        )

    def best_rank(
        self, members: Floats, nonmembers: Floats, ranks: tuple[int, ...] | None
    ) -> EpsilonBound:
        """Bound at every rank with its share of the error and return the best."""
        smaller = min(len(members), len(nonmembers))
        if ranks is None:
            ranks = _ranks(smaller)
        if max(ranks) >= smaller:
            raise ParameterError(
                f"rank {max(ranks)} needs more than {smaller} scores of each class."
            )
        _, misses, alarms = _at_ranks(members, nonmembers, ranks)
        each = replace(self, error=self.error / (2 * len(ranks)))
        return each.best(misses, len(members), alarms, len(nonmembers))


def _at_ranks(
    members: Floats, nonmembers: Floats, ranks: tuple[int, ...]
) -> tuple[Floats, Ints, Ints]:
    """Return thresholds, misses and alarms: first by alarms, then by misses.

    With ties the class that set a threshold counts its rank, which is never too few.
    """
    rank = np.array(ranks, dtype=np.int64)
    falling, rising = np.sort(nonmembers)[::-1], np.sort(members)
    by_alarms = falling[rank]
    # Strictly below the member of this rank, so that it is still guessed "in".
    by_misses = np.nextafter(rising[rank], -np.inf)
    misses = np.searchsorted(rising, by_alarms, side="right")
    alarms = len(falling) - np.searchsorted(falling[::-1], by_misses, side="right")
    return (
        np.concatenate([by_alarms, by_misses]),
        np.concatenate([misses, rank]),
        np.concatenate([rank, alarms]),
    )


def _midway(threshold: float, members: Floats, nonmembers: Floats) -> float:
    """Move a threshold to the middle of the scores around it; same guesses here."""
    pooled = np.concatenate([members, nonmembers])
    above = pooled[pooled > threshold]
    return float(threshold + above.min()) / 2 if len(above) else float(threshold)


def _upper(counts: Ints, n: int, tail: float) -> list[float]:
    """Return the rates that leave `tail` to so few of n or fewer."""
    ends = 1 - special.betaincinv(np.maximum(n - counts, 1), counts + 1, tail)
    return [float(end) for end in np.where(counts < n, ends, 1.0)]


def _ranks(smaller: int) -> tuple[int, ...]:
    """0, 1, 3, 7, ... below half of `smaller`."""
    count = max(1, math.ceil(math.log2(smaller / 2 + 1)))
    return tuple(2**i - 1 for i in range(count))


def _parted(scores: Floats, share: float) -> tuple[Floats, Floats]:
    first = round(share * len(scores))
    if not 0 < first < len(scores):
        raise ParameterError(
            f"{len(scores)} scores cannot be split at share={share}; give more runs."
        )
    return scores[:first], scores[first:]
