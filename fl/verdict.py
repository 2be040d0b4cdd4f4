"""From findings to the rows of the page: verdicts that hold together, and five words.

The probability that a page on which nothing leaks names any leak is at most 5 % (Holm's
step-down, `fl.holm`): half of it is spent on the membership rankings, which are few and
whose bootstrap is costly far out in the tails, half on everything else. A *leaks* is an
interval above the null at the level of its step; *recovered* is a record that came back
exactly, certified or more often than coincidence explains (`fl.judged`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from attacks import Resampled
from fl.finding import Exact, Finding, Measure, Missing, Paired, Ranking
from fl.holm import step_down
from fl.judged import (
    Judged,
    Resampling,
    judge_exact,
    judge_paired,
    judge_ranking,
    resample,
    untestable,
)
from fl.parallel import each
from fl.report.schema import LeakageRow, Scenario, Verdict

FAMILY_ERROR = 0.05


def decide(
    findings: Sequence[Finding], *, seed: int, alone: bool = False
) -> tuple[LeakageRow, ...]:
    """Return one row per measure; the verdicts hold together at 95 %.

    A row's interval has the level of the step at which it was decided: found, or left
    when nothing more was. Only the verdicts are simultaneous (docs/decisions/0004).

    Args:
        findings: everything that the page will show, and nothing else: the more rows,
            the wider each interval.
        seed: of the bootstrap.
        alone: resample in this process, where starting others takes longer; the rows
            are the same.
    """
    # Adversaries who see the same thing share its measure: one test, however shown.
    measures = {id(one): one for finding in findings for one in finding.measures}
    judged = _judged(measures, seed, alone=alone)
    return tuple(
        _row(finding, measure, judged[id(measure)])
        for finding in findings
        for measure in finding.measures
    )


Test = Callable[[float], Judged]


def _judged(
    measures: dict[int, Measure], seed: int, *, alone: bool
) -> dict[int, Judged | str]:
    """Settle every measure once; a text says why it was not measured."""
    settled: dict[int, Judged | str] = {}
    others: dict[int, Test] = {}
    for key, measure in measures.items():
        match measure:
            case Missing(why=why):
                settled[key] = why
            case Paired() | Exact() if reason := untestable(measure):
                settled[key] = reason
            case Paired():
                others[key] = partial(judge_paired, measure)
            case Exact():
                others[key] = partial(judge_exact, measure)
            case Ranking():
                pass
    asked = {k: one for k, one in measures.items() if isinstance(one, Ranking)}
    share = FAMILY_ERROR / 2 if asked and others else FAMILY_ERROR
    # Each is drawn once, enough for the first step: the later ones ask for less.
    highest = 1 - share / max(len(asked), 1)
    jobs = [Resampling(one, highest, seed) for one in asked.values()]
    pieces = 1 if alone else len(jobs)
    drawn = dict(zip(asked, each(resample, jobs, count=pieces), strict=True))
    rankings: dict[int, Test] = {}
    for key, ranking in asked.items():
        resampled = drawn[key]
        if isinstance(resampled, Resampled):
            rankings[key] = partial(judge_ranking, ranking, resampled)
        else:
            settled[key] = resampled
    for family in (rankings, others):
        answers = step_down(
            list(family.values()), error=share, found=lambda one: one.found
        )
        settled |= dict(zip(family, answers, strict=True))
    return settled


def _row(finding: Finding, measure: Measure, judged: Judged | str) -> LeakageRow:
    if isinstance(judged, str):
        return _not_measured(finding, measure.metric, judged)
    why = judged.why
    if judged.found:
        exact = isinstance(measure, Exact)
        verdict = Verdict.RECOVERED if exact else Verdict.LEAKS
        if finding.prevented is not None:
            why = f"{why} contradicts the rule: {finding.prevented}".lstrip()
    elif finding.prevented is not None:
        verdict, why = Verdict.PREVENTED, finding.prevented
    else:
        verdict = Verdict.NOT_DETECTED
    return LeakageRow(
        protection=finding.protection,
        adversary=finding.adversary.value,
        view=finding.view,
        scenario=Scenario(finding.scenario),
        attack=finding.attack,
        metric=measure.metric,
        value=judged.value,
        low=judged.low,
        high=judged.high,
        confidence=judged.confidence,
        n=judged.n,
        n_failed=min(finding.n_failed, judged.n),
        null=judged.null,
        verdict=verdict,
        min_detectable=None if judged.found else judged.smallest,
        seeds=finding.seeds,
        seconds=finding.seconds,
        why=why,
    )


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
