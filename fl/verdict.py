"""From findings to the rows of the page: intervals that hold together, and five words.

The family-wise error over the page is at most 5 % (Bonferroni): half is spent on the
membership rankings, which are few and whose bootstrap is costly far out in the tails,
half on everything else. A *leaks* is an interval above the null at that level;
*recovered* is an exact or certified record, which chance does not produce.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from attacks import (
    Estimate,
    ModelScores,
    Unresolvable,
    bootstrap_auc,
    bootstrap_tpr,
    clopper_pearson,
    min_detectable,
    paired_excess,
)
from fl.finding import Exact, Finding, Missing, Paired, Ranking
from fl.parallel import each
from fl.report.schema import LeakageRow, Scenario, Verdict
from fl.seeds import seed_for

FAMILY_ERROR = 0.05
POWER = 0.8


def decide(findings: Sequence[Finding], *, seed: int) -> tuple[LeakageRow, ...]:
    """Return one row per measure, all intervals simultaneous at 95 %.

    Args:
        findings: everything that the page will show, and nothing else: the more rows,
            the wider each interval.
        seed: of the bootstrap.
    """
    # Adversaries who see the same thing share its measure: one test, however shown.
    measures = {id(one): one for finding in findings for one in finding.measures}
    rankings = {k: one for k, one in measures.items() if isinstance(one, Ranking)}
    others = sum(isinstance(one, Paired | Exact) for one in measures.values())
    share = FAMILY_ERROR / 2 if rankings and others else FAMILY_ERROR
    ranked = 1 - share / max(len(rankings), 1)
    paired = 1 - share / max(others, 1)
    jobs = [_Bootstrap(one, ranked, seed) for one in rankings.values()]
    estimates = dict(zip(rankings, each(_estimate, jobs, count=len(jobs)), strict=True))
    return tuple(
        _ranking(finding, measure, estimates[id(measure)])
        if isinstance(measure, Ranking)
        else _row(finding, measure, paired)
        for finding in findings
        for measure in finding.measures
    )


def _row(
    finding: Finding, measure: Paired | Exact | Missing, confidence: float
) -> LeakageRow:
    match measure:
        case Missing(why=why):
            return _not_measured(finding, measure.metric, why)
        case Paired():
            return _paired(finding, measure, confidence)
        case Exact():
            return _exact(finding, measure, confidence)


def _paired(finding: Finding, measure: Paired, confidence: float) -> LeakageRow:
    value, null = float(measure.values.mean()), float(measure.nulls.mean())
    if len(measure.values) < 2:
        why = f"{len(measure.values)} victim gives no interval; raise attacks.victims."
        return _not_measured(finding, measure.metric, why)
    least, most = measure.support
    excess = paired_excess(
        measure.values.tolist(),
        measure.nulls.tolist(),
        confidence,
        support=(least - most, most - least),
    )
    return _measured(
        finding,
        measure.metric,
        value=value,
        low=max(least, min(value, null + excess.low)),
        high=min(most, max(value, null + excess.high)),
        null=null,
        estimate=excess,
        found=excess.low > 0,
        n=len(measure.values),
    )


def _exact(finding: Finding, measure: Exact, confidence: float) -> LeakageRow:
    hits = int(measure.hits.sum())
    null = float(measure.nulls.mean())
    rate = clopper_pearson(hits, len(measure.hits), confidence)
    row = _measured(
        finding,
        measure.metric,
        value=rate.value,
        low=rate.low,
        high=rate.high,
        null=null,
        estimate=rate,
        found=rate.low > null,
        n=len(measure.hits),
    )
    if row.verdict is not Verdict.LEAKS:
        return row
    said = f"{hits} exact, {measure.certified} of them certified by the attack itself."
    why = f"{said} {row.why}".rstrip()
    return row.model_copy(update={"verdict": Verdict.RECOVERED, "why": why})


@dataclass(frozen=True, slots=True)
class _Bootstrap:
    measure: Ranking
    confidence: float
    seed: int


def _estimate(job: _Bootstrap) -> Estimate | str:
    """Bootstrap one ranking, or say why it cannot be resolved."""
    measure, confidence = job.measure, job.confidence
    models = [
        ModelScores(
            members=group.scores[group.members],
            nonmembers=group.scores[~group.members],
            member_ids=group.records[group.members],
            nonmember_ids=group.records[~group.members],
        )
        for group in measure.groups
    ]
    child = seed_for(job.seed, "bootstrap", measure.metric)
    try:
        if measure.fpr is None:
            return bootstrap_auc(models, confidence, seed=child)
        return bootstrap_tpr(models, measure.fpr, confidence, seed=child)
    except Unresolvable as error:
        return str(error)


def _ranking(
    finding: Finding, measure: Ranking, estimate: Estimate | str
) -> LeakageRow:
    if isinstance(estimate, str):
        return _not_measured(finding, measure.metric, estimate)
    null = 0.5 if measure.fpr is None else measure.fpr
    return _measured(
        finding,
        measure.metric,
        value=estimate.value,
        low=estimate.low,
        high=estimate.high,
        null=null,
        estimate=estimate,
        found=estimate.low > null,
        n=estimate.n,
    )


def _measured(
    finding: Finding,
    metric: str,
    *,
    value: float,
    low: float,
    high: float,
    null: float,
    estimate: Estimate,
    found: bool,
    n: int,
) -> LeakageRow:
    if found and finding.prevented is not None:
        verdict, why = Verdict.LEAKS, f"contradicts the rule: {finding.prevented}"
    elif found:
        verdict, why = Verdict.LEAKS, ""
    elif finding.prevented is not None:
        verdict, why = Verdict.PREVENTED, finding.prevented
    else:
        verdict, why = Verdict.NOT_DETECTED, ""
    return LeakageRow(
        protection=finding.protection,
        adversary=finding.adversary.value,
        view=finding.view,
        scenario=Scenario(finding.scenario),
        attack=finding.attack,
        metric=metric,
        value=value,
        low=low,
        high=high,
        confidence=estimate.confidence,
        n=n,
        n_failed=min(finding.n_failed, n),
        null=null,
        verdict=verdict,
        min_detectable=None if found else _smallest(estimate),
        seeds=finding.seeds,
        seconds=finding.seconds,
        why=why,
    )


def _smallest(estimate: Estimate) -> float:
    if estimate.value == 0 and estimate.method == "Clopper-Pearson":
        # Any exact record counts, so the rate that shows one with the wanted power.
        return float(1 - (1 - POWER) ** (1 / estimate.n))
    return min_detectable(estimate, power=POWER)


def _not_measured(finding: Finding, metric: str, why: str) -> LeakageRow:
    return LeakageRow(
        protection=finding.protection,
        adversary=finding.adversary.value,
        view=finding.view,
        scenario=Scenario(finding.scenario),
        attack=finding.attack,
        metric=metric,
        value=None,
        low=None,
        high=None,
        confidence=None,
        n=0,
        n_failed=0,
        null=None,
        verdict=Verdict.NOT_MEASURED,
        min_detectable=None,
        seeds=finding.seeds,
        seconds=finding.seconds,
        why=why,
    )
