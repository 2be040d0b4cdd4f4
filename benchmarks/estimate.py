"""`blindsum secagg estimate` beside rounds that are really played: CPU time and bytes.

Unit costs are measured right before and right after each round, and price the counts of
that round: its graph, and who dropped out, are known.  Ratios are predicted over
measured CPU seconds, from `process_time`; the table has their median and range over the
rounds.  All parties share one process, and so their caches.  BLAS and masks have one
thread: waiting threads of BLAS spin, and `process_time` charges it to what runs next.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from statistics import median
from unittest.mock import patch

import numpy as np
from threadpoolctl import threadpool_limits

import secagg
from benchmarks.played import CLIENTS, Played, name_of, play
from fl.unit_costs import measure_turns, usual
from secagg.cost import cpu_seconds, work
from secagg.graph import server_graph
from secagg.invite import SERVER, Invite, Step
from secagg.states import Role
from secagg.threads import THREADS_VARIABLE
from secagg.traffic import Wiring, traffic
from secagg.turnout import Turnout, turnout_of

SIZES = ((100, 20_000), (100, 100_000), (300, 20_000), (300, 100_000))
QUICK = ((30, 2_000),)
_ROLES = {Role.CLIENT: CLIENTS, Role.SERVER: SERVER}
ENCODER = secagg.Encoder(value_bits=16, weight_max=1)
UNITS_S = 1.0

Seconds = dict[tuple[str, str], float]


def measure(quick: bool) -> dict[str, float]:
    """Print predicted over measured; return the worst errors."""
    with patch.dict(os.environ, {THREADS_VARIABLE: "1"}), threadpool_limits(1):
        return _measure(quick)


def _measure(quick: bool) -> dict[str, float]:
    figures: dict[str, float] = {"worst_error": 0.0, "worst_bytes_error": 0.0}
    for clients, length in QUICK if quick else SIZES:
        plan = secagg.plan(clients, 0.1, 0.1, encoder=ENCODER)
        gone = _dropouts(clients, plan.drop)
        pairs, off = [], 0
        for repeat in range(1 if quick else 5):
            session = b"estimate/%d" % repeat
            predicted, measured, wrong = _once(plan, length, gone, session)
            pairs.append((predicted, measured))
            off = max(off, wrong)
        worst = _table(plan, length, len(gone), pairs)
        figures[f"error_n{clients}_m{length}"] = worst
        figures["worst_error"] = max(figures["worst_error"], worst)
        figures["worst_bytes_error"] = max(figures["worst_bytes_error"], float(off))
    return figures


def _dropouts(clients: int, drop: int) -> dict[int, Step]:
    """Spread dropouts over the steps, most of them after they dealt shares."""
    steps = (Step.MASKED_INPUT, Step.UNMASK, Step.MASKED_INPUT, Step.SHARE_KEYS)
    who = np.random.default_rng(0).permutation(clients)[:drop]
    return {int(client): steps[i % 4] for i, client in enumerate(who)}


def _once(
    plan: secagg.Plan, length: int, gone: Mapping[int, Step], session: bytes
) -> tuple[Seconds, Seconds, int]:
    """Play one round between two measurements of units."""
    vector = np.random.default_rng(1).normal(size=length).astype(np.float32)
    vector /= np.linalg.norm(vector)
    units = [measure_turns(plan, length=length, budget_s=UNITS_S)]
    played = play(
        plan,
        lambda name: vector,
        length=length,
        gone={name_of(i): str(step) for i, step in gone.items()},
        session=session,
    )
    units.append(measure_turns(plan, length=length, budget_s=UNITS_S))
    turnout = _turnout(plan, length, gone, session)
    price = {op: cost.seconds for op, cost in usual(units).items()}
    predicted = {
        (_ROLES[role], str(step)): cpu_seconds(counts, price)
        for (role, step), counts in work(plan, turnout, length=length).items()
    }
    wrong = _bytes_off(plan, turnout, length, session, played)
    return predicted, dict(played.cpu_s), wrong


def _turnout(
    plan: secagg.Plan, length: int, gone: Mapping[int, Step], session: bytes
) -> Turnout:
    names = tuple(name_of(i) for i in range(plan.clients))
    graph = server_graph(plan, Invite(session, plan, names, length).round_id)
    left = set(range(plan.clients))
    sets = []
    for step in Step:
        left = left - {client for client, when in gone.items() if when is step}
        sets.append(left)
    u1, u2, u3, u5 = sets
    return turnout_of(graph, clients=plan.clients, u1=u1, u2=u2, u3=u3, u5=u5)


def _bytes_off(
    plan: secagg.Plan, turnout: Turnout, length: int, session: bytes, played: Played
) -> int:
    """Return by how many bytes any step and direction differs from what was sent."""
    wiring = Wiring(
        session_bytes=len(session), name_bytes=plan.clients * len(name_of(0))
    )
    found = traffic(plan, turnout, length=length, wiring=wiring)
    return max(
        max(abs(both.down - played.bytes_down[step]) for step, both in found.items()),
        max(abs(both.up - played.bytes_up[step]) for step, both in found.items()),
    )


def _table(
    plan: secagg.Plan, length: int, gone: int, pairs: list[tuple[Seconds, Seconds]]
) -> float:
    """Print one size; return the worst error of a role's CPU time in all."""
    sizes = f"n={plan.clients} m={length} k={plan.k} t={plan.t}"
    print(f"{sizes}, {gone} vanish, {len(pairs)} rounds")
    print(f"{'':<24}{'measured s':>12}{'predicted s':>13}{'ratio (range)':>26}")
    worst = 0.0
    for role in (CLIENTS, SERVER):
        for step in (*Step, None):
            measured = [_sum(seconds, role, step) for _, seconds in pairs]
            predicted = [_sum(seconds, role, step) for seconds, _ in pairs]
            ratios = [p / m for p, m in zip(predicted, measured, strict=True)]
            ratio = median(ratios)
            spread = f"{ratio:.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
            print(
                f"{role:<8}{step or 'in all':<16}{median(measured):>12.4f}"
                f"{median(predicted):>13.4f}{spread:>26}"
            )
            if step is None:
                worst = max(worst, abs(ratio - 1))
    return worst


def _sum(seconds: Seconds, role: str, step: Step | None) -> float:
    steps = list(Step) if step is None else [step]
    return sum(seconds[role, str(one)] for one in steps)
