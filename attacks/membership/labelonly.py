"""Membership from predicted classes alone: how many altered copies keep their class.

Choquette-Choo et al. (ICML 2021, "Label-only membership inference attacks"): training
moves the decision boundary away from a record, so copies with noise are classified
right more often. `attacks.membership.queries` makes the copies.
"""

import numpy as np
from numpy.typing import NDArray

from attacks.errors import ParameterError

Floats = NDArray[np.float64]


def label_only(answers: NDArray[np.integer], labels: NDArray[np.integer]) -> Floats:
    """Score records by the share of queries answered with their label.

    Args:
        answers: predicted classes, (Q, N); Q >= 1 queries per record.
        labels: (N,).

    Returns:
        float64 (N,) in [0, 1].

    Raises:
        ParameterError: arrays do not fit or are no classes.
    """
    kind = np.issubdtype(answers.dtype, np.integer)
    if not kind or answers.ndim != 2 or answers.shape[1:] != labels.shape:
        raise ParameterError(
            f"answers {answers.shape} must be integers (Q, N) for labels "
            f"{labels.shape}."
        )
    if len(answers) < 1:
        raise ParameterError("A label-only attack needs at least one query.")
    return np.asarray((answers == labels).mean(axis=0), dtype=np.float64)
