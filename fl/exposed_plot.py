"""How many records are how exposed, beside what chance alone would show.

An aggregate: a point stands for at least ten records.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from attacks.exposure import exposure
from fl.config import Config
from fl.evidence import Evidence
from fl.exposure import found_by_shadows, measured_under
from fl.report import Curve, Series
from fl.report.exposed import SMALLEST_GROUP
from fl.seeds import seed_for

POINTS = 40


def exposed(evidence: Evidence, config: Config) -> Curve | None:
    """Plot the share of records above each d', per kind of noise; None without any."""
    series: list[Series] = []
    for name in measured_under(evidence):
        found, _ = found_by_shadows(evidence, name)
        if not series:
            # The same scores with each record's shadows shuffled: what is left of the
            # distances is chance.
            rng = np.random.default_rng(seed_for(config.seed, "shuffled exposure"))
            bits = rng.permuted(found.members, axis=0)
            chance = _above("by chance", exposure(found.phi, bits).distance)
            if chance is None:
                return None  # too few records to draw anything
        line = _above(name, found.distance)
        if line is not None:
            series.append(line)
    if not series or chance is None:
        return None
    count = len(found.distance)
    return Curve(
        title="How many records are how exposed",
        caption=(
            f"Share of the {count} training records whose d' is above x. Dashed: the "
            "same scores with the shadows shuffled, which is what so few shadows show "
            "of records that nothing is known of. A curve to its right is exposure."
        ),
        x_label="d'",
        y_label="share of records above",
        series=(*series, chance),
        log_y=True,
        place="exposed",
    )


def _above(name: str, distances: NDArray[np.float64]) -> Series | None:
    count = len(distances)
    if count < SMALLEST_GROUP:
        return None
    ranks = np.unique(np.geomspace(SMALLEST_GROUP, count, POINTS).round().astype(int))
    ordered = np.sort(distances)[::-1]
    x, y = ordered[ranks - 1][::-1], (ranks / count)[::-1]
    return Series(
        name=name,
        x=tuple(x.tolist()),
        y=tuple(y.tolist()),
        role="reference" if name == "by chance" else "measured",
    )
