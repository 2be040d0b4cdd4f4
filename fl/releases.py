"""What the sums in a store reveal together: one line per context, and one over all.

A store may hold the records of several parties of one round; a sum that several of them
recorded counts once.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import secagg
from fl.errors import UserError
from secagg.errors import StoreError
from secagg.monitor import Participation

SHOWN_DIGITS = 12
MOST_TOGETHER = 200
"""Cohorts over all contexts up to which the exact answer takes seconds."""


class StoreFileError(UserError):
    """The store cannot be read; the sentence says which and why."""


@dataclass(frozen=True, slots=True)
class Releases:
    """What a store's sums reveal.

    Attributes:
        by_context: One report per context, in hexadecimal.
        together: The report over all contexts, as if no vector had changed; None
            where there are too many cohorts.
    """

    by_context: dict[str, Participation]
    together: Participation | None

    @property
    def determined(self) -> bool:
        """Whether under some context a single client's input follows."""
        return any(found.determined for found in self.by_context.values())

    def lines(self) -> Iterator[str]:
        """Yield the lines to print."""
        for context, found in self.by_context.items():
            yield f"context {context[:SHOWN_DIGITS]}: {found}"
        if not self.by_context:
            yield str(self.together)
        elif len(self.by_context) > 1:
            many = f"more than {MOST_TOGETHER} cohorts, which was not worked out."
            yield f"all contexts, if no vector changed: {self.together or many}"


def read_releases(path: Path) -> Releases:
    """Read a store and report on its sums.

    Raises:
        StoreFileError: There is no such file, or it is not a store.
    """
    try:
        with secagg.Store(path, must_exist=True) as store:
            recorded = store.releases()
    except StoreError as error:
        raise StoreFileError(str(error)) from error
    sums: dict[str, dict[tuple[bytes, frozenset[str]], None]] = {}
    for one in recorded:
        context = one.release.context.hex()
        sums.setdefault(context, {})[one.session, one.release.cohort] = None
    cohorts = {
        context: [cohort for _, cohort in kept]
        for context, kept in sorted(sums.items())
    }
    every = [cohort for some in cohorts.values() for cohort in some]
    few = len(set(every)) <= MOST_TOGETHER
    return Releases(
        by_context={
            context: secagg.participation(some) for context, some in cohorts.items()
        },
        together=secagg.participation(every) if few else None,
    )
