"""Test a round under faults, and your own transport: for tests, never for a real round.

``play`` runs real clients and a real server by bytes under a schedule of mishaps;
``judge`` says what came of it: the exact sum over u3, a clean abort, or one of four
failures that must never happen (a wrong sum, a leak, a crash, a hang).
``check_transport`` runs both over a host's own transport::

    from secagg.testing import check_transport

    check_transport(lambda: MyTransport())  # AssertionError names the broken promise

All keys follow from the seed of a schedule, so a round played here protects nobody.
"""

from secagg.testing.campaign import Report, campaign
from secagg.testing.contract import check_transport
from secagg.testing.invariants import find_leak
from secagg.testing.rounds import Input, Play, play
from secagg.testing.schedule import (
    DROPOUTS,
    MISHAPS,
    Kind,
    Mishap,
    Schedule,
    Way,
    draw_schedule,
    every_dropout,
    every_mishap,
)
from secagg.testing.transport import Memory, Transport
from secagg.testing.verdict import FAILURES, End, Verdict, judge

__all__ = [
    "DROPOUTS",
    "FAILURES",
    "MISHAPS",
    "End",
    "Input",
    "Kind",
    "Memory",
    "Mishap",
    "Play",
    "Report",
    "Schedule",
    "Transport",
    "Verdict",
    "Way",
    "campaign",
    "check_transport",
    "draw_schedule",
    "every_dropout",
    "every_mishap",
    "find_leak",
    "judge",
    "play",
]
