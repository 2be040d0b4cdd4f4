"""What the page shows beside its tables: curves of the run and of the attacks."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

import numpy as np

from attacks import LinearInversion
from fl.config import Config
from fl.evidence import Evidence
from fl.finding import Finding, Ranking
from fl.membership import LIRA
from fl.privacy import EXAMPLE
from fl.report import Curve, LeakageRow, PrivacyRow, Scenario, Series

_BATCH = re.compile(r", batch (\d+), (\w+) model$")
_GRID = np.logspace(-3, 0, 60)
# Above this epsilon the limit is 1 at every rate that a drawing can show.
_ALLOWS_ALL = 30.0


def curves(
    evidence: Evidence,
    findings: Sequence[Finding],
    leakage: Sequence[LeakageRow],
    privacy: Sequence[PrivacyRow],
    config: Config,
) -> tuple[Curve, ...]:
    """Return the plots that this evidence supports."""
    made = [
        _accuracy(evidence),
        _spending(evidence),
        _batches(leakage),
        _roc(findings, privacy),
    ]
    return tuple(curve for curve in made if curve is not None)


def _accuracy(evidence: Evidence) -> Curve | None:
    first = evidence.repeats[0]
    rounds = tuple(float(r.index + 1) for r in next(iter(first.runs.values())).rounds)
    series = [_trace(evidence, name, rounds) for name in first.runs]
    pooled = float(
        np.mean([repeat.baseline.pooled.mean() for repeat in evidence.repeats])
    )
    if len(rounds) > 1:
        ends = (rounds[0], rounds[-1])
        series.append(
            Series(name="pooled data", x=ends, y=(pooled, pooled), role="reference")
        )
    return Curve(
        title="Held-out accuracy per round",
        caption=_spread(evidence),
        x_label="round",
        y_label="accuracy",
        series=tuple(series),
        place="utility",
    )


def _spending(evidence: Evidence) -> Curve | None:
    """Plot what accuracy each epsilon bought, beside training without noise."""
    series, plain = [], []
    for name in evidence.repeats[0].runs:
        spent = [
            [r.epsilon for r in repeat.runs[name].rounds] for repeat in evidence.repeats
        ]
        known = [[e for e in row if e is not None] for row in spent]
        if [len(row) for row in known] == [len(row) for row in spent] and all(known):
            x = tuple(np.mean(known, axis=0).tolist())
            series.append(_trace(evidence, name, x))
        else:
            plain.append(name)
    if not series:
        return None
    ends = (min(s.x[0] for s in series), max(s.x[-1] for s in series))
    for name in plain:
        last = [repeat.runs[name].rounds[-1].accuracy for repeat in evidence.repeats]
        level = float(np.mean(last))
        series.append(Series(name=name, x=ends, y=(level, level), role="reference"))
    return Curve(
        title="Held-out accuracy against epsilon spent",
        caption=(
            f"One point per round, at the largest epsilon that any party has spent; "
            f"{_spread(evidence)} Dashed: the last round without noise."
        ),
        x_label="epsilon spent",
        y_label="accuracy",
        series=tuple(series),
        place="utility",
    )


def _trace(evidence: Evidence, name: str, x: tuple[float, ...]) -> Series:
    """Return a protection's accuracy per round, over the repetitions."""
    traces = np.array(
        [[r.accuracy for r in repeat.runs[name].rounds] for repeat in evidence.repeats]
    )  # (repetitions, rounds)
    return Series(
        name=name,
        x=x,
        y=tuple(traces.mean(axis=0).tolist()),
        low=tuple(traces.min(axis=0).tolist()),
        high=tuple(traces.max(axis=0).tolist()),
    )


def _spread(evidence: Evidence) -> str:
    seeds = len(evidence.repeats)
    if seeds == 1:
        return "One seed."
    return f"Mean over {seeds} seeds; the band spans their lowest and highest."


def _batches(leakage: Sequence[LeakageRow]) -> Curve | None:
    """Plot exact inversion against the batch size, with the null beside it."""
    lines: dict[str, list[tuple[int, LeakageRow]]] = {}
    for row in leakage:
        found = _BATCH.search(row.view)
        wanted = (
            row.scenario is Scenario.WORST_CASE
            and row.attack == LinearInversion.name
            and row.metric.startswith("PSNR")
            and row.adversary == "server"
            and row.value is not None
        )
        crowd = "honest updates" in row.view  # sizes of crowds, one batch size each
        if wanted and found and found[2] == "trained" and not crowd:
            name = f"{row.protection}: {_BATCH.sub('', row.view)}"
            lines.setdefault(name, []).append((int(found[1]), row))
    if not lines:
        return None
    series = []
    for name, points in lines.items():
        points.sort(key=lambda point: point[0])
        rows = [row for _, row in points]
        series.append(
            Series(
                name=name,
                x=tuple(float(batch) for batch, _ in points),
                y=tuple(row.value or 0.0 for row in rows),
                low=tuple(row.low or 0.0 for row in rows),
                high=tuple(row.high or 0.0 for row in rows),
            )
        )
    first, points = next(iter(lines.items()))
    series.append(
        Series(
            name=f"null of {first} (other real records)",
            x=tuple(float(batch) for batch, _ in points),
            y=tuple(row.null or 0.0 for _, row in points),
            role="reference",
        )
    )
    sample = points[0][1]
    return Curve(
        title="Linear-layer inversion against the batch size, worst case",
        caption=(
            f"Matched PSNR, capped at 100 dB; trained model; n = {sample.n} victims "
            f"per point, intervals at {sample.confidence:.2%}."
        ),
        x_label="records per client and step",
        y_label="PSNR (dB)",
        series=tuple(series),
        log_x=True,
    )


def _roc(findings: Sequence[Finding], privacy: Sequence[PrivacyRow]) -> Curve | None:
    """Plot the likelihood-ratio attack on the released models, log-log."""
    series = []
    for finding in findings:
        measure = finding.measures[0]
        if (
            finding.attack != LIRA
            or finding.adversary.value != "outsider"
            or not isinstance(measure, Ranking)
        ):
            continue
        inside = np.concatenate([g.scores[g.members] for g in measure.groups])
        outside = np.sort(
            np.concatenate([g.scores[~g.members] for g in measure.groups])
        )
        grid = _GRID[_GRID * len(outside) >= 10]
        if len(grid) == 0:
            continue
        allowed = np.floor(grid * len(outside)).astype(int)
        thresholds = np.append(outside[::-1], -np.inf)[allowed]
        rates = (inside[None, :] > thresholds[:, None]).mean(axis=1)
        series.append(
            Series(
                name=finding.protection,
                x=tuple(grid.tolist()),
                y=tuple(np.maximum(rates, 1e-4).tolist()),
            )
        )
    if not series:
        return None
    shown = {one.name for one in series}
    drawn = tuple(sorted({x for one in series for x in one.x}))
    limits = [_limit(row, drawn) for row in privacy if row.protection in shown]
    return Curve(
        title="Membership inference on the released model (LiRA)",
        caption=(
            "Scores pooled over the repetitions; drawn from the false-positive rate "
            "that ten non-members can resolve. The diagonal is guessing; a limit is "
            "the most that any attack reaches under the proven epsilon and delta."
        ),
        x_label="false-positive rate",
        y_label="true-positive rate",
        series=(*series, *(one for one in limits if one is not None)),
        log_x=True,
        log_y=True,
        diagonal=True,
    )


def _limit(row: PrivacyRow, grid: Sequence[float]) -> Series | None:
    """Return the most that any test of one record's membership reaches.

    TPR <= min(e^eps FPR + delta, 1 - e^-eps (1 - delta - FPR)): Kairouz, Oh and
    Viswanath, ICML 2015, theorem 2.1. Where the unit is a client, a record that is in
    or out makes one client another: one removed and one added, so the bound is that of
    two steps (Dwork and Roth 2014, theorem 2.2: 2 eps, (1 + e^eps) delta).
    """
    if row.epsilon_upper is None:
        return None
    epsilon, delta = row.epsilon_upper, row.delta or 0.0
    if epsilon > _ALLOWS_ALL:
        return None
    if row.unit != EXAMPLE:
        epsilon, delta = 2 * epsilon, (1 + math.exp(epsilon)) * delta
    fpr = np.asarray(grid)
    rates = np.minimum(
        math.exp(epsilon) * fpr + delta,
        1 - math.exp(-epsilon) * (1 - delta - fpr),
    )
    below = rates < 1
    if not below.any():
        return None
    return Series(
        name=f"limit of {row.protection} (epsilon {row.epsilon_upper:.3g})",
        x=tuple(fpr[below].tolist()),
        y=tuple(rates[below].tolist()),
        role="reference",
    )
