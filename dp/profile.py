"""The whole privacy curve of composed releases, for audits that use all of it.

    epsilons = np.linspace(0, 12, 121)
    deltas = profile([(sampled_gaussian(1.1, 0.01), 1000)], epsilons)

One epsilon at one delta is a single point of what an accountant knows. An audit that
may use all points shows more (`attacks.PrivacyProfile` takes these two arrays).
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from dp_accounting import DpEvent
from numpy.typing import NDArray

from dp.accounting import multiset
from dp.errors import ParameterError
from dp.mixture import has_shares
from dp.pld import simple_deltas


def profile(
    events: Iterable[tuple[DpEvent, int]], epsilons: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the delta of many releases about the same units at each epsilon.

    Guarantee: upper bounds under *add or remove one unit*, both directions, for
    real-valued noise; the same accountant as `composed_epsilon`, coarser cells.

    Args:
        events: each with how often it happened, >= 1.
        epsilons: at least 0, (n,).

    Returns:
        Deltas in [0, 1], (n,).

    Raises:
        ParameterError: the caller's: epsilons out of range, an event that the
            accountant cannot bound, or noise in shares, which has no such curve here.
    """
    if epsilons.ndim != 1 or not np.isfinite(epsilons).all() or (epsilons < 0).any():
        raise ParameterError("epsilons must be a vector of finite numbers, at least 0.")
    releases = multiset(events)
    if has_shares(releases):
        raise ParameterError(
            "noise in shares has no curve of deltas here; state the Gaussian noise "
            "that all shares add up to."
        )
    found = simple_deltas(releases, [float(epsilon) for epsilon in epsilons])
    return np.clip(np.array(found, dtype=np.float64), 0.0, 1.0)
