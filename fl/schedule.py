"""Who joins a round: by coins of their own, or by a public schedule.

Where noise is correlated over the rounds, nobody is sampled: a public order of the
roster is drawn once from the seed, and the place in it says in which rounds a client
takes part. Places are fixed: a client that is not there leaves its own empty, and
nobody moves up. The schedule keeps within the limits of participation, and
`fl.course.admit` refuses whoever would go beyond them, wherever cohorts come from.
"""

from __future__ import annotations

import dp
from fl.config import Config
from fl.federation import Client, Federation
from fl.protection import Protection
from fl.round import draw_cohort
from fl.seeds import rng_for


def cohort_of(
    federation: Federation,
    protection: Protection,
    config: Config,
    *,
    seed: int,
    index: int,
) -> tuple[Client, ...]:
    """Return who comes to a round under a protection."""
    central = protection.central
    if not isinstance(central, dp.CorrelatedSum):
        return draw_cohort(federation, config, seed=seed, index=index)
    separation = central.strategy.participation.separation
    places = rng_for(seed, "schedule").permutation(len(federation.clients))
    return tuple(
        client
        for client, place in zip(federation.clients, places, strict=True)
        if place % separation == index % separation
    )


def open_attendance(protection: Protection) -> dp.Attendance | None:
    """Return the empty list of who took part; None where anybody may, at any time."""
    central = protection.central
    if not isinstance(central, dp.CorrelatedSum):
        return None
    return dp.Attendance(central.strategy.participation)


def within_limits(
    attendance: dp.Attendance | None, cohort: tuple[Client, ...], index: int
) -> tuple[Client, ...]:
    """Note who takes part in a round, and leave out whoever may not."""
    if attendance is None:
        return cohort
    return tuple(one for one in cohort if _may(attendance, one.name, index))


def _may(attendance: dp.Attendance, client: str, index: int) -> bool:
    try:
        attendance.admit(client, index)
    except dp.ParticipationRefused:
        return False
    return True
