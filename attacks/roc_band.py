"""The ROC curve at low false-positive rates, with a band.

Drawn log-log it shows what an AUC hides: whether some members are accused almost
without error (Carlini et al., S&P 2022, section III). No rate below ten false positives
is drawn, and the threshold at a rate never lets more non-members pass than it says.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from attacks.bounds import check_confidence
from attacks.errors import ParameterError
from attacks.ranking import FALSE_POSITIVES_NEEDED, Floats, Ints, ModelScores

Bits = NDArray[np.bool_]

_DRAWS = 400
_HELD = 2**22  # weights held in memory at once


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RocBand:
    """A ROC curve of scores pooled over models, as far left as they resolve.

    Args:
        fpr: ascending, (k,); at least ten distinct non-members each.
        tpr: share of the members above each threshold, (k,).
        low: lower end of the band at each rate by itself, (k,).
        high: upper end.
        members: distinct members.
        nonmembers: distinct non-members.
        confidence: of the band at each rate.
    """

    fpr: Floats
    tpr: Floats
    low: Floats
    high: Floats
    members: int
    nonmembers: int
    confidence: float


def roc_band(
    models: Sequence[ModelScores],
    rates: Sequence[float],
    *,
    confidence: float = 0.95,
    seed: int,
) -> RocBand | None:
    """Estimate the TPR at several rates, resampling models and records.

    Scores are pooled, so they must be comparable between models. The band is that of
    the percentile bootstrap of `attacks.bootstrap`, thresholds included.

    Args:
        models: scores per model, all with ids or none.
        rates: ascending false-positive rates in (0, 1]; those that the distinct
            non-members cannot resolve are left out.
        confidence: of the band at each rate.
        seed: of the resampling.

    Returns:
        The curve, or None if no rate can be resolved.

    Raises:
        ParameterError: no model, or rates that do not ascend within (0, 1].
    """
    check_confidence(confidence)
    asked = np.asarray(rates, dtype=np.float64)
    ascends = len(asked) > 0 and (np.diff(asked) > 0).all()
    if not models or not ascends or asked[0] <= 0 or asked[-1] > 1:
        raise ParameterError("Give scores, and rates that ascend within (0, 1].")
    scores = np.concatenate([np.r_[m.members, m.nonmembers] for m in models])
    inside = np.concatenate(
        [np.arange(len(m.members) + len(m.nonmembers)) < len(m.members) for m in models]
    )
    ids, model = _ids(models)
    counts = [len(np.unique(ids[inside])), len(np.unique(ids[~inside]))]
    kept = asked[asked * counts[1] >= FALSE_POSITIVES_NEEDED - 1e-9]
    if not len(kept):
        return None
    # Highest first; among equal scores non-members first: a tie is no hit.
    order = np.lexsort((inside, -scores))
    inside, ids, model = inside[order], ids[order], model[order]
    once = _rates(np.ones((1, len(order))), inside, kept)[0]
    rng = np.random.default_rng(seed)
    drawn: list[Floats] = []
    chunk = max(1, _HELD // len(order))
    share = np.full(len(models), 1 / len(models))
    for start in range(0, _DRAWS, chunk):
        some = min(chunk, _DRAWS - start)
        heavy = rng.multinomial(len(models), share, size=some).astype(np.float64)
        own = rng.standard_exponential((some, int(ids.max()) + 1))
        drawn.append(_rates(heavy[:, model] * own[:, ids], inside, kept))
    tail = (1 - confidence) / 2
    low, high = np.quantile(np.concatenate(drawn), [tail, 1 - tail], axis=0)
    return RocBand(
        fpr=kept,
        tpr=once,
        low=np.minimum(low, once),
        high=np.maximum(high, once),
        members=counts[0],
        nonmembers=counts[1],
        confidence=confidence,
    )


def _rates(weights: Floats, inside: Bits, rates: Floats) -> Floats:
    """Return the TPR at each rate under each row of weights, (rows, rates)."""
    above = np.cumsum(np.where(inside, weights, 0.0), axis=1)
    passed = np.cumsum(np.where(inside, 0.0, weights), axis=1)
    found = np.empty((len(weights), len(rates)))
    for row, (own, others) in enumerate(zip(above, passed, strict=True)):
        # The first place at which more non-members than allowed have passed.
        allowed = rates * others[-1] * (1 + 1e-12)
        stop = np.searchsorted(others, allowed, side="right")
        found[row] = np.r_[0.0, own][stop] / own[-1]
    return found


def _ids(models: Sequence[ModelScores]) -> tuple[Ints, Ints]:
    """Return each score's record, numbered from 0, and its model."""
    model = np.concatenate(
        [
            np.full(len(m.members) + len(m.nonmembers), place)
            for place, m in enumerate(models)
        ]
    )
    parts: list[Ints] = []
    for one in models:
        if one.member_ids is None or one.nonmember_ids is None:
            return np.arange(len(model)), model
        parts += [one.member_ids, one.nonmember_ids]
    _, ids = np.unique(np.concatenate(parts), return_inverse=True)
    return ids, model
