"""Rounds of secure aggregation under faults: how they end, and what they met.

Real clients and a real server exchange bytes in this process.  First each mishap at
each step alone, then mixed ones under four plans.  Nothing is timed, and no peer is
measured here.
"""

from __future__ import annotations

from collections.abc import Sequence

import secagg
from secagg.testing import Schedule, campaign, draw_schedule, every_mishap
from secagg.testing.verdict import End

Rounds = Sequence[tuple[secagg.Plan, Schedule]]
PLANS = (
    secagg.plan(5, 1, 1, graph="complete"),
    secagg.plan(4, 1, 1, graph="complete"),
    secagg.plan(5, 1, 2, graph="complete"),
    secagg.plan(6, 1, 1, graph="k-regular"),
)
QUICK_MIXED, MIXED = 40, 2500
FIGURES = {
    "sums": End.SUM,
    "aborts": End.ABORT,
    "wrong_sums": End.WRONG_SUM,
    "leaks": End.LEAK,
    "crashes": End.CRASH,
    "hangs": End.HANG,
}


def measure(
    quick: bool,
    *,
    rounds: Rounds | None = None,
    server_class: type[secagg.Server] = secagg.Server,
    client_class: type[secagg.Client] = secagg.Client,
) -> dict[str, float]:
    """Print what was met at which step; return how many rounds ended in which way."""
    if rounds is None:
        rounds = schedules(mixed=QUICK_MIXED if quick else MIXED)
    report = campaign(rounds, server_class=server_class, client_class=client_class)
    print(report)
    figures = {"schedules": float(report.rounds), "unmet": float(len(report.unmet))}
    return figures | {name: float(report.ends[end]) for name, end in FIGURES.items()}


def schedules(*, mixed: int) -> Rounds:
    """Return each mishap alone, and for each plan ``mixed`` schedules of several."""
    alone = [(PLANS[0], schedule) for schedule in every_mishap(PLANS[0].clients)]
    return alone + [
        (plan, draw_schedule(plan.clients, seed))
        for plan in PLANS
        for seed in range(mixed)
    ]
