"""Sums of a cohort: of those who finish a plan's round, or of all who sent something.

A plan aborts when too few clients are left. Under client-level privacy that would tell:
one more client could turn nothing into the whole sum, which no noise for one client
covers. There the round is filled up with zeros and played again, so that the sum is
always the sum of exactly those who joined and uploaded, each by its own doing alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

import secagg
from fl.seeds import bytes_for
from secagg.aggregator import Aggregate

Vectors = Mapping[str, NDArray[np.float32]]
# A client that vanishes in this step has already sent its vector.
AFTER_UPLOAD = "unmask"


class Send(Protocol):
    """Plays one round; `collect` with everything but the cohort filled in."""

    def __call__(
        self,
        updates: Vectors,
        weights: Mapping[str, int],
        *,
        smallest: int,
        vanish: Mapping[str, str],
        attempt: int = 0,
    ) -> Aggregate:
        """Return the sum, or abort."""


def collect(
    updates: Vectors,
    weights: Mapping[str, int],
    *,
    aggregator: Callable[[int], secagg.Aggregator],
    smallest: int,
    context: bytes,
    vanish: Mapping[str, str],
    seed: int,
    name: tuple[str | int, ...],
    attempt: int = 0,
) -> Aggregate:
    """Play one round of the plan for just this cohort.

    Raises:
        secagg.AbortError: too few clients joined, or were left to finish the round.
    """
    if len(updates) < smallest:
        raise secagg.AbortError(
            f"a cohort of {len(updates)} is smaller than the plan allows.",
            step="advertise_keys",
            need=smallest,
            have=len(updates),
        )
    again = (attempt,) if attempt else ()
    return aggregator(len(updates)).aggregate(
        updates,
        weights,
        context=context,
        session=bytes_for(seed, "session", *name, *again),
        vanish=vanish,
        seed=bytes_for(seed, "protocol", *name, *again),
    )


def collect_all(
    send: Send, updates: Vectors, *, smallest: int, vanish: Mapping[str, str]
) -> Aggregate:
    """Return the sum of all who upload, every client weighing one.

    Guarantee: who is in the sum depends on each client's own coin and fate only, so
    that one client more or less changes the sum by its own update.

    Raises:
        secagg.AbortError: nobody uploads: the sum is zero.
    """
    filled = _filled(updates, smallest)
    try:
        found = send(filled, _ones(filled), smallest=smallest, vanish=vanish)
    except secagg.AbortError:
        # Played again with those who are still there.
        kept = {
            name: update
            for name, update in updates.items()
            if vanish.get(name, AFTER_UPLOAD) == AFTER_UPLOAD
        }
        if not kept:
            raise
        filled = _filled(kept, smallest)
        found = send(filled, _ones(filled), smallest=smallest, vanish={}, attempt=1)
    return _without(found, set(filled) - set(updates))


def _filled(updates: Vectors, smallest: int) -> dict[str, NDArray[np.float32]]:
    """Let clients whose coin said no send zeros, as many as the plan lacks."""
    length = len(next(iter(updates.values()), np.zeros(0)))
    absent = {
        f"absent-{i}": np.zeros(length, dtype=np.float32)
        for i in range(max(0, smallest - len(updates)))
        if length
    }
    return {**updates, **absent}


def _ones(updates: Vectors) -> dict[str, int]:
    return dict.fromkeys(updates, 1)


def _without(found: Aggregate, absent: set[str]) -> Aggregate:
    """Take the zeros out of the mean: they were no clients of the cohort."""
    zeros = len(found.survivors & absent)
    if not zeros:
        return found
    weight = found.weight - zeros
    if weight == 0:
        raise secagg.AbortError(
            "nobody of the cohort was left.", step="masked_input", need=1, have=0
        )
    factor = found.weight / weight
    return replace(
        found,
        mean=(found.mean * factor).astype(np.float32),
        weight=weight,
        survivors=found.survivors - absent,
        max_error=found.max_error * factor * (1 + 2.0**-20),
    )
