"""The loss of a record under the models of several rounds; nothing of gradients.

A server sees a model per round from every client, or their mean; a record that was
trained on has a low loss in all of them (as in CS-MIA, Gu et al., Information Sciences
2022, without its shadow classifier). With a single model this is the loss threshold.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from attacks.errors import ParameterError
from attacks.membership.federated.seen import Series, SideBySide, series_of

Floats = NDArray[np.float64]
LOSS_SERIES = "loss series"
# A loss beyond it says the same as this one: the model has nothing to do with records.
LARGEST = 1e3


def as_measured(losses: NDArray[np.floating]) -> Floats:
    """Turn losses into measurements: negated, and what is not finite at the far end.

    A model read off a masked upload is no model; its losses may overflow.

    Raises:
        ParameterError: a loss is negative (the caller's fault).
    """
    if (losses < 0).any():
        raise ParameterError("A loss is negative; give cross-entropies.")
    found = np.nan_to_num(losses.astype(np.float64), nan=LARGEST, posinf=LARGEST)
    return -np.minimum(found, LARGEST)


def loss_series(evidence: Series | SideBySide) -> Floats:
    """Score records by their mean negative loss over the rounds.

    Returns:
        (records,), higher for members.

    Raises:
        RicherThanNeeded: handed more than one series (the caller's fault).
    """
    return np.asarray(series_of(evidence, LOSS_SERIES).mean(axis=0))
