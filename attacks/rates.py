"""What an attack is worth at one threshold: accuracy, advantage, predictive value.

The threshold comes from other scores (`best_threshold` of shadow models, or of another
part of the records): the accuracy at the threshold that is best on the same scores is
above one half for scores that know nothing. Higher score = member; a score strictly
above the threshold is called one.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from attacks.bootstrap import check_models, distinct_records, resampled_weights
from attacks.bounds import (
    DEFAULT_CONFIDENCE,
    Estimate,
    check_confidence,
    clopper_pearson,
)
from attacks.errors import ParameterError
from attacks.ranking import Floats, ModelScores, check_scores
from attacks.resampled import Resampled, resamples_for
from attacks.roc import roc

Figure = Callable[[Floats, Floats], Floats]
"""From rates of true and false alarms to a figure in [0, 1]: up in one, down in two."""


@dataclass(frozen=True, slots=True)
class _PredictiveValue:
    prior: float

    def __post_init__(self) -> None:
        if not 0 < self.prior < 1:
            raise ParameterError(f"prior={self.prior} must lie between 0 and 1.")

    def __call__(self, tpr: Floats, fpr: Floats) -> Floats:
        true = self.prior * tpr
        alarms = true + (1 - self.prior) * fpr
        return np.divide(true, alarms, out=np.zeros_like(true), where=alarms > 0)


def accuracy(tpr: Floats, fpr: Floats) -> Floats:
    """Return the balanced accuracy, `(TPR + 1 - FPR) / 2`."""
    return (tpr + 1 - fpr) / 2


def predictive_value(prior: float) -> Figure:
    """Return how likely a record called a member is one, if a share `prior` are.

    `prior TPR / (prior TPR + (1 - prior) FPR)`; 0 where nothing is called a member.
    Source: Jayaraman et al., "Revisiting membership inference under realistic
    assumptions", PoPETs 2021.

    Raises:
        ParameterError: (caller) the prior is not between 0 and 1.
    """
    return _PredictiveValue(prior)


def at_threshold(
    members: Floats,
    nonmembers: Floats,
    threshold: float,
    figure: Figure = accuracy,
    confidence: float = DEFAULT_CONFIDENCE,
) -> Estimate:
    """Estimate a figure of one model at a threshold that never saw these scores.

    Guarantee: covers with at least `confidence` if all scores are independent given the
    model: both rates are bounded by Clopper-Pearson, each with half of the error, and
    the figure rises in one rate and falls in the other. The predictive value at a rate
    of false alarms that the non-members cannot resolve has a wide interval, not none.

    Raises:
        ParameterError: (caller) no or non-finite scores, or a bad threshold.
    """
    check_confidence(confidence)
    hits, alarms = _counts(members, nonmembers, threshold)
    n, m = len(members), len(nonmembers)
    return _from_counts(figure, (hits, n), (alarms, m), confidence)


def bootstrap_at_threshold(
    models: Sequence[ModelScores],
    threshold: float,
    figure: Figure = accuracy,
    confidence: float = DEFAULT_CONFIDENCE,
    *,
    seed: int,
    resamples: int | None = None,
) -> Estimate:
    """Estimate a figure of pooled scores of several models, resampling as `auc` does.

    Guarantee: percentile interval of the pigeonhole bootstrap over models and, jointly
    across models, records, united with that of `at_threshold` over the distinct
    records, which keeps it wide for few alarms.

    Args:
        models: scores per model, all with ids or none, comparable between models.
        threshold: chosen on other scores.
        figure: `accuracy`, or `predictive_value(prior)`.
        confidence: of the interval.
        seed: of the resampling.
        resamples: by default 1000, or more where the confidence asks for more.

    Raises:
        ParameterError: (caller) no model, mixed ids, or a threshold not finite.
    """
    draws = resamples_for(confidence) if resamples is None else resamples
    check_models(models, draws)
    members = np.concatenate([model.members for model in models])
    nonmembers = np.concatenate([model.nonmembers for model in models])
    hits, alarms = _counts(members, nonmembers, threshold)
    n = distinct_records(models, members=True)
    m = distinct_records(models, members=False)
    # As many trials as there are records, however often each was scored.
    fixed = _from_counts(
        figure,
        (round(hits / len(members) * n), n),
        (round(alarms / len(nonmembers) * m), m),
        confidence,
    )
    tpr, fpr = np.array(hits / len(members)), np.array(alarms / len(nonmembers))
    drawn = Resampled(
        value=float(figure(tpr, fpr)),
        sorted=_resampled(models, threshold, figure, seed, draws),
        n=n + m,
        trials=min(n, m),
        united=False,
    ).estimate(confidence)
    return replace(
        drawn,
        low=min(drawn.low, fixed.low),
        high=max(drawn.high, fixed.high),
        method=f"{drawn.method}, united with {fixed.method}",
    )


def advantage(accuracy: Estimate) -> Estimate:
    """Turn a balanced accuracy into the advantage `TPR - FPR`, in [-1, 1].

    Source: Yeom et al., "Privacy risk in machine learning", CSF 2018.
    """
    return replace(
        accuracy,
        value=2 * accuracy.value - 1,
        low=2 * accuracy.low - 1,
        high=2 * accuracy.high - 1,
    )


def best_threshold(members: Floats, nonmembers: Floats) -> float:
    """Return the threshold of the best balanced accuracy, to be used on other scores.

    Halfway between two scores; the highest of equally good ones.

    Raises:
        ParameterError: (caller) no or non-finite scores.
    """
    check_scores(members, "members")
    check_scores(nonmembers, "nonmembers")
    scores = np.unique(np.concatenate([members, nonmembers]))[::-1]
    # A call at "score or above" is one at "above the middle to the next lower score".
    curve = roc(members, nonmembers)
    best = int(np.argmax((curve.tpr - curve.fpr)[1:]))
    if best + 1 == len(scores):
        return float(scores[best] - 1)
    return float(scores[best] + scores[best + 1]) / 2


def _from_counts(
    figure: Figure, hits: tuple[int, int], alarms: tuple[int, int], confidence: float
) -> Estimate:
    each = (1 + confidence) / 2
    tpr, fpr = clopper_pearson(*hits, each), clopper_pearson(*alarms, each)

    def of(true: float, false: float) -> float:
        return float(figure(np.array(true), np.array(false)))

    value = of(tpr.value, fpr.value)
    return Estimate(
        value=value,
        # Nothing called a member counts as 0, which the interval must hold too.
        low=min(value, of(tpr.low, fpr.high)),
        high=max(value, of(tpr.high, fpr.low)),
        n=min(hits[1], alarms[1]),
        confidence=confidence,
        method="Clopper-Pearson of both rates at a fixed threshold",
    )


def _resampled(
    models: Sequence[ModelScores],
    threshold: float,
    figure: Figure,
    seed: int,
    draws: int,
) -> Floats:
    """Return the figure under each resample, ascending, (draws,)."""
    called = [
        ((one.members > threshold) * 1.0, (one.nonmembers > threshold) * 1.0)
        for one in models
    ]
    chunks: list[Floats] = []
    for chosen, weights in resampled_weights(models, draws, seed):
        rates = []
        for kind in (0, 1):
            parts = zip(chosen.T, weights, called, strict=True)
            sums = [
                (times * (given[kind] @ of[kind]), times * given[kind].sum(axis=1))
                for times, given, of in parts
            ]
            passed, everything = np.sum(sums, axis=0)
            rates.append(passed / everything)
        chunks.append(figure(rates[0], rates[1]))
    return np.sort(np.concatenate(chunks))


def _counts(members: Floats, nonmembers: Floats, threshold: float) -> tuple[int, int]:
    check_scores(members, "members")
    check_scores(nonmembers, "nonmembers")
    if not np.isfinite(threshold):
        raise ParameterError(f"threshold={threshold} must be finite.")
    return int((members > threshold).sum()), int((nonmembers > threshold).sum())
