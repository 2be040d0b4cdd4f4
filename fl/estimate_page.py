"""An estimate for the terminal, and as JSON."""

from __future__ import annotations

import json
from typing import Any

from rich.table import Table

from fl.estimate import Estimate
from secagg.cost import Operation
from secagg.feasibility import MAX_CLIENTS, MAX_SPARSE_CLIENTS, SEMI_HONEST
from secagg.states import Role

SCHEMA = "blindsum.estimate/1"
_TIMES = ((86_400.0, "d"), (3_600.0, "h"), (60.0, "min"), (1.0, "s"), (1e-3, "ms"))
_SIZES = ((1e15, "PB"), (1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB"), (1.0, "B"))


def table(found: Estimate) -> Table:
    """Return one line per role and step, and their totals."""
    page = Table("role", "step")
    for name in ("CPU", "peak memory", "received", "sent", "wall"):
        page.add_column(name, justify="right")
    for role in Role:
        for row in found.rows:
            if row.role == role.value:
                page.add_row(
                    f"one {row.role}" if role is Role.CLIENT else row.role,
                    row.step,
                    _time(row.cpu_s),
                    _size(row.memory_bytes),
                    _size(row.bytes_in),
                    _size(row.bytes_out),
                    _time(row.wall_s),
                )
        page.add_row(
            "",
            "in all",
            _time(found.total(role, "cpu_s")),
            _size(found.peak_bytes(role)),
            _size(found.total(role, "bytes_in")),
            _size(found.total(role, "bytes_out")),
            _time(found.total(role, "wall_s")),
            style="bold",
            end_section=True,
        )
    return page


def sentences(found: Estimate, *, rounds: int = 1) -> list[str]:
    """Say what the table leaves open: the round, its limits, and how sure it is."""
    turnout, plan = found.turnout, found.plan
    lost = turnout.clients - turnout.u5
    said = [
        f"One round: at most {_time(found.wall_s)} on an idle network, {lost} clients "
        "gone; what the server waits for them comes on top."
    ]
    if rounds > 1:
        cpu_s = rounds * found.total(Role.SERVER, "cpu_s")
        said.append(
            f"{rounds} such rounds: {_time(cpu_s)} of CPU at servers; each releases a "
            f"sum of its own, which hides a client among {plan.honest_min} honest "
            f"inputs, not among all, if none has more than {plan.corrupt} colluders."
        )
    if not found.runnable:
        said.append(_not_runnable(found))
    least = min(unit.low / unit.seconds for unit in _measured(found))
    most = max(unit.high / unit.seconds for unit in _measured(found))
    said.append(
        "Unit costs were measured here and now; single turns were off their medians by "
        f"{least:.2f} to {most:.1f} times."
    )
    return said


def to_json(found: Estimate, *, rounds: int = 1) -> str:
    """Return all of it, with unit costs and counts."""
    plan, turnout = found.plan, found.turnout
    record: dict[str, Any] = {
        "schema": SCHEMA,
        "clients": plan.clients,
        "corrupt": plan.corrupt,
        "drop": plan.drop,
        "threat": plan.threat,
        "cipher": plan.cipher,
        "k": plan.k,
        "t": plan.t,
        "honest_min": plan.honest_min,
        "length": found.length,
        "rounds": rounds,
        "runnable": found.runnable,
        "turnout": {name: getattr(turnout, name) for name in turnout.__slots__},
        "rows": [
            {name: getattr(row, name) for name in row.__slots__} for row in found.rows
        ],
        "wall_s": found.wall_s,
        "unit_seconds": {
            operation.name.lower(): [unit.low, unit.seconds, unit.high]
            for operation, unit in found.units.items()
        },
        "piece_bytes": {piece.name.lower(): b for piece, b in found.pieces.items()},
    }
    return json.dumps(record, allow_nan=False)


def _not_runnable(found: Estimate) -> str:
    if found.plan.threat != SEMI_HONEST:
        return (
            "This release plans against a server that lies and runs no such round: "
            "these are the costs of the same messages without the consistency step."
        )
    most = MAX_CLIENTS if found.plan.complete else MAX_SPARSE_CLIENTS
    return (
        f"No such round runs: this release has at most {most:,} clients in one. These "
        "are the costs that its messages would have with wider indices; --per-round "
        "splits the clients."
    )


def _measured(found: Estimate) -> list[Any]:
    return [
        unit
        for operation, unit in found.units.items()
        if operation is not Operation.MESSAGE and unit.seconds > 0
    ]


def _time(seconds: float) -> str:
    return _scaled(seconds, _TIMES)


def _size(octets: float) -> str:
    return _scaled(octets, _SIZES)


def _scaled(value: float, units: tuple[tuple[float, str], ...]) -> str:
    """Write a number with three digits in the largest unit that it reaches."""
    size, unit = next((one for one in units if value >= one[0]), units[-1])
    number = value / size
    digits = 0 if number >= 100 or unit == "B" else 1 if number >= 10 else 2
    return f"{number:,.{digits}f} {unit}"
