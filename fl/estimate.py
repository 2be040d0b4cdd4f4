"""A planned round in CPU seconds, memory, bytes and wall time, by role and step.

Counts are those of `secagg.cost`, `secagg.traffic` and `secagg.footprint`; unit costs
are measured here and now, so the figures are those of machines like this one.

Wall time of a step is an upper bound on an idle network: a message each way, a client's
work and transfers, the server's work and transfers, one after the other; all clients
work at once.  The server's cores divide what runs along the vector, and nothing else.
Waiting for clients that vanish is the operator's deadline, and not in it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import secagg
from fl.unit_costs import BUDGET_S, UnitCost, measure
from fl.unit_memory import measure_memory
from secagg.cost import VECTOR_OPERATIONS, Operation, Work, cpu_seconds, work
from secagg.feasibility import MAX_SPARSE_CLIENTS, SEMI_HONEST, check_range
from secagg.footprint import Piece, bytes_held, held
from secagg.invite import Step
from secagg.states import Role
from secagg.traffic import Traffic, Wiring, traffic
from secagg.turnout import Turnout, expected_turnout

BITS: Final = 8
MEGABIT: Final = 1e6


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """Where a round runs.

    Attributes:
        name_bytes: Of one client's name.
        session_bytes: Of the session's name.
        signed: Whether clients sign their keys.
        cores: Of the server.
        up_mbit: A client's bandwidth to the server, in Mbit/s.
        down_mbit: The server's to a client.
        server_mbit: The server's, in each direction, for all clients together.
        latency_s: One way.
    """

    name_bytes: int = 16
    session_bytes: int = 16
    signed: bool = True
    cores: int = 1
    up_mbit: float = 20.0
    down_mbit: float = 100.0
    server_mbit: float = 10_000.0
    latency_s: float = 0.05

    def __post_init__(self) -> None:
        check_range("cores", self.cores, 1, 1 << 20)
        for name in ("up_mbit", "down_mbit", "server_mbit"):
            rate = getattr(self, name)
            if not 0 < rate < float("inf"):
                raise secagg.ParameterError(
                    f"{name}={rate} must be a positive number of Mbit/s.",
                    argument=name,
                )
        if not 0 <= self.latency_s < float("inf"):
            raise secagg.ParameterError(
                f"latency_s={self.latency_s} must be a number of seconds, not below 0.",
                argument="latency_s",
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """What one client, or the server, spends on a step.

    Attributes:
        role: `client` or `server`.
        step: Of the round.
        cpu_s: CPU seconds; of a client, the mean over all that the step asks.
        memory_bytes: Most that is held at once.
        bytes_in: Received; of a client, the mean.
        bytes_out: Sent.
        wall_s: The client's, or the server's, share of the step.
    """

    role: str
    step: str
    cpu_s: float
    memory_bytes: float
    bytes_in: float
    bytes_out: float
    wall_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A planned round.

    Attributes:
        plan: What is agreed.
        length: Values in a vector.
        runnable: Whether this release plays such a round.
        turnout: Who answers.
        rows: Four of a client, four of the server.
        wall_s: Of the round.
        units: What they were priced with.
        pieces: Bytes of what is held.
    """

    plan: secagg.Plan
    length: int
    runnable: bool
    turnout: Turnout
    rows: tuple[Row, ...]
    wall_s: float
    units: Mapping[Operation, UnitCost]
    pieces: Mapping[Piece, float]

    def total(self, role: Role, field: str) -> float:
        """Add up a column of one role."""
        rows = [row for row in self.rows if row.role == role.value]
        return float(sum(getattr(row, field) for row in rows))

    def peak_bytes(self, role: Role) -> float:
        """Return the most that one party of a role holds in any step."""
        return max(row.memory_bytes for row in self.rows if row.role == role.value)


def estimate(
    plan: secagg.Plan,
    *,
    length: int,
    gone: Mapping[Step, int],
    setting: Setting,
    budget_s: float = BUDGET_S,
) -> Estimate:
    """Measure unit costs, and price a round.

    Args:
        plan: May be one that can be planned only: the figures are then what the same
            messages would cost, with four-byte indices beyond 65,535 clients, and
            without the step that a server that lies would make necessary.
        length: Values in a vector.
        gone: Clients that vanish in each step.
        setting: Where it runs.
        budget_s: About how long to measure.

    Raises:
        secagg.ParameterError: Plan, length, dropouts and setting do not go together.
    """
    turnout = expected_turnout(plan, gone)
    wiring = Wiring(
        session_bytes=setting.session_bytes,
        name_bytes=setting.name_bytes * plan.clients,
        signed=setting.signed,
    )
    sent = traffic(plan, turnout, length=length, wiring=wiring)
    counts = work(plan, turnout, length=length, signed=setting.signed)
    holding = held(plan, turnout, sent, length=length)
    units = measure(plan, length=length, budget_s=budget_s)
    pieces = measure_memory(plan, length=length)
    price = {operation: unit.seconds for operation, unit in units.items()}
    rows: list[Row] = []
    wall_s = 0.0
    for step in Step:
        parts = {}
        for role in Role:
            part = role, step
            memory = bytes_held(holding[part], pieces)
            parts[role] = _row(
                role, step, counts[part], price, memory, sent[step], turnout, setting
            )
        rows += parts.values()
        wall_s += 2 * setting.latency_s + sum(row.wall_s for row in parts.values())
    return Estimate(
        plan=plan,
        length=length,
        runnable=plan.threat == SEMI_HONEST and plan.clients <= MAX_SPARSE_CLIENTS,
        turnout=turnout,
        rows=tuple(sorted(rows, key=lambda row: row.role)),
        wall_s=wall_s,
        units=units,
        pieces=pieces,
    )


def _row(
    role: Role,
    step: Step,
    counts: Work,
    price: Mapping[Operation, float],
    memory: float,
    sent: Traffic,
    turnout: Turnout,
    setting: Setting,
) -> Row:
    asked, answered = turnout.answering(step)
    cpu_s = cpu_seconds(counts, price)
    if role is Role.SERVER:
        along = Work({op: n for op, n in counts.items() if op in VECTOR_OPERATIONS})
        saved = cpu_seconds(along, price) * (1 - 1 / setting.cores)
        moved = (sent.down + sent.up) * BITS / (setting.server_mbit * MEGABIT)
        return Row(
            role=role.value,
            step=step.value,
            cpu_s=cpu_s,
            memory_bytes=memory,
            bytes_in=sent.up,
            bytes_out=sent.down,
            wall_s=cpu_s - saved + moved,
        )
    received, given = sent.down / asked, sent.up / max(1, answered)
    moved = received / setting.down_mbit + given / setting.up_mbit
    return Row(
        role=role.value,
        step=step.value,
        cpu_s=cpu_s / asked,
        memory_bytes=memory,
        bytes_in=received,
        bytes_out=given,
        wall_s=cpu_s / asked + moved * BITS / MEGABIT,
    )
