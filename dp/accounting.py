"""From what was released to epsilon: a thin layer over Google's dp-accounting.

    step = sampled_gaussian(1.1, 0.01)
    epsilon(step, 1000, 1e-5)                    # composed 1000 times
    composed_epsilon([(step, 1000), (other, 3)], 1e-5)

The accountant is the one of privacy loss distributions (PLD; Koskela et al.,
arXiv:1906.03049; Doroshenko et al., arXiv:2207.04380) in its pessimistic rounding, so
that epsilon is an upper bound; Renyi (RDP; Mironov, arXiv:1702.07476) is there to
compare with, and is looser. The central-limit (GDP) accountant is not offered: it
reports less than the truth. Noise in shares is accounted for by the real Gaussian that
stands behind it, and by RDP where none does (`dp.mixture`). Sensitivities are those of
the relation that is stated beside the epsilon, *add or remove one unit* if nothing else
is; a sampling rate below 1 means Poisson sampling: an independent coin for each unit.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from functools import lru_cache
from importlib.metadata import version
from typing import Final

from dp_accounting import (
    ComposedDpEvent,
    DpEvent,
    GaussianDpEvent,
    NoOpDpEvent,
    PoissonSampledDpEvent,
    SelfComposedDpEvent,
)

from dp.distributed import SharesDpEvent
from dp.errors import ParameterError
from dp.mixture import has_shares, mixed_epsilon
from dp.pld import COARSE, FINE, AccountantName, Multiset, simple_epsilon
from dp.relation import ADD_OR_REMOVE, REPLACE, ZERO_OUT

ACCOUNTANT: Final = f"PLD (dp-accounting {version('dp-accounting')})"
SHARES_ACCOUNTANT: Final = f"{ACCOUNTANT}; RDP for Skellam and for hardly any noise"
"""What noise in shares is accounted for by."""
RELATION: Final = ADD_OR_REMOVE


def sampled_gaussian(noise_multiplier: float, sampling_rate: float) -> DpEvent:
    """Describe one release of a noisy sum over a Poisson sample of the units.

    Args:
        noise_multiplier: standard deviation over the L2 sensitivity, > 0.
        sampling_rate: each unit's public chance of being in the sum, in (0, 1].

    Raises:
        ParameterError: the caller's: a number out of range.
    """
    if not 0 < noise_multiplier < math.inf:
        raise ParameterError(
            f"noise_multiplier={noise_multiplier} must be positive and finite; "
            "without noise there is no epsilon."
        )
    if not 0 < sampling_rate <= 1:
        raise ParameterError(f"sampling_rate={sampling_rate} must be in (0, 1].")
    gaussian = GaussianDpEvent(float(noise_multiplier))
    if sampling_rate == 1:
        return gaussian
    return PoissonSampledDpEvent(float(sampling_rate), gaussian)


def epsilon(
    event: DpEvent, count: int, delta: float, *, accountant: AccountantName = "pld"
) -> float:
    """Return the epsilon of one event released `count` times, each independent.

    The mechanisms may be chosen adaptively from earlier releases, their noise and
    sampling not. See `composed_epsilon` for the arguments and errors.
    """
    return composed_epsilon([(event, count)], delta, accountant=accountant)


def composed_epsilon(
    events: Iterable[tuple[DpEvent, int]],
    delta: float,
    *,
    accountant: AccountantName = "pld",
) -> float:
    """Return the epsilon of many releases about the same units.

    Guarantee: an upper bound for real-valued noise, whatever the order of the
    releases; equal multisets give the same number, from a cache.

    Args:
        events: each with how often it happened, >= 1.
        delta: in (0, 1).
        accountant: "pld", or "rdp" to compare with.

    Returns:
        Epsilon >= 0; infinity if the releases are unbounded at this delta.

    Raises:
        ParameterError: the caller's: a number out of range, or an event that the
            accountant cannot bound under this relation.
    """
    _check_delta(delta)
    return _epsilon(multiset(events), float(delta), accountant, FINE)


def fits(releases: Multiset, epsilon: float, delta: float) -> bool:
    """Say whether the releases stay within (epsilon, delta).

    Both widths of cells give upper bounds, so the coarse one may say yes, and only the
    fine one no.
    """
    _check_delta(delta)
    return any(
        _epsilon(releases, float(delta), "pld", interval) <= epsilon
        for interval in (COARSE, FINE)
    )


def coarse_epsilon(event: DpEvent, count: int, delta: float) -> float:
    """Return a quick upper bound on epsilon, a little above the one of `epsilon`."""
    _check_delta(delta)
    return _epsilon(multiset([(event, count)]), float(delta), "pld", COARSE)


def multiset(events: Iterable[tuple[DpEvent, int]]) -> Multiset:
    """Bring releases into their canonical form: simple events, counted and sorted.

    Raises:
        ParameterError: the caller's: a count below 1 or something other than events.
    """
    counts: dict[DpEvent, int] = {}
    for event, count in events:
        if count < 1:
            raise ParameterError(f"count={count} of releases must be at least 1.")
        _collect(event, int(count), counts)
    return tuple(sorted(counts.items(), key=repr))


def check_event(event: DpEvent, relation: str) -> None:
    """Refuse an event whose accounting does not hold under a relation.

    Raises:
        ParameterError: the caller's: sampled units that are replaced and not removed,
            or noise in shares of which a unit's own would go with it.
    """
    for one, _ in multiset([(event, 1)]):
        if relation == REPLACE and isinstance(one, PoissonSampledDpEvent):
            raise ParameterError(
                f"{describe(one)} is not accounted for under {relation!r}; state the "
                "release without its sampling."
            )
        if relation != ZERO_OUT and isinstance(one, SharesDpEvent):
            raise ParameterError(
                f"noise in shares is accounted for under {ZERO_OUT!r} and not under "
                f"{relation!r}; open the ledger with relation={ZERO_OUT!r}."
            )


def describe(event: DpEvent) -> str:
    """Say in words what an event is; other kinds than ours in dp-accounting's own."""
    if isinstance(event, GaussianDpEvent):
        return f"Gaussian noise, multiplier {event.noise_multiplier!r}"
    if isinstance(event, PoissonSampledDpEvent):
        rate = event.sampling_probability
        return f"{describe(event.event)}, on a Poisson sample at rate {rate!r}"
    return str(event)


def _collect(event: DpEvent, count: int, counts: dict[DpEvent, int]) -> None:
    if isinstance(event, ComposedDpEvent):
        for part in event.events:
            _collect(part, count, counts)
    elif isinstance(event, SelfComposedDpEvent):
        if event.count > 0:
            _collect(event.event, count * event.count, counts)
    elif not isinstance(event, DpEvent):
        raise ParameterError(f"{event!r} is not a DpEvent; see dp.sampled_gaussian.")
    elif not isinstance(event, NoOpDpEvent):
        counts[event] = counts.get(event, 0) + count


def _check_delta(delta: float) -> None:
    if not 0 < delta < 1:
        raise ParameterError(
            f"delta={delta} must lie between 0 and 1; choose it well below one over "
            "the number of units."
        )


@lru_cache(maxsize=4096)
def _epsilon(
    releases: Multiset, delta: float, accountant: AccountantName, interval: float
) -> float:
    if has_shares(releases):
        return mixed_epsilon(releases, delta, accountant, interval)
    return simple_epsilon(releases, delta, accountant, interval)
