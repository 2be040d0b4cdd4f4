"""Which attack is best at this many shadows: all of them on the same models, in turn.

Of S trained models each plays the target once, with the S - 1 others as its shadows
(Carlini et al., S&P 2022). Attacks are compared target by
target. Targets of one rotation are each other's shadows, so they are not independent:
an interval over them says how sure the difference is on these S models, and a claim
about training in general needs rotations of several seeds and data sets.

Where each record is in equally many models, those other than the target know a member
once less than another record, so its two means rest on unlike numbers of models. That
works against attacks that compare them: on 17 models that learnt nothing, each record
in 8, LiRA has an AUC of 0.493 +- 0.001 (12 draws), BASE and the offline attacks 0.500;
with memberships by independent coins all have 0.499 +- 0.002. A lead on LiRA that is as
small is no lead.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from attacks.bounds import DEFAULT_CONFIDENCE, Estimate, paired_excess
from attacks.errors import ParameterError, Unresolvable
from attacks.membership.folds import scored
from attacks.membership.known import Known, ShadowAnswers, Shadowing
from attacks.membership.registry import ATTACKS, MembershipAttack, tuned
from attacks.ranking import ModelScores, auc, tpr_at_fpr

Floats = NDArray[np.float64]
RATES = (0.01, 0.001)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rotated:
    """What one attack reached on each model of a rotation.

    Attributes:
        name: of the attack in the registry.
        auc: (S,).
        tpr: by false-positive rate, (S,); NaN where a target's own non-members cannot
            resolve it.
        scores: of each target, with record ids, for intervals over records and models.
    """

    name: str
    auc: Floats
    tpr: Mapping[float, Floats]
    scores: tuple[ModelScores, ...]


def usable(*, features: bool = False) -> tuple[str, ...]:
    """Return the attacks that a rotation over logits can run.

    Args:
        features: whether the records themselves are given too.
    """
    return tuple(
        name
        for name, attack in ATTACKS.items()
        if not (attack.needs.copies or attack.needs.rounds)
        and (features or not attack.needs.features)
    )


def rotate_all(
    logits: NDArray[np.float32],
    members: NDArray[np.bool_],
    labels: NDArray[np.integer],
    *,
    seed: int,
    names: Sequence[str] | None = None,
    features: NDArray[np.floating] | None = None,
    rates: Sequence[float] = RATES,
) -> dict[str, Rotated]:
    """Run attacks on every model in turn, with all others as its shadows.

    Args:
        logits: of each model on every record, (S, N, C) float32; S at least 17.
        members: which records trained which model, (S, N) bool.
        labels: (N,).
        seed: of folds and classifiers; the same for all attacks.
        names: of attacks in the registry; None runs all that `usable` names.
        features: the records, (N, ...), for attacks that look at them.
        rates: false-positive rates of the true-positive rates.

    Returns:
        By name, in the order of ``names``; entries of one index are of one target.

    Raises:
        ParameterError: an unknown attack, one that needs what a rotation lacks, or
            arrays that do not fit.
        TooFewShadows: fewer models than an attack needs.
    """
    every = ShadowAnswers(logits=logits, labels=labels, members=members)
    _ = every.phi, every.log_p, every.entropy, every.modified_entropy
    chosen = _chosen(names, features is not None)
    found: dict[str, list[ModelScores]] = {name: [] for name in chosen}
    for target in range(len(logits)):
        shadows = every.take(np.arange(len(logits)) != target)
        offline = any(
            one.needs.shadows is Shadowing.OUT and one.needs.population
            for one in chosen.values()
        )
        known = Known(
            labels=labels,
            seed=seed,
            logits=logits[target],
            shadows=shadows,
            prior=tuned(shadows) if offline else None,
            features=features,
        )
        inside = members[target]
        for name, attack in chosen.items():
            scores = scored(attack, known, ~inside, seed=seed)
            found[name].append(
                ModelScores(
                    members=scores[inside],
                    nonmembers=scores[~inside],
                    member_ids=np.flatnonzero(inside),
                    nonmember_ids=np.flatnonzero(~inside),
                )
            )
    return {name: _rotated(name, scores, rates) for name, scores in found.items()}


def paired(
    better: Rotated,
    other: Rotated,
    *,
    fpr: float | None = None,
    confidence: float = DEFAULT_CONFIDENCE,
) -> Estimate:
    """Estimate how much one attack gains on another, paired by target.

    Args:
        better: of one rotation.
        other: of the same.
        fpr: compare true-positive rates at this rate, or AUCs.
        confidence: of the interval (Student's t over targets; see the module's note).

    Raises:
        ParameterError: rotations of different size, or an unresolved rate.
    """
    pair = [one.auc if fpr is None else one.tpr[fpr] for one in (better, other)]
    if not all(np.isfinite(values).all() for values in pair):
        raise ParameterError(f"The non-members do not resolve FPR={fpr}.")
    return paired_excess(
        pair[0].tolist(), pair[1].tolist(), confidence, support=(-1.0, 1.0)
    )


def _chosen(names: Sequence[str] | None, features: bool) -> dict[str, MembershipAttack]:
    able = usable(features=features)
    for name in names or ():
        if name not in able:
            raise ParameterError(
                f"{name!r} cannot be compared here; use some of {', '.join(able)}."
            )
    return {name: ATTACKS[name] for name in (able if names is None else names)}


def _rotated(
    name: str, scores: Sequence[ModelScores], rates: Sequence[float]
) -> Rotated:
    return Rotated(
        name=name,
        auc=np.array([auc(one.members, one.nonmembers) for one in scores]),
        tpr={rate: np.array([_tpr(one, rate) for one in scores]) for rate in rates},
        scores=tuple(scores),
    )


def _tpr(scores: ModelScores, rate: float) -> float:
    try:
        return tpr_at_fpr(scores.members, scores.nonmembers, rate).value
    except Unresolvable:
        return float("nan")
