"""What the page shows beside its tables: curves of the run and of the attacks."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from attacks import LinearInversion
from fl import roc
from fl.config import Config
from fl.evidence import Evidence
from fl.exposed_plot import exposed
from fl.finding import Finding
from fl.report import Curve, LeakageRow, PrivacyRow, Scenario, Series

_BATCH = re.compile(r", batch (\d+), (\w+) model$")


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
        *roc.curves(findings, privacy, config),
        exposed(evidence, config),
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
