"""What several sums reveal together, and which sum may not be released any more.

Sums under one context are taken for sums of the same vectors with the same weights.
Two of them subtract to a sum over the clients in which their cohorts differ; three or
more combine further.  A client that alone offers another vector or weight the second
time would give away the difference; its own store refuses that (``Store.upload``).

Pure: it is told of releases and keeps none (``store`` does).  It sees nothing that is
specific to a vector, a weight or a key, and does not account for noise: see the rule's
docstring for what repeating one and the same sum averages away.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from secagg import usage
from secagg.errors import AbortError, ParameterError
from secagg.rowspace import GaveUp, lightest_below, single_columns

_CURE = "sum exactly the same clients again, or train under a new context"


@dataclass(frozen=True, slots=True)
class Release:
    """One sum that the server is given.

    Attributes:
        context: 32 bytes, what the clients offered under.
        cohort: u3, the clients whose inputs are in the sum.

    Raises:
        ParameterError: The context is not 32 bytes or the cohort is empty (caller).
    """

    context: bytes
    cohort: frozenset[str]

    def __post_init__(self) -> None:
        if not isinstance(self.context, bytes) or len(self.context) != (
            usage.DIGEST_BYTES
        ):
            raise ParameterError(
                "context must be the 32 bytes of secagg.context(...).",
                argument="context",
            )
        if not self.cohort:
            raise ParameterError(
                "cohort is empty; name its clients.", argument="cohort"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Participation:
    """What sums of the same vectors reveal about single clients.

    Attributes:
        sums: Releases, repeated ones included.
        cohorts: Different cohorts among them.
        clients: Clients that are in at least one sum.
        smallest_difference: Fewest clients on a non-empty side, over all pairs of
            different cohorts; None if there is no pair.
        determined: Clients whose input is a linear combination of the sums, exactly.
    """

    sums: int
    cohorts: int
    clients: int
    smallest_difference: int | None
    determined: frozenset[str]

    def __str__(self) -> str:
        if not self.sums:
            return "no sum was released."
        start = f"{_count(self.sums, 'sum')} over {_count(self.cohorts, 'cohort')}"
        if self.smallest_difference is not None:
            start += f", smallest difference {_count(self.smallest_difference)}"
        if not self.determined:
            return f"{start}: no single client's input is determined."
        names = ", ".join(sorted(self.determined))
        return f"{start}: the input of {_count(len(self.determined))} follows: {names}."


def check_release(new: Release, earlier: Iterable[Release], minimum: int) -> None:
    """Refuse a sum that, with earlier ones under its context, isolates too few clients.

    Guarantee, if every earlier release passed and no client's vector or weight changed
    in between: two cohorts are equal, or differ by at least ``minimum`` clients on each
    side that is not empty; and no linear combination of the sums whatever rests on
    fewer than ``minimum`` clients.  With ``minimum`` = A + h, whoever knows the inputs
    of A clients gets nothing that involves fewer than h others.  Pairs alone would not
    do: if A and B share one client and C is their union, each two differ by many and
    A + B - C is that client.

    Equal cohorts pass: the same sum again, encoded afresh.  Averaging such sums removes
    what was drawn afresh for each: the rounding of the encoder, on which nothing
    relies, and noise added by the caller, whose ledger has to charge each release.

    Args:
        new: The sum about to be released.
        earlier: The releases known; those under other contexts do not count.
        minimum: Clients, at least 1.

    Raises:
        AbortError: The sum must not be released; ``need`` and ``have`` count clients.
    """
    known = {past.cohort for past in earlier if past.context == new.context}
    if new.cohort in known:
        return
    for cohort in known:
        for side in (new.cohort - cohort, cohort - new.cohort):
            if 0 < len(side) < minimum:
                raise AbortError(
                    f"this sum and an earlier one under the same context would differ "
                    f"by {_count(len(side))}, at least {minimum} are needed; {_CURE}.",
                    need=minimum,
                    have=len(side),
                )
    _, matrix = _matrix([*known, new.cohort])
    try:
        rests_on = lightest_below(matrix, minimum)
    except GaveUp:
        raise AbortError(
            f"the sums over {len(known) + 1} overlapping cohorts under one context are "
            f"too many to rule out that few clients are isolated; {_CURE}."
        ) from None
    if rests_on is not None:
        raise AbortError(
            f"this sum and {_count(len(known), 'earlier one')} under the same context "
            f"would combine to one that rests on {_count(rests_on)}, at least "
            f"{minimum} are needed; {_CURE}.",
            need=minimum,
            have=rests_on,
        )


def participation(cohorts: Iterable[Collection[str]]) -> Participation:
    """Say which single inputs follow from sums of the same vectors, exactly.

    A client is listed exactly if its unit vector is in the rational row space of the
    0/1 matrix of who was in which sum.  That is what the sums reveal by linear algebra,
    to somebody who knows no input; it bounds nothing for vectors that changed, and is
    no statement about what a sum reveals by itself.

    Give it the cohorts under one context, or those of many rounds to see what would
    follow if the clients' vectors hardly changed from round to round.

    Args:
        cohorts: One collection of client names per released sum.

    Source:
        So et al., "Securing Secure Aggregation: Mitigating Multi-Round Privacy Leakage
        in Federated Learning", arXiv 2106.03328.
    """
    sets = [_cohort(cohort) for cohort in cohorts]
    different = list(dict.fromkeys(sets))
    names, matrix = _matrix(different)
    columns = single_columns(matrix) if names else frozenset()
    return Participation(
        sums=len(sets),
        cohorts=len(different),
        clients=len(names),
        smallest_difference=_smallest_difference(matrix),
        determined=frozenset(names[i] for i in columns),
    )


def _cohort(names: Collection[str]) -> frozenset[str]:
    if isinstance(names, str) or not names:
        raise ParameterError(
            f"a cohort is {names!r}; give each as a collection of client names, not "
            "empty.",
            argument="cohorts",
        )
    return frozenset(names)


def _matrix(
    cohorts: Sequence[frozenset[str]],
) -> tuple[list[str], NDArray[np.bool_]]:
    """Return the clients, sorted, and who is in which cohort, (cohorts, clients)."""
    names = sorted(frozenset().union(*cohorts))
    index = {name: i for i, name in enumerate(names)}
    matrix = np.zeros((len(cohorts), len(names)), bool)
    for row, cohort in zip(matrix, cohorts, strict=True):
        row[[index[name] for name in cohort]] = True
    return names, matrix


def _smallest_difference(matrix: NDArray[np.bool_]) -> int | None:
    """Return the fewest clients that one cohort has and another lacks, if not none."""
    counts = matrix.astype(np.float64)  # exact, and fast to multiply
    missing = counts @ (1 - counts).T  # (cohorts, cohorts): in one, not in the other
    sides = missing[missing > 0]
    return int(sides.min()) if sides.size else None


def _count(number: int, what: str = "client") -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
