"""The ROC curve of one score on one model, with its band and the claim's limit."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from attacks import ModelScores
from attacks.bounds import DEFAULT_CONFIDENCE
from attacks.roc_band import roc_band
from attacks.tradeoff import approximate_curve
from fl.model_audit.claims import Claimed
from fl.model_audit.measure import MODEL
from fl.report import Curve, Series
from fl.roc import ALLOWS_ALL, GRID, reference, series_of
from fl.seeds import seed_for


def roc(
    attack: str,
    score: NDArray[np.float64],
    members: NDArray[np.bool_],
    claimed: Claimed | None,
    *,
    seed: int,
) -> Curve | None:
    """Return the plot; None where the non-members resolve no rate."""
    models = [ModelScores(members=score[members], nonmembers=score[~members])]
    band = roc_band(models, GRID.tolist(), seed=seed_for(seed, "roc"))
    if band is None:
        return None
    series = [series_of(MODEL, band)]
    said = ""
    limit = None if claimed is None else _limit(claimed, band.fpr)
    if limit is not None:
        series.append(limit)
        said = (
            " The limit is the most that any attack reaches if the claim holds and "
            "each record was in by a coin of its own; one model's curve above it is a "
            "hint, and only a bound by coins refutes."
        )
    return Curve(
        title=f"Membership inference on the released model ({attack})",
        caption=(
            f"Log-log; n = {band.members} members and {band.nonmembers} others. Drawn "
            "from the false-positive rate that ten others resolve; the band is the "
            f"{DEFAULT_CONFIDENCE:.0%} interval at each rate by itself. The diagonal "
            f"is guessing.{said}"
        ),
        x_label="false-positive rate",
        y_label="true-positive rate",
        series=tuple(series),
        log_x=True,
        log_y=True,
        diagonal=True,
        place="exposed",
    )


def _limit(claimed: Claimed, grid: NDArray[np.float64]) -> Series | None:
    """Return TPR <= min(e^eps FPR + delta, ...), as far as it is below one.

    Source: Kairouz, Oh and Viswanath, ICML 2015, theorem 2.1. Claims per subject or
    client are not drawn: what they say of one example depends on who has how many.
    """
    if claimed.unit != "example" or claimed.epsilon > ALLOWS_ALL:
        return None
    name = f"limit of the claim (epsilon {claimed.epsilon:.3g})"
    return reference(name, approximate_curve(claimed.epsilon, claimed.delta), grid)
