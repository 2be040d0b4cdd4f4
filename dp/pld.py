"""Epsilon of simple events by Google's dp-accounting: privacy loss distributions.

The one place that runs its accountants. What the events mean, and which relation they
are stated for, is `dp.accounting`'s to say.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Final, Literal, TypeAlias

from dp_accounting import (
    DpEvent,
    GaussianDpEvent,
    NeighboringRelation,
    PoissonSampledDpEvent,
)
from dp_accounting.pld import PLDAccountant
from dp_accounting.rdp import RdpAccountant

from dp.errors import ParameterError
from dp.relation import ADD_OR_REMOVE

AccountantName: TypeAlias = Literal["pld", "rdp"]
Multiset: TypeAlias = tuple[tuple[DpEvent, int], ...]
"""Simple events with how often each was released, in one canonical order."""

# Width of the cells into which privacy losses are rounded up. Any width gives an upper
# bound; the coarse one costs a tenth of the time and is good enough to say "fits".
FINE: Final = 1e-4
COARSE: Final = 1e-3
# About as many cells as a distribution gets at the fine width, which bounds memory and
# seconds: the very large losses of little noise are rounded up more coarsely.
CELLS_MAX: Final = 2e5


@lru_cache(maxsize=4096)
def simple_epsilon(
    releases: Multiset, delta: float, accountant: AccountantName, interval: float
) -> float:
    """Return an upper bound on the epsilon of simple events, composed.

    Args:
        releases: none of them noise in shares.
        delta: in (0, 1).
        accountant: "pld" or "rdp".
        interval: width of the cells, `FINE` or `COARSE`.

    Raises:
        ParameterError: the caller's: an event or accountant that there is no bound by.
    """
    if not releases:
        return 0.0
    return float(_total(releases, accountant, interval).get_epsilon(delta))


def simple_deltas(releases: Multiset, epsilons: Sequence[float]) -> list[float]:
    """Return an upper bound on the delta of simple events, composed, at each epsilon.

    Raises:
        ParameterError: the caller's: an event that there is no bound by.
    """
    if not releases:
        return [0.0] * len(epsilons)
    total = _total(releases, "pld", COARSE)
    return [float(total.get_delta(epsilon)) for epsilon in epsilons]


def _total(
    releases: Multiset, accountant: AccountantName, interval: float
) -> PLDAccountant | RdpAccountant:
    relation = NeighboringRelation.ADD_OR_REMOVE_ONE
    if accountant == "pld":
        width = interval * max(1.0, _span(releases) / (FINE * CELLS_MAX))
        total = PLDAccountant(relation, width)
    elif accountant == "rdp":
        total = RdpAccountant(neighboring_relation=relation)
    else:
        raise ParameterError(f'accountant={accountant!r} must be "pld" or "rdp".')
    for event, count in releases:
        if not total.supports(event):
            raise ParameterError(
                f"{event} cannot be bounded under {ADD_OR_REMOVE!r} by {accountant}; "
                "use Gaussian noise, with or without Poisson sampling."
            )
        total.compose(event, count)
    return total


def _span(releases: Multiset) -> float:
    """Guess the range of privacy losses; a bad guess costs time, never the bound."""
    widest = variance = 0.0
    for event, count in releases:
        rate, inner = 1.0, event
        if isinstance(event, PoissonSampledDpEvent):
            rate, inner = event.sampling_probability, event.event
        if isinstance(inner, GaussianDpEvent) and inner.noise_multiplier > 0:
            mu = 1 / inner.noise_multiplier
            widest = max(widest, mu * mu / 2 + 8 * mu)
            # Central limit for subsampled Gaussians: Dong et al., arXiv:1905.02383.
            subsampled = rate * rate * math.expm1(min(mu * mu, 100.0))
            variance += count * min(mu * mu, subsampled)
    return max(widest, variance / 2 + 8 * math.sqrt(variance))
