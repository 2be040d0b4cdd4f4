"""What the page shows beside its tables: curves of the run and of the attacks."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from attacks import LinearInversion
from fl.config import Config
from fl.evidence import Evidence
from fl.finding import Finding, Ranking
from fl.membership import LIRA
from fl.report import Curve, LeakageRow, Scenario, Series

_BATCH = re.compile(r", batch (\d+), (\w+) model$")
_GRID = np.logspace(-3, 0, 60)


def curves(
    evidence: Evidence,
    findings: Sequence[Finding],
    leakage: Sequence[LeakageRow],
    config: Config,
) -> tuple[Curve, ...]:
    """Return the plots that this evidence supports."""
    made = [_accuracy(evidence), _batches(leakage), _roc(findings)]
    return tuple(curve for curve in made if curve is not None)


def _accuracy(evidence: Evidence) -> Curve | None:
    first = evidence.repeats[0]
    rounds = tuple(float(r.index + 1) for r in next(iter(first.runs.values())).rounds)
    series = []
    for name in first.runs:
        traces = np.array(
            [
                [r.accuracy for r in repeat.runs[name].rounds]
                for repeat in evidence.repeats
            ]
        )
        series.append(
            Series(
                name=name,
                x=rounds,
                y=tuple(traces.mean(axis=0).tolist()),
                low=tuple(traces.min(axis=0).tolist()),
                high=tuple(traces.max(axis=0).tolist()),
            )
        )
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
        caption=(
            f"Mean over {len(evidence.repeats)} seeds; the band spans their lowest and "
            "highest."
        ),
        x_label="round",
        y_label="accuracy",
        series=tuple(series),
        place="utility",
    )


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
        if wanted and found and found[2] == "trained":
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


def _roc(findings: Sequence[Finding]) -> Curve | None:
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
    return Curve(
        title="Membership inference on the released model (LiRA)",
        caption=(
            "Scores pooled over the repetitions; drawn from the false-positive rate "
            "that ten non-members can resolve. The diagonal is guessing."
        ),
        x_label="false-positive rate",
        y_label="true-positive rate",
        series=tuple(series),
        log_x=True,
        log_y=True,
        diagonal=True,
    )
