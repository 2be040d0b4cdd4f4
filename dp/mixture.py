"""Epsilon of releases with noise in shares among them.

Sound ways, and the least of their bounds, which is sound as well:

* everything by Renyi divergence, where all of it has a curve;
* noise in shares that has a *twin*, a real Gaussian that stands behind it but for a gap
  (`dp.smoothing`), composed as that Gaussian with all other releases at once; gaps and
  distances add up and are paid at the end;
* noise in shares without a twin, and all of it where the gaps are too wide, by Renyi
  divergence at a part of delta, the rest as before at the other part, and then basic
  composition: epsilons and deltas add up (Dwork and Roth, "The Algorithmic Foundations
  of Differential Privacy", Theorem B.1).

Asked for RDP, twins are left out, so that the two answers have proofs of their own.
"""

from __future__ import annotations

import math
from collections import Counter
from functools import lru_cache
from typing import Final

import numpy as np
from dp_accounting import DpEvent

from dp.distributed import SharesDpEvent
from dp.pld import AccountantName, Multiset, simple_epsilon
from dp.renyi import ORDERS, Curve, curve_of, epsilon_of
from dp.smoothing import GAP_MAX, transfer

SPLITS: Final = (0.1, 0.5, 0.9)
"""Parts of delta that noise without a twin may get; each is tried."""


def has_shares(releases: Multiset) -> bool:
    """Say whether any of the releases is noise in shares."""
    return any(isinstance(event, SharesDpEvent) for event, _ in releases)


def mixed_epsilon(
    releases: Multiset, delta: float, accountant: AccountantName, interval: float
) -> float:
    """Return an upper bound on the epsilon of releases, composed.

    Args:
        releases: simple events, with how often each was released.
        delta: in (0, 1).
        accountant: "pld", or "rdp" to compare with.
        interval: see `dp.pld.simple_epsilon`.

    Raises:
        ParameterError: the caller's: another event that the accountant cannot bound.
    """
    with_twin = tuple(it for it in releases if accountant == "pld" and _has_twin(it[0]))
    if _gap(with_twin) > GAP_MAX:
        with_twin = ()
    others = tuple(it for it in releases if not isinstance(it[0], SharesDpEvent))
    alone = tuple(it for it in releases if it not in with_twin and it not in others)

    def joint(part: float) -> float:
        return _by_twins(with_twin, others, part, accountant, interval)

    found = [_by_renyi(releases, delta)]
    if not alone:
        found.append(joint(delta))
    elif with_twin or others:
        found += [
            _by_renyi(alone, part * delta) + joint((1 - part) * delta)
            for part in SPLITS
        ]
    return min(found)


def _has_twin(event: DpEvent) -> bool:
    return isinstance(event, SharesDpEvent) and event.total.twin is not None


def _gap(shares: Multiset) -> float:
    return math.fsum(count * event.total.gap for event, count in shares)


def _by_twins(
    shares: Multiset,
    others: Multiset,
    delta: float,
    accountant: AccountantName,
    interval: float,
) -> float:
    if not shares:
        return simple_epsilon(others, delta, accountant, interval)
    counts = Counter(dict(others))
    for event, count in shares:
        counts[event.total.twin] += count
    twins = tuple(sorted(counts.items(), key=repr))
    return transfer(
        lambda part: simple_epsilon(twins, part, accountant, interval),
        delta,
        gap=_gap(shares),
        distance=math.fsum(count * event.total.distance for event, count in shares),
    )


def _by_renyi(releases: Multiset, delta: float) -> float:
    total, distance = np.zeros(len(ORDERS)), 0.0
    for event, count in releases:
        curve = _curve(event)
        if curve is None:
            return math.inf
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
