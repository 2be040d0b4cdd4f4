"""Bootstrap intervals for ROC figures of several target models.

Scores of one model share that model, and one record has a score under many models, so
pooled scores are not independent. The bootstrap here resamples models and, jointly
across models, records; resampling both margins errs on the wide side (Owen, "The
pigeonhole bootstrap", Annals of Applied Statistics 2007). With a single model nothing
is known about the spread over models, and the interval is conditional on that model.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from attacks.bounds import (
    DEFAULT_CONFIDENCE,
    Estimate,
    check_confidence,
)
from attacks.errors import ParameterError
from attacks.ranking import (
    Floats,
    Ints,
    ModelScores,
    auc,
    check_resolution,
    tpr_at_fpr,
)
from attacks.resampled import RESAMPLES_IN_TAIL, Resampled, resamples_for

_CHUNK = 64  # resamples held in memory at once


def bootstrap_auc(
    models: Sequence[ModelScores],
    confidence: float = DEFAULT_CONFIDENCE,
    *,
    seed: int,
    resamples: int | None = None,
) -> Estimate:
    """Estimate the mean AUC over models, resampling models and records.

    Guarantee: percentile interval of the pigeonhole bootstrap; where all resamples
    agree (perfect separation) it is widened to Clopper-Pearson over disjoint pairs,
    which needs no spread.

    Args:
        models: scores per model, all with ids or none.
        confidence: of the interval.
        seed: of the resampling.
        resamples: by default 1000, or more where the confidence asks for more.

    Returns:
        The estimate; n = number of distinct records (scores, if without ids).
    """
    draws = _resample_count(confidence, resamples)
    return resample_auc(models, seed=seed, draws=draws).estimate(confidence)


def bootstrap_tpr(
    models: Sequence[ModelScores],
    fpr: float,
    confidence: float = DEFAULT_CONFIDENCE,
    *,
    seed: int,
    resamples: int | None = None,
) -> Estimate:
    """Estimate the TPR at `fpr` of one threshold for all models, threshold included.

    Scores are pooled over models, so they must be comparable between them (those of
    LiRA are likelihood ratios and are). The interval is the percentile interval of
    the bootstrap, united with Clopper-Pearson over the distinct members.

    Returns:
        The estimate; n = number of distinct members (scores, if without ids).

    Raises:
        Unresolvable: fewer than 10 / fpr distinct non-member records.
    """
    draws = _resample_count(confidence, resamples)
    return resample_tpr(models, fpr, seed=seed, draws=draws).estimate(confidence)


def resample_auc(models: Sequence[ModelScores], *, seed: int, draws: int) -> Resampled:
    """Resample the mean AUC over models (see `bootstrap_auc`) `draws` times."""
    check_models(models, draws)
    values = [auc(model.members, model.nonmembers) for model in models]
    places = [_place(model) for model in models]
    chunks: list[Floats] = []
    for chosen, weights in resampled_weights(models, draws, seed):
        each = [
            _weighted_auc(place, *pair)
            for place, pair in zip(places, weights, strict=True)
        ]
        chunks.append((chosen * np.stack(each, axis=1)).sum(axis=1) / len(models))
    return Resampled(
        value=float(np.mean(values)),
        sorted=np.sort(np.concatenate(chunks)),
        n=distinct_records(models, members=True)
        + distinct_records(models, members=False),
        trials=min(
            distinct_records([model], members=side)
            for model in models
            for side in (True, False)
        ),
        united=False,
    )


def resample_tpr(
    models: Sequence[ModelScores], fpr: float, *, seed: int, draws: int
) -> Resampled:
    """Resample the TPR at `fpr` (see `bootstrap_tpr`) `draws` times."""
    check_models(models, draws)
    check_resolution(fpr, distinct_records(models, members=False))
    members = np.concatenate([model.members for model in models])
    nonmembers = np.concatenate([model.nonmembers for model in models])
    order = np.argsort(-nonmembers, kind="stable")
    chunks: list[Floats] = []
    for chosen, weights in resampled_weights(models, draws, seed):
        scaled = list(zip(chosen.T[:, :, None], weights, strict=True))
        inside = np.hstack([scale * pair[0] for scale, pair in scaled])
        outside = np.hstack([scale * pair[1] for scale, pair in scaled])
        passed = np.cumsum(outside[:, order], axis=1)
        # The threshold is the first non-member whose admission would exceed the rate.
        over = passed > fpr * passed[:, -1:]
        thresholds = nonmembers[order][over.argmax(axis=1)]
        hits = (inside * (members[None, :] > thresholds[:, None])).sum(axis=1)
        chunks.append(hits / inside.sum(axis=1))
    count = distinct_records(models, members=True)
    return Resampled(
        value=tpr_at_fpr(members, nonmembers, fpr).value,
        sorted=np.sort(np.concatenate(chunks)),
        n=count,
        trials=count,
        united=True,
    )


def resampled_weights(
    models: Sequence[ModelScores], draws: int, seed: int
) -> Iterator[tuple[Floats, list[tuple[Floats, Floats]]]]:
    """Yield chunks of r resamples: (r, models) counts and, per model, score weights.

    Records get exponential weights (the Bayesian bootstrap, Rubin 1981), which never
    leave a class empty; one weight per id, so that a record recurs as a whole.
    """
    rng = np.random.default_rng(seed)
    share = np.full(len(models), 1 / len(models))
    index = _positions(models)
    for start in range(0, draws, _CHUNK):
        r = min(_CHUNK, draws - start)
        chosen = rng.multinomial(len(models), share, size=r).astype(np.float64)
        if index is None:
            weights = [
                (
                    rng.standard_exponential((r, len(model.members))),
                    rng.standard_exponential((r, len(model.nonmembers))),
                )
                for model in models
            ]
        else:
            records = 1 + max(int(max(p.max(), q.max())) for p, q in index)
            drawn = rng.standard_exponential((r, records))
            weights = [(drawn[:, p], drawn[:, q]) for p, q in index]
        yield chosen, weights


def _positions(models: Sequence[ModelScores]) -> list[tuple[Ints, Ints]] | None:
    """Renumber the record ids 0, 1, ... over all models; None without ids."""
    pairs = [
        (m.member_ids, m.nonmember_ids)
        for m in models
        if m.member_ids is not None and m.nonmember_ids is not None
    ]
    if not pairs:
        return None
    distinct = np.unique(np.concatenate([np.concatenate(pair) for pair in pairs]))
    return [
        (np.searchsorted(distinct, p), np.searchsorted(distinct, q)) for p, q in pairs
    ]


def distinct_records(models: Sequence[ModelScores], *, members: bool) -> int:
    """Count the members (or others) that the scores are of; scores, if without ids."""
    if models[0].member_ids is None:
        return sum(len(m.members if members else m.nonmembers) for m in models)
    ids = [m.member_ids if members else m.nonmember_ids for m in models]
    return len(np.unique(np.concatenate([part for part in ids if part is not None])))


@dataclass(frozen=True, slots=True)
class _Placed:
    """Where each member's score falls among the sorted non-members' scores."""

    order: Ints
    below: Ints
    not_above: Ints


def _place(model: ModelScores) -> _Placed:
    order = np.argsort(model.nonmembers, kind="stable")
    ranked = model.nonmembers[order]
    return _Placed(
        order,
        np.searchsorted(ranked, model.members, side="left"),
        np.searchsorted(ranked, model.members, side="right"),
    )


def _weighted_auc(placed: _Placed, inside: Floats, outside: Floats) -> Floats:
    """Return the AUC under each row of weights, (r,); ties count one half."""
    passed = np.zeros((len(outside), outside.shape[1] + 1))
    np.cumsum(outside[:, placed.order], axis=1, out=passed[:, 1:])
    beaten = passed[:, placed.below] + passed[:, placed.not_above]
    wins = np.einsum("ij,ij->i", inside, beaten) / 2
    return np.asarray(wins / (inside.sum(axis=1) * passed[:, -1]), dtype=np.float64)


def _resample_count(confidence: float, resamples: int | None) -> int:
    check_confidence(confidence)
    need = math.ceil(2 * RESAMPLES_IN_TAIL / (1 - confidence))
    if resamples is None:
        return resamples_for(confidence)
    if resamples < need:
        raise ParameterError(
            f"resamples={resamples} cannot resolve confidence={confidence}; use at "
            f"least {need}."
        )
    return resamples


def check_models(models: Sequence[ModelScores], draws: int) -> None:
    """Raise ParameterError unless these models can be resampled so often."""
    if not models:
        raise ParameterError("A bootstrap needs the scores of at least one model.")
    if len({model.member_ids is None for model in models}) > 1:
        raise ParameterError("Give record ids for all models or for none.")
    if draws < 4 * RESAMPLES_IN_TAIL:
        raise ParameterError(f"draws={draws} is too few; use at least 1000.")
