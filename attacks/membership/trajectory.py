"""The losses of a record under the models of several rounds.

Federated learning hands every client a model each round, so the loss trajectory of Liu
et al. (CCS 2022, "Membership inference attacks by exploiting loss trajectory"), which
they had to distil, comes for free. Their classifier needs trajectories of shadows; here
the score is the mean, that is the area under the trajectory.
"""

import numpy as np
from numpy.typing import NDArray

from attacks.errors import ParameterError

Floats = NDArray[np.float64]


def mean_over_rounds(log_p: NDArray[np.floating]) -> Floats:
    """Score records by their mean `log p_y` over rounds, (T, N) to (N,).

    Raises:
        ParameterError: no round, or a value that is not finite.
    """
    if log_p.ndim != 2 or len(log_p) < 1 or not np.isfinite(log_p).all():
        raise ParameterError("log_p must be finite, (T, N) with T >= 1.")
    return np.asarray(log_p.mean(axis=0, dtype=np.float64))
