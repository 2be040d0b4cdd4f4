"""One measure at one level: its numbers, and whether it lies beyond chance.

The three kinds differ in what chance is. A *paired* value is compared with the null of
the same victim; a *ranking* with guessing; an *exact* recovery with records that merely
happen to be equal. `fl.verdict` chooses the level and the words.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from scipy import special

from attacks import (
    Estimate,
    Resampled,
    Unresolvable,
    clopper_pearson,
    min_detectable,
    paired_excess,
    resample_auc,
    resample_tpr,
    resamples_for,
)
from fl.finding import Exact, Paired, Ranking
from fl.report.records import POWERLESS
from fl.seeds import seed_for

POWER = 0.8
NO_POWER = f"{POWERLESS} with n = {{n}}."
# 40 rankings at their first level would take 32000 resamples each, most of a minute.
# `Resampled` goes on as a normal tail from there: 3.4 instead of 2.7 deviations.
MOST_RESAMPLES = 3000


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """A measure at one level, as the page shows it.

    Attributes:
        value, low, high: what was measured, and its interval.
        null: what chance yields.
        confidence: of the interval and of the test.
        n: how many victims or records it rests on.
        found: whether it lies beyond chance at this level.
        smallest: the effect that would have been found with probability `POWER`.
        why: what a reader must know beside the numbers, or "".
    """

    value: float
    low: float
    high: float
    null: float
    confidence: float
    n: int
    found: bool
    smallest: float
    why: str = ""


def judge_paired(measure: Paired, confidence: float) -> Judged:
    """Judge the mean excess over the null of the same victims (Student's t).

    The level holds if value and null are drawn alike where nothing leaks: then their
    difference is symmetric, for which Student's t errs on the careful side (Efron,
    JASA 1969). Where every null is an average over several sets and the values are
    skewed to the left, it is too generous (docs/decisions/0004).
    """
    value, null = float(measure.values.mean()), float(measure.nulls.mean())
    least, most = measure.support
    excess = paired_excess(
        measure.values.tolist(),
        measure.nulls.tolist(),
        confidence,
        support=(least - most, most - least),
    )
    low = max(least, min(value, null + excess.low))
    smallest = min_detectable(excess, power=POWER)
    # The page recomputes `low > null`, which must not differ by rounding.
    found = excess.low > 0 and low > null
    powerless = not found and smallest > most - null
    return Judged(
        value=value,
        low=low,
        high=min(most, max(value, null + excess.high)),
        null=null,
        confidence=confidence,
        n=len(measure.values),
        found=found,
        smallest=smallest,
        why=NO_POWER.format(n=len(measure.values)) if powerless else "",
    )


def judge_exact(measure: Exact, confidence: float) -> Judged:
    """Judge whether records came back that no coincidence explains.

    A certified one settles it: a certificate is a proof, not an estimate. Otherwise
    each victim of whom only the true records came back is weighed against each of
    whom only strangers' did. If nothing leaked, the truth and the `strangers` sets of
    the null are exchangeable, so such a victim is of the first kind with probability
    at most 1 / (1 + strangers), whatever else it depends on (a sign test).
    """
    hits, n = int(measure.hits.sum()), len(measure.hits)
    null = float(measure.nulls.mean())
    rate = clopper_pearson(hits, n, confidence)
    ours = int((measure.hits & ~measure.nulls).sum())
    differ = ours + int((~measure.hits & measure.nulls).sum())
    odds = 1 / (1 + measure.strangers)
    certified = min(measure.certified, hits)
    beyond = differ > 0 and clopper_pearson(ours, differ, confidence).low > odds
    found = (certified > 0 or beyond) and rate.low > null
    said = f"{hits} exact, {certified} of them certified by the attack itself."
    if not found and hits > 0:
        strangers = int(measure.nulls.sum())
        said = f"{hits} exact; {strangers} among strangers: not beyond coincidence."
    return Judged(
        value=rate.value,
        low=rate.low,
        high=rate.high,
        null=null,
        confidence=confidence,
        n=n,
        found=found,
        smallest=_smallest_exact(rate, odds),
        why=said if hits else "",
    )


def _smallest_exact(rate: Estimate, odds: float) -> float:
    if rate.value > 0:
        return min_detectable(rate, power=POWER)
    # So many uncertified records are beyond coincidence at this level; at which rate
    # do that many come back? 1, if even all of them would not be enough.
    tail = (1 - rate.confidence) / 2
    needed = math.floor(math.log(tail) / math.log(odds)) + 1
    if needed > rate.n:
        return 1.0
    return float(special.betaincinv(needed, rate.n - needed + 1, POWER))


def judge_ranking(measure: Ranking, drawn: Resampled, confidence: float) -> Judged:
    """Judge a ranking of members above non-members against guessing."""
    estimate = drawn.estimate(confidence)
    null = 0.5 if measure.fpr is None else measure.fpr
    return Judged(
        value=estimate.value,
        low=estimate.low,
        high=estimate.high,
        null=null,
        confidence=confidence,
        n=estimate.n,
        found=estimate.low > null,
        smallest=min_detectable(estimate, power=POWER),
    )


@dataclass(frozen=True, slots=True)
class Resampling:
    """One ranking to resample: an independent piece of work.

    Attributes:
        measure: the ranking.
        confidence: the highest level at which it will be asked.
        seed: of the page.
    """

    measure: Ranking
    confidence: float
    seed: int


def resample(job: Resampling) -> Resampled | str:
    """Resample one ranking for all levels at once, or say why it has no answer."""
    models = [group.model_scores for group in job.measure.groups]
    seed = seed_for(job.seed, "bootstrap", job.measure.metric)
    draws = min(resamples_for(job.confidence), MOST_RESAMPLES)
    try:
        if job.measure.fpr is None:
            return resample_auc(models, seed=seed, draws=draws)
        return resample_tpr(models, job.measure.fpr, seed=seed, draws=draws)
    except Unresolvable as error:
        return str(error)


def untestable(measure: Paired | Exact) -> str:
    """Say why a measure has no interval at any level; "" if it has one."""
    count = len(measure.values if isinstance(measure, Paired) else measure.hits)
    needed = 2 if isinstance(measure, Paired) else 1
    if count >= needed:
        return ""
    return f"{count} victim gives no interval; raise attacks.victims."
