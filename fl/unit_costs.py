"""What one unit of each operation of a round costs on this machine, measured now.

Each probe calls the functions that ``Client`` and ``Server`` call, at the sizes of the
plan: its neighbours, threshold, ring and length, up to sizes that a fraction of a
second allows, from where on costs are taken to grow as the counts do.  Probes take
turns until the time is up, so that a busy neighbour on the machine meets all of them,
and the median of the turns counts.  CPU time is that of all threads.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import count
from statistics import median
from typing import Final, TypeAlias

import numpy as np

import secagg
from fl.probe import Probe
from fl.probes import probes
from secagg.cost import Operation, cpu_seconds, work
from secagg.turnout import expected_turnout

BUDGET_S: Final = 2.0
_MOST_S: Final = 600.0
_SAMPLE_S: Final = 2e-3  # a probe is repeated until it lasts so long
_SHORT_S: Final = 2e-4
_LEAST_TURNS: Final = 3
_FEW: Final = secagg.plan(4, 1, 1)

Turns: TypeAlias = dict[Operation, list[float]]
"""Seconds of one operation, turn by turn."""


@dataclass(frozen=True, slots=True)
class UnitCost:
    """CPU seconds of one operation.

    Attributes:
        seconds: Median of the turns.
        low: Smallest of them.
        high: Largest of them.
    """

    seconds: float
    low: float
    high: float


def measure(
    plan: secagg.Plan, *, length: int, budget_s: float = BUDGET_S
) -> dict[Operation, UnitCost]:
    """Measure every operation.

    Args:
        plan: May be one that can be planned only.
        length: Values in a vector.
        budget_s: About how long to measure, 0..600; three turns are taken at least.

    Raises:
        secagg.ParameterError: ``budget_s`` is outside its range (caller).
    """
    if not 0 <= budget_s <= _MOST_S:
        raise secagg.ParameterError(
            f"seconds={budget_s} must lie in 0..{_MOST_S:.0f}.", argument="budget_s"
        )
    return usual([measure_turns(plan, length=length, budget_s=budget_s)])


def usual(measurements: Sequence[Turns]) -> dict[Operation, UnitCost]:
    """Return the median cost of each operation over the turns of all measurements."""
    together: Turns = {}
    for turns in measurements:
        for operation, seconds in turns.items():
            together.setdefault(operation, []).extend(seconds)
    return {
        operation: UnitCost(median(seconds), min(seconds), max(seconds))
        for operation, seconds in together.items()
    }


def measure_turns(plan: secagg.Plan, *, length: int, budget_s: float) -> Turns:
    """Return what ``measure`` takes the median of."""
    taken = _take_turns(probes(plan, length=length), budget_s, _SAMPLE_S)
    taken[Operation.MESSAGE] = [_overhead() for _ in range(_LEAST_TURNS)]
    return taken


def _take_turns(found: Sequence[Probe], budget_s: float, sample_s: float) -> Turns:
    """Return the seconds of one operation in each turn."""
    until = time.perf_counter() + budget_s
    repeats = [_repeats(probe.call, sample_s) for probe in found]
    taken: Turns = {probe.operation: [] for probe in found}
    for turn in count():
        if turn >= _LEAST_TURNS and time.perf_counter() > until:
            return taken
        for probe, again in zip(found, repeats, strict=True):
            seconds = _cpu_s(probe.call, again) / (again * probe.operations)
            taken[probe.operation].append(seconds)
    raise AssertionError("count() does not end.")


def _overhead() -> float:
    """Return what a message costs beyond the operations that are counted for it.

    It is what a round of few clients costs more than they do.
    """
    taken = _take_turns(probes(_FEW, length=1), 0.0, _SHORT_S)
    price = {operation: median(turns) for operation, turns in taken.items()}
    price[Operation.MESSAGE] = 0.0
    counts = Counter[Operation]()
    for part in work(_FEW, expected_turnout(_FEW, {}), length=1).values():
        counts += part
    rounds = [_cpu_s(_play_few, 1) for _ in range(_LEAST_TURNS)]
    left = median(rounds) - cpu_seconds(counts, price)
    return max(0.0, left) / counts[Operation.MESSAGE]


def _play_few() -> None:
    """Play a whole round of few clients and one value."""
    names = [f"client-{i}" for i in range(_FEW.clients)]
    policy = secagg.Policy(min_clients=_FEW.clients, min_threshold=_FEW.threshold)
    context = secagg.context(b"estimate")
    server = secagg.Server(_FEW, names, session=b"estimate", length=1)
    clients = {name: secagg.Client(_FEW, policy, me=name) for name in names}
    requests = deque(server.start())
    for client in clients.values():
        client.offer(np.zeros(1), context=context)
    while requests:
        name, request = requests.popleft()
        for answer in clients[name].receive(request):
            requests.extend(server.receive(name, answer))
    server.result()


def _repeats(call: Callable[[], object], sample_s: float) -> int:
    """Warm a probe up, and find how often to call it in a turn."""
    call()
    return max(1, int(sample_s / max(_cpu_s(call, 1), 1e-7)))


def _cpu_s(call: Callable[[], object], times: int) -> float:
    began = time.process_time()
    for _ in range(times):
        call()
    return time.process_time() - began
