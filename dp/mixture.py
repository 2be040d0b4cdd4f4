"""Epsilon of releases some of which have a Renyi divergence only: noise in shares.

Three sound ways, and the least of their bounds, which is sound as well:

* noise in shares alone: its divergences are added (`dp.distributed`);
* with other noise, everything by Renyi divergence, where all of it has a curve;
* with other noise, each part by its own accountant and at a part of delta, and then
  basic composition: epsilons and deltas add up (Dwork and Roth, "The Algorithmic
  Foundations of Differential Privacy", Theorem B.1).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Final

import numpy as np
from dp_accounting import DpEvent

from dp.distributed import SharesDpEvent
from dp.renyi import ORDERS, Curve, curve_of, epsilon_of

Multiset = tuple[tuple[DpEvent, int], ...]
SPLITS: Final = (0.1, 0.5, 0.9)
"""Parts of delta that noise in shares may get; each is tried."""


def has_shares(releases: Multiset) -> bool:
    """Say whether any of the releases is noise in shares."""
    return any(isinstance(event, SharesDpEvent) for event, _ in releases)


def mixed_epsilon(
    releases: Multiset, delta: float, rest: Callable[[Multiset, float], float]
) -> float:
    """Return epsilon of releases with noise in shares among them.

    Args:
        releases: simple events, with how often each was released.
        delta: in (0, 1).
        rest: returns epsilon of the other releases at a delta; infinity, or an error
            of its own, where it has none.
    """
    shares = tuple(it for it in releases if isinstance(it[0], SharesDpEvent))
    others = tuple(it for it in releases if not isinstance(it[0], SharesDpEvent))
    if not others:
        return _by_renyi(shares, delta)
    apart = [
        _by_renyi(shares, part * delta) + rest(others, (1 - part) * delta)
        for part in SPLITS
    ]
    return min(_by_renyi(releases, delta), *apart)


def _by_renyi(releases: Multiset, delta: float) -> float:
    total, distance = np.zeros(len(ORDERS)), 0.0
    for event, count in releases:
        curve = _curve(event)
        if curve is None:
            return float("inf")
        total = total + count * curve
        if isinstance(event, SharesDpEvent):
            distance += count * event.total.distance
    return epsilon_of(total, delta, distance=distance)


@lru_cache(maxsize=1024)
def _curve(event: DpEvent) -> Curve | None:
    curve = event.total.rdp() if isinstance(event, SharesDpEvent) else curve_of(event)
    if curve is not None:
        curve.setflags(write=False)
    return curve
