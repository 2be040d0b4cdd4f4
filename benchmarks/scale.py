"""Large rounds in one process, with dropouts at random steps, and their exact sums.

All messages are real.  A client's vector is made of whole steps of the encoder, which
rounding leaves as they are, so that the sum of the survivors must come out to the last
digit; it is compared with the plain sum of their integers.  A dropout answers nothing
from a step on that is drawn at random.  Each round has a process of its own, two at a
time where there are two cores.
"""

from __future__ import annotations

import os
import random
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context

import numpy as np

import secagg
from benchmarks.played import Played, name_of, play
from secagg.invite import Step

ENCODER = secagg.Encoder(clip_norm_l2=16.0, value_bits=16, weight_max=1)
CORRUPT = 0.1
# Share of the clients that vanish, and that the plan survives: no round is planned to
# lose exactly what it loses.
DROPOUTS = {0.0: 0.02, 0.1: 0.12, 0.3: 0.33}
SIZES = ((10_000, 10_000), (1_000, 100_000))
QUICK = ((60, 2_000),)
_LARGEST = 100  # |steps| of a value: far from any limit of a sum, norm or float32


@dataclass(frozen=True, slots=True)
class Case:
    """One round: clients, values, the share that vanishes."""

    clients: int
    length: int
    gone: float

    @property
    def name(self) -> str:
        """Part of a figure's name."""
        return f"n{self.clients}_drop{100 * self.gone:.0f}"

    @property
    def plan(self) -> secagg.Plan:
        """What is agreed."""
        drop = DROPOUTS[self.gone]
        return secagg.plan(self.clients, CORRUPT, drop, encoder=ENCODER)

    @property
    def vanish(self) -> dict[str, str]:
        """The step from which on each dropout is silent, drawn from a fixed seed."""
        drawn = random.Random(self.name)
        chosen = drawn.sample(range(self.clients), round(self.gone * self.clients))
        return {name_of(i): str(drawn.choice(list(Step))) for i in sorted(chosen)}


def measure(quick: bool) -> dict[str, float]:
    """Print the table and return the figures."""
    cases = [
        Case(clients, length, gone)
        for clients, length in (QUICK if quick else SIZES)
        for gone in sorted(DROPOUTS, reverse=True)  # the longest first
    ]
    figures: dict[str, float] = {}
    _head()
    with ProcessPoolExecutor(
        min(2, os.cpu_count() or 1),
        mp_context=get_context("spawn"),
        max_tasks_per_child=1,
    ) as pool:
        for case, found in zip(cases, pool.map(run, cases), strict=True):
            _row(case, found)
            figures |= {f"{what}_{case.name}": value for what, value in found.items()}
    return figures


def run(case: Case) -> dict[str, float]:
    """Play one round and return what it cost.

    Raises:
        RuntimeError: Some coordinate is not the sum of the survivors' integers.
    """
    scale, silent = ENCODER.scale, case.vanish
    played = play(
        case.plan,
        lambda name: steps_of(name, case.length) / scale,
        length=case.length,
        gone=silent,
        session=b"scale/" + case.name.encode(),
    )
    check(played, case)
    gone = Counter(silent.values())
    return {
        "exact": True,
        "survivors": len(played.survivors),
        "wall_s": played.wall_s,
        "server_cpu_s": played.server_s,
        "client_cpu_ms": played.client_ms,
        "bytes_up": sum(played.bytes_up.values()) / case.clients,
        "bytes_down": sum(played.bytes_down.values()) / case.clients,
        **{f"gone_{step}": gone[str(step)] for step in Step},
    }


def steps_of(name: str, length: int) -> np.ndarray:
    """Return a client's integers, shape (length,), int64; always the same ones."""
    drawn = np.random.default_rng(int(name[-6:]))
    return drawn.integers(-_LARGEST, _LARGEST, length, endpoint=True)


def check(played: Played, case: Case) -> None:
    """Compare a mean with the plain sum of its survivors' integers.

    Raises:
        RuntimeError: They differ, or others survived than should have.
    """
    late = str(Step.UNMASK)  # whoever is silent only then has uploaded
    silent = case.vanish
    expected = {
        name
        for name in map(name_of, range(case.clients))
        if silent.get(name, late) == late
    }
    if played.survivors != expected:
        raise RuntimeError(f"{case.name}: not those survived whose uploads arrived.")
    total = np.zeros(case.length, dtype=np.int64)
    for name in played.survivors:
        total += steps_of(name, case.length)
    # float32 is off by |sum| 2^-24, far below half a step.
    summed = np.rint(played.mean.astype(np.float64) * len(expected) * ENCODER.scale)
    wrong = int(np.count_nonzero(summed.astype(np.int64) != total))
    if wrong:
        raise RuntimeError(f"{case.name}: {wrong} of {case.length} sums are wrong.")


def _head() -> None:
    steps = "".join(f"{f'gone: {step}':>23}" for step in Step)
    print(
        f"{'clients':>8}{'length':>8}{'k':>5}{'t':>5}{'drop':>6}{steps}"
        f"{'client ms':>11}{'server s':>10}{'MB up':>8}{'MB down':>8}{'wall s':>8}"
    )


def _row(case: Case, found: Mapping[str, float]) -> None:
    plan = case.plan
    steps = "".join(f"{found[f'gone_{step}']:>23}" for step in Step)
    print(
        f"{case.clients:>8}{case.length:>8}{plan.k:>5}{plan.t:>5}{plan.drop:>6}{steps}"
        f"{found['client_cpu_ms']:>11.2f}{found['server_cpu_s']:>10.2f}"
        f"{found['bytes_up'] / 1e6:>8.3f}{found['bytes_down'] / 1e6:>8.3f}"
        f"{found['wall_s']:>8.1f}   exact",
        flush=True,
    )
