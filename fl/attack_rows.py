"""Scored attacks as rows of figures: never a mean without its spread and its null.

Every victim counts, failures with the score that they got. The intervals hold together
(Bonferroni over all of them); nothing here is judged.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from attacks import Estimate, clopper_pearson, mean_interval, paired_excess
from fl.outcomes import SUPPORTS, Outcome

CONFIDENCE = 0.95
EXACT = "exact recoveries (fraction of victims)"
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One metric of one attack on one view.

    Attributes:
        protection: under which the messages crossed the wire.
        adversary: the weakest who sees the view.
        view: what is looked at.
        attack: its name.
        metric: with its unit.
        n: victims.
        value: their mean, and `low` to `high` its interval; None with one victim.
        minimum: over the victims; with `maximum` and `quantiles` (5, 25, 50, 75 and
            95 %) the spread. None for fractions of victims.
        null: mean of the same against other real records.
        excess: mean of value - null per victim, with its interval.
        certified: victims of which the attack proved a record.
        refused: victims on whom it gave up, and `why` in the first case.
        seconds: spent on all victims.
    """

    protection: str
    adversary: str
    view: str
    attack: str
    metric: str
    n: int
    value: float
    low: float | None
    high: float | None
    minimum: float | None
    maximum: float | None
    quantiles: tuple[float, ...] | None
    null: float
    excess: float
    excess_low: float | None
    excess_high: float | None
    certified: int
    refused: int
    why: str
    seconds: float


def rows(outcomes: Sequence[Outcome]) -> tuple[Row, ...]:
    """Return one row per protection, view, attack and metric."""
    groups: dict[tuple[str, str, str], list[Outcome]] = {}
    for outcome in outcomes:
        shot, attempt = outcome.shot, outcome.attempt
        key = (shot.protection, shot.view, attempt.attack)
        groups.setdefault(key, []).append(outcome)
    # Two intervals a row: of the value and of its distance from the null.
    intervals = 2 * sum(
        len(group[0].attempt.metrics) + (group[0].attempt.exact is not None)
        for group in groups.values()
    )
    confidence = 1 - (1 - CONFIDENCE) / max(1, intervals)
    return tuple(row for group in groups.values() for row in _rows(group, confidence))


def _rows(group: Sequence[Outcome], confidence: float) -> list[Row]:
    attempts = [outcome.attempt for outcome in group]
    found = []
    for metric in attempts[0].metrics:
        values, nulls = np.array([one.metrics[metric] for one in attempts]).T
        found.append(
            _row(group, metric, values.tolist(), nulls.tolist(), SUPPORTS[metric],
                 confidence)
        )  # fmt: skip
    exact = [one.exact for one in attempts if one.exact is not None]
    if exact:
        hits, strange = np.array(exact, dtype=float).T
        found.append(
            _row(group, EXACT, hits.tolist(), strange.tolist(), None, confidence)
        )
    return found


def _row(
    group: Sequence[Outcome],
    metric: str,
    values: list[float],
    nulls: list[float],
    support: tuple[float, float] | None,
    confidence: float,
) -> Row:
    shot, attempts = group[0].shot, [outcome.attempt for outcome in group]
    whole, low, high = _interval(values, support, confidence)
    least, most = support or (0.0, 1.0)
    beyond = _excess(values, nulls, (least - most, most - least), confidence)
    why = [one.refused for one in attempts if one.refused]
    spread = support is not None
    return Row(
        protection=shot.protection,
        adversary=shot.adversaries[0].value,
        view=shot.view,
        attack=attempts[0].attack,
        metric=metric,
        n=len(group),
        value=whole,
        low=low,
        high=high,
        minimum=min(values) if spread else None,
        maximum=max(values) if spread else None,
        quantiles=tuple(np.quantile(values, QUANTILES).tolist()) if spread else None,
        null=float(np.mean(nulls)),
        excess=float(np.mean(values) - np.mean(nulls)),
        excess_low=None if beyond is None else beyond.low,
        excess_high=None if beyond is None else beyond.high,
        certified=sum(one.certified for one in attempts),
        refused=len(why),
        why=why[0] if why else "",
        seconds=sum(one.seconds for one in attempts),
    )


def _interval(
    values: list[float], support: tuple[float, float] | None, confidence: float
) -> tuple[float, float | None, float | None]:
    if support is None:
        counted = clopper_pearson(int(sum(values)), len(values), confidence)
        return counted.value, counted.low, counted.high
    if len(values) < 2:
        return values[0], None, None
    found = mean_interval(values, confidence, support=support)
    return found.value, found.low, found.high


def _excess(
    values: list[float],
    nulls: list[float],
    support: tuple[float, float],
    confidence: float,
) -> Estimate | None:
    if len(values) < 2:
        return None
    return paired_excess(values, nulls, confidence, support=support)
