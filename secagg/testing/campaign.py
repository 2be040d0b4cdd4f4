"""Many rounds under many schedules: how they ended, and which mishaps they met.

This module draws no schedule; it plays those that it is given, in their order.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from secagg.client import Client
from secagg.invite import Step
from secagg.params import Plan
from secagg.server import Server
from secagg.testing.rounds import play
from secagg.testing.schedule import MISHAPS, Mishap, Schedule
from secagg.testing.transport import Memory, Transport
from secagg.testing.verdict import FAILURES, End, judge


@dataclass(frozen=True, slots=True)
class Report:
    """What came of a campaign; ``str`` gives the table of what was met.

    Attributes:
        ends: How many rounds ended in which way; all ways are there.
        met: How often a mishap met a message of a step.
        failures: One sentence for each round that ended as none must.
    """

    ends: Mapping[End, int]
    met: Mapping[tuple[Step, Mishap], int]
    failures: tuple[str, ...]

    @property
    def rounds(self) -> int:
        """How many rounds were played."""
        return sum(self.ends.values())

    @property
    def unmet(self) -> tuple[tuple[Step, Mishap], ...]:
        """Mishaps that met no message of a step."""
        cells = ((step, mishap) for step in Step for mishap in MISHAPS)
        return tuple(cell for cell in cells if not self.met.get(cell))

    def __str__(self) -> str:
        lines = [f"{'':<26}" + "".join(f"{step:>16}" for step in Step)]
        for mishap in MISHAPS:
            counts = "".join(f"{self.met.get((step, mishap), 0):>16}" for step in Step)
            lines.append(f"{mishap!s:<26}{counts}")
        ends = ", ".join(f"{count} {end}" for end, count in self.ends.items())
        return "\n".join([*lines, f"{self.rounds} rounds: {ends}", *self.failures])


def campaign(
    rounds: Iterable[tuple[Plan, Schedule]],
    *,
    make: Callable[[], Transport] = Memory,
    server_class: type[Server] = Server,
    client_class: type[Client] = Client,
) -> Report:
    """Play rounds and judge each.

    Args:
        rounds: Plan and schedule of each round.
        make: Returns a fresh transport for each round.
        server_class: As in ``play``.
        client_class: As in ``play``.
    """
    ends = dict.fromkeys(End, 0)
    met = Counter[tuple[Step, Mishap]]()
    failures = []
    for plan, schedule in rounds:
        played = play(
            plan,
            schedule,
            transport=make(),
            server_class=server_class,
            client_class=client_class,
        )
        verdict = judge(played)
        ends[verdict.end] += 1
        met.update((step, mishap) for _, step, mishap in played.fired)
        if verdict.end in FAILURES:
            mishaps = ", ".join(
                f"{step} {mishap} of client {client}"
                for client, step, mishap in played.fired
            )
            failures.append(
                f"clients={plan.clients}, seed={schedule.seed}: {verdict.end}, "
                f"{verdict.reason} (met: {mishaps or 'nothing'})"
            )
    return Report(ends, met, tuple(failures))
