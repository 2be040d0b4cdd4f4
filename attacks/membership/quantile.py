"""Quantile regression: how surprising a confidence is for a record like this one.

Bertran et al. (NeurIPS 2023, "Scalable membership inference attacks via quantile
regression"): a regression on records that surely are no members predicts, from the
record alone, the distribution of the target's phi for non-members; the target's phi is
scored by where it lies in it. One target, no shadows.
"""

import numpy as np
from numpy.typing import NDArray

from attacks.errors import ParameterError

Floats = NDArray[np.float64]

# Median and one standard deviation above it, if it were normal.
_MIDDLE, _ABOVE = 0.5, 0.8413
RECORDS_NEEDED = 20


def quantile_regression(
    features: NDArray[np.floating],
    labels: NDArray[np.integer],
    target_phi: NDArray[np.floating],
    population: NDArray[np.bool_],
    *,
    seed: int,
) -> Floats:
    """Score records by how far their phi lies above what non-members like them have.

    Two quantiles of phi given the record are fitted on the population: the median m
    and the 84th percentile. The score is `(phi - m) / s`, where s is their distance,
    and never less than half its median over the population.

    Args:
        features: all records, (N, ...).
        labels: (N,).
        target_phi: logit-scaled confidence of all records under the target, (N,).
        population: which records are known not to be members, (N,) bool, at least 20.
            They must not be scored: the regression has seen them.
        seed: of the regression.

    Returns:
        float64 (N,).

    Raises:
        ParameterError: arrays do not fit or are not finite, or too small a population.
    """
    n = len(target_phi)
    if not (len(features) == len(labels) == len(population) == n):
        raise ParameterError("features, labels, target_phi and population differ.")
    if population.dtype != np.bool_ or int(population.sum()) < RECORDS_NEEDED:
        raise ParameterError(
            f"Quantile regression needs at least {RECORDS_NEEDED} population records."
        )
    if not np.isfinite(target_phi).all():
        raise ParameterError("Confidences must be finite.")
    table = features.reshape(n, -1)
    classes = np.eye(int(labels.max()) + 1, dtype=np.float32)[labels]
    inputs = np.hstack([table, classes])
    phi = target_phi.astype(np.float64)
    # Here, not above: everybody who imports attacks would wait for it.
    from sklearn.ensemble import GradientBoostingRegressor

    middle, above = (
        GradientBoostingRegressor(
            loss="quantile",
            alpha=level,
            n_estimators=60,
            max_depth=3,
            min_samples_leaf=5,
            max_features="sqrt",
            subsample=0.8,
            random_state=seed % 2**32,
        )
        .fit(inputs[population], phi[population])
        .predict(inputs)
        for level in (_MIDDLE, _ABOVE)
    )
    spread = np.maximum(above - middle, 0.0)
    least = max(float(np.median(spread[population])) / 2, np.finfo(np.float64).eps)
    return np.asarray((phi - middle) / np.maximum(spread, least), dtype=np.float64)
