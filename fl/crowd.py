"""How many hide in one sum, and what an attack gets from a sum of that many.

Which numbers of colluders and dropouts the table shows, and its rows. Each size of
crowd is attacked once, through rounds of secure aggregation in which just so many
clients vanish; the verdict is the row's that the matrix shows too.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from fl.protection import Protection
from fl.report import CrowdRow, LeakageRow, Verdict
from fl.settings import FederationConfig
from fl.shots import crowd_view

# Rows and columns, at most; the ends are always there.
SIDE = 4


def crowd_protection(protections: Sequence[Protection]) -> Protection | None:
    """Return the protection whose sums the table is about, if it is audited."""
    for one in protections:
        masked = one.hides_one_upload is not None and one.shared_key is None
        if masked and one.central is None and one.shares is None:
            return one
    return None


def colluders(federation: FederationConfig) -> tuple[int, ...]:
    """Return the numbers of colluders in the table, none and all among them."""
    return _spread(federation.corrupt)


def dropouts(federation: FederationConfig) -> tuple[int, ...]:
    """Return the numbers of dropouts in the table after which there is a sum."""
    return _spread(federation.drop)


def sizes(federation: FederationConfig) -> Iterator[tuple[int, tuple[int, ...]]]:
    """Yield dropouts and the numbers of colluders that make crowds not yet seen."""
    seen: set[int] = set()
    for vanished in dropouts(federation):
        new = tuple(
            count
            for count in colluders(federation)
            if federation.cohort - vanished - count not in seen
        )
        seen |= {federation.cohort - vanished - count for count in new}
        if new:
            yield vanished, new


def rows(
    federation: FederationConfig, leakage: Sequence[LeakageRow]
) -> tuple[CrowdRow, ...]:
    """Return the table: honest inputs per sum, and the worst that was measured there.

    Beyond the planned dropouts no sum is released; beyond the planned colluders the
    plan promises nothing, and nothing is shown.
    """
    return tuple(
        _row(federation, count, vanished, leakage)
        for count in colluders(federation)
        for vanished in (*dropouts(federation), federation.drop + 1)
    )


def _row(
    federation: FederationConfig,
    count: int,
    vanished: int,
    leakage: Sequence[LeakageRow],
) -> CrowdRow:
    if vanished > federation.drop:
        return CrowdRow(colluders=count, dropouts=vanished, honest=None)
    honest = federation.cohort - vanished - count
    order = tuple(Verdict)
    found = min(
        (row for row in leakage if row.view == crowd_view(honest)),
        key=lambda row: order.index(row.verdict),
        default=None,
    )
    if found is None or found.value is None:
        return CrowdRow(colluders=count, dropouts=vanished, honest=honest)
    return CrowdRow(
        colluders=count,
        dropouts=vanished,
        honest=honest,
        attack=found.attack,
        metric=found.metric,
        value=found.value,
        low=found.low,
        high=found.high,
        confidence=found.confidence,
        n=found.n,
        null=found.null,
        verdict=found.verdict,
    )


def _spread(most: int) -> tuple[int, ...]:
    steps = min(SIDE - 1, most)
    return tuple(round(i * most / max(steps, 1)) for i in range(steps + 1))
