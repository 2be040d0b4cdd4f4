"""The blind baseline: can members be told from non-members without any model?

Membership inference measures what a model tells only if, the model aside, members and
non-members are alike. Where a classifier fitted on inputs and labels alone tells them
apart, an attack's success says nothing about the model (Das, Zhang and Tramer, "Blind
baselines beat membership inference attacks for foundation models", 2024): the audit is
then invalid, whatever its other numbers say.

Three learners try, each for itself: ridge regression on labels alone, the same on
inputs less the mean of their class, and boosted trees on both where records are many.
Each is cross-fitted: no record is scored by a classifier that was fitted on it, or on
another record of the same person.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from attacks.blind_features import BlindFeatures, blind_features
from attacks.bootstrap import resample_auc
from attacks.bounds import DEFAULT_CONFIDENCE, Estimate, check_confidence
from attacks.errors import ParameterError
from attacks.ranking import ModelScores, auc

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bits = NDArray[np.bool_]
Learner = Callable[[Floats, Bits, Floats], Floats]

LABELS, LINEAR, TREES = "labels alone", "ridge regression", "boosted trees"
FOLDS = 5
FEWEST = 2 * FOLDS  # records on each side, or nothing can be said of a group
TREES_NEED = 100  # records on each side before trees are worth their time
_MOST = 4000  # records of a group that are looked at: more change no verdict
_DRAWS = 400  # further out the interval goes on as a normal tail
_PERMUTED = 19  # sets of permuted bits that a finding must also beat


@dataclass(frozen=True, slots=True, kw_only=True)
class Sides:
    """Members and non-members of one attacked model, as rows of the records.

    Args:
        members: (n,) rows.
        nonmembers: (m,) rows, none of them a member's.
    """

    members: Ints
    nonmembers: Ints


@dataclass(frozen=True, slots=True, kw_only=True)
class BlindBaseline:
    """How well members are told from non-members without a model.

    Args:
        auc: of the learner that did best, each at a level corrected for the others.
        learner: its name.
        others: the same of the learners that did worse.
        permuted: highest AUC of `learner` on permuted membership, where that was asked;
            None where its interval holds chance anyway.
        beats_chance: the interval is above one half, the AUC above all permuted ones.
        groups: how many were large enough to be asked, of all.
        confidence: that nothing beats chance by accident.
        seed: of folds, learners, bootstrap and permutations.
    """

    auc: Estimate
    learner: str
    others: tuple[tuple[str, Estimate], ...]
    permuted: float | None
    beats_chance: bool
    groups: tuple[int, int]
    confidence: float
    seed: int


def blind_baseline(
    inputs: NDArray[np.generic],
    labels: NDArray[np.integer],
    groups: Sequence[Sides],
    *,
    persons: Ints | None = None,
    confidence: float = DEFAULT_CONFIDENCE,
    seed: int,
) -> BlindBaseline | None:
    """Tell members from non-members by input and label alone, or fail to.

    Guarantee: if inputs and labels are independent of membership, `beats_chance` is
    True with probability about `(1 - confidence) / 2`: intervals are two-sided, and an
    AUC below one half tells nothing (in an evened-out split a class that is rarer in
    one fold is commoner in the rest). Scores of different folds are not independent,
    since each fold serves to fit the others' learners; resampling folds besides
    records makes up for it (simulated where 2.5 % are allowed: 1.0 to 1.3 %, and
    3.3 +- 0.9 % in groups of a dozen members).

    Args:
        inputs: (N, *shape) what the model is given, finite.
        labels: (N,) classes.
        groups: one or more attacked models; the AUC is the mean over them.
        persons: (N,) equal for records of one person, who is then in one fold.
        confidence: of all learners together.
        seed: everything random follows from it.

    Returns:
        The baseline; None if every group has fewer than 10 records on a side.

    Raises:
        ParameterError: arrays do not fit or are not finite; a record is on both sides.
    """
    check_confidence(confidence)
    who = np.arange(len(labels), dtype=np.int64) if persons is None else persons
    for group in groups:
        if np.isin(group.members, group.nonmembers).any():
            raise ParameterError("A record is a member and a non-member of one group.")
    asked = [_some(g, seed) for g in groups if _fewest(g, who) >= FEWEST]
    if not asked:
        return None
    features = blind_features(inputs, labels, seed=seed)
    worth = min(_fewest(group, who) for group in asked) >= TREES_NEED
    names = (LABELS, LINEAR, TREES) if worth else (LABELS, LINEAR)
    each = 1 - (1 - confidence) / len(names)
    found: list[tuple[str, Estimate]] = []
    for name in names:
        scores = [one for g in asked for one in _crossed(name, features, g, who, seed)]
        drawn = resample_auc(scores, seed=seed, draws=_DRAWS)
        found.append((name, drawn.estimate(each)))
    (best, estimate), *others = sorted(found, key=lambda one: -one[1].low)
    permuted = None
    if estimate.low > 0.5:
        permuted = _permuted(best, features, asked, who, seed)
    return BlindBaseline(
        auc=estimate,
        learner=best,
        others=tuple(others),
        permuted=permuted,
        beats_chance=permuted is not None and estimate.value > permuted,
        groups=(len(asked), len(groups)),
        confidence=confidence,
        seed=seed,
    )


def _fewest(group: Sides, persons: Ints) -> int:
    """Return on how many persons the thinner side of a group rests."""
    sides = (group.members, group.nonmembers)
    return min(len(np.unique(persons[side])) for side in sides)


def _some(group: Sides, seed: int) -> Sides:
    """Return the group, thinned at random where it is larger than need be."""
    total = len(group.members) + len(group.nonmembers)
    rng = np.random.default_rng((seed, 0))
    if total <= _MOST:
        return group
    kept = [
        rng.choice(side, max(FEWEST, len(side) * _MOST // total), replace=False)
        for side in (group.members, group.nonmembers)
    ]
    return Sides(members=kept[0], nonmembers=kept[1])


def _crossed(
    name: str, features: BlindFeatures, group: Sides, persons: Ints, seed: int
) -> list[ModelScores]:
    """Score each fold that has both sides by a learner fitted on the others."""
    rows = np.concatenate([group.members, group.nonmembers])
    inside = np.arange(len(rows)) < len(group.members)
    fold = _folds(persons[rows], inside, seed)
    tables = {LABELS: features.labels, LINEAR: features.inputs, TREES: features.both}
    table = tables[name]
    learn = _trees(seed) if name == TREES else _ridge
    found = []
    for index in range(FOLDS):
        here = fold == index
        if not (inside[here].any() and (~inside[here]).any()):
            continue
        scores = learn(table[rows[~here]], inside[~here], table[rows[here]])
        of = persons[rows[here]]
        found.append(
            ModelScores(
                members=scores[inside[here]],
                nonmembers=scores[~inside[here]],
                member_ids=of[inside[here]],
                nonmember_ids=of[~inside[here]],
            )
        )
    return found


def _folds(persons: Ints, inside: Bits, seed: int) -> Ints:
    """Deal persons out to folds, those of each side evenly; (N,) fold numbers."""
    rng = np.random.default_rng((seed, 1))
    known, first, of = np.unique(persons, return_index=True, return_inverse=True)
    fold = np.empty(len(known), dtype=np.int64)
    for side in (True, False):
        own = rng.permutation(np.flatnonzero(inside[first] == side))
        fold[own] = np.arange(len(own)) % FOLDS
    return fold[of]


def _permuted(
    name: str,
    features: BlindFeatures,
    groups: Sequence[Sides],
    persons: Ints,
    seed: int,
) -> float:
    """Return the highest mean AUC that the learner gets where bits mean nothing."""
    rng, best = np.random.default_rng((seed, 2)), 0.0
    for turn in range(_PERMUTED):
        scores = []
        for group in groups:
            rows = np.concatenate([group.members, group.nonmembers])
            known, of = np.unique(persons[rows], return_inverse=True)
            # Whole persons change sides, as many of them as there were.
            count = len(np.unique(persons[group.members]))
            inside = (rng.permutation(len(known)) < count)[of]
            swapped = Sides(members=rows[inside], nonmembers=rows[~inside])
            scores += _crossed(name, features, swapped, persons, seed + turn)
        mean = np.mean([auc(one.members, one.nonmembers) for one in scores])
        best = max(best, float(mean))
    return best


def _ridge(known: Floats, inside: Bits, asked: Floats) -> Floats:
    """Fit the bits by least squares, half a unit of penalty on the slopes."""
    centre = known.mean(axis=0)
    table = known - centre
    square = table.T @ table + 0.5 * np.eye(len(centre))
    slopes = np.linalg.solve(square, table.T @ (inside - inside.mean()))
    return np.asarray((asked - centre) @ slopes, dtype=np.float64)


def _trees(seed: int) -> Learner:
    # Imported where it is needed: it takes a second that most callers can do without.
    from sklearn.ensemble import HistGradientBoostingClassifier

    def learn(known: Floats, inside: Bits, asked: Floats) -> Floats:
        model = HistGradientBoostingClassifier(
            max_iter=20,
            max_leaf_nodes=8,
            max_bins=32,
            early_stopping=False,
            random_state=seed % 2**32,
        )
        scores = model.fit(known, inside).decision_function(asked)
        return np.asarray(scores, dtype=np.float64)

    return learn
