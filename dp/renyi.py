"""Renyi divergence at a fixed grid of integer orders: curves, sampling, conversion.

Mironov, arXiv:1702.07476: divergences of releases about the same units add up, order by
order, and give an epsilon at every delta. `dp.distributed` bounds noise that has no
privacy loss distribution by such a curve; here are the curves of the noise that has
one, so that both can be composed in one currency.

A curve bounds the divergence in both directions, at each of `ORDERS`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final, TypeAlias

import numpy as np
from dp_accounting import (
    DpEvent,
    GaussianDpEvent,
    LaplaceDpEvent,
    PoissonSampledDpEvent,
)
from numpy.typing import NDArray
from scipy.special import gammaln

Curve: TypeAlias = NDArray[np.float64]
"""Divergences, one for each order that was asked for."""
Whole: TypeAlias = Callable[[Curve], Curve]
"""From orders to the divergences of a release that certainly holds the unit."""

ORDERS: Final = (*range(2, 64), *range(64, 256, 8), *(1 << k for k in range(8, 13)))
SET_ASIDE: Final = 2.0**-10
"""The part of delta that is set aside for what happens beside the curves."""
# Beyond this epsilon its exponential says nothing, and soon overflows.
_EPSILON_MAX: Final = 700.0


def grid() -> Curve:
    """Return the orders as an array."""
    return np.array(ORDERS, dtype=np.float64)


def epsilon_of(divergence: Curve, delta: float, *, distance: float) -> float:
    """Return epsilon at delta of releases with this divergence.

    Canonne et al., arXiv:2004.00010, Proposition 12. The releases are those of the
    curve but for `distance` in total variation, which (1 + e^epsilon) times is taken
    from the part of delta that is set aside.

    Args:
        divergence: summed over all releases, at `ORDERS`.
        delta: in (0, 1).
        distance: summed over all releases, >= 0.

    Returns:
        Epsilon >= 0; infinity where no bound is known.
    """
    if not distance:
        return _convert(divergence, delta)
    found = _convert(divergence, delta * (1 - SET_ASIDE))
    if found > _EPSILON_MAX or (1 + math.exp(found)) * distance > delta * SET_ASIDE:
        return math.inf
    return found


def sampled(whole: Whole, rate: float) -> Curve:
    """Bound a release about units that are in it by a coin each, at `ORDERS`.

    Steinke, arXiv:2210.00597, on Poisson subsampling: at order a, the logarithm of
    (1 - q)^(a - 1) (1 + (a - 1) q) + sum over k = 2..a of C(a, k) (1 - q)^(a - k) q^k
    e^((k - 1) D_k), over a - 1. For Gaussian noise it is the moment itself (Mironov et
    al., arXiv:1908.10530, section 3.3).

    Args:
        whole: bounds the same release without sampling, at any integer orders.
        rate: q, in (0, 1].
    """
    if rate == 1:
        return whole(grid())
    every = np.arange(2.0, ORDERS[-1] + 1)
    divergence = whole(every)
    found = np.empty(len(ORDERS))
    for place, order in enumerate(ORDERS):
        k, own = every[: order - 1], divergence[: order - 1]
        logs = gammaln(order + 1) - gammaln(k + 1) - gammaln(order - k + 1)
        logs += (order - k) * math.log1p(-rate) + k * math.log(rate) + (k - 1) * own
        rest = (order - 1) * math.log1p(-rate) + math.log1p((order - 1) * rate)
        total = float(np.logaddexp.reduce(np.append(logs, rest)))
        # Rounding of logarithms near 1 must not turn a small bound into none.
        found[place] = min(max(total, 0.0) / (order - 1) + 1e-12, float(own[-1]))
    return found


def curve_of(event: DpEvent) -> Curve | None:
    """Return the curve of Gaussian or Laplace noise, sampled or not; else None."""
    if isinstance(event, PoissonSampledDpEvent):
        whole = _whole(event.event)
        return None if whole is None else sampled(whole, event.sampling_probability)
    whole = _whole(event)
    return None if whole is None else whole(grid())


def _whole(event: DpEvent) -> Whole | None:
    if not isinstance(event, GaussianDpEvent | LaplaceDpEvent):
        return None
    noise = float(event.noise_multiplier)
    if noise == 0:
        return None
    if isinstance(event, GaussianDpEvent):
        return lambda orders: orders / (2 * noise * noise)
    return lambda orders: _laplace(orders, noise)


def _laplace(orders: Curve, noise: float) -> Curve:
    """Return the divergence of Laplace noise: Mironov, Proposition 6."""
    up = np.log(orders / (2 * orders - 1)) + (orders - 1) / noise
    down = np.log((orders - 1) / (2 * orders - 1)) - orders / noise
    return np.asarray(np.logaddexp(up, down) / (orders - 1))


def _convert(divergence: Curve, delta: float) -> float:
    orders = grid()
    log_terms = (math.log(delta) + np.log(orders)) / (orders - 1)
    found = divergence + np.log1p(-1 / orders) - log_terms
    return max(0.0, float(found.min()))
