"""Training a round's clients in one process: our stack beside the plain loop.

100 clients with 16 handwritten digits each, batches of 8. The overhead per client is
what a round costs before its first local step: where the line through the round's time
against its local steps starts. Neither side sends, masks or notes anything.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from benchmarks.digits import (
    BATCH,
    CLIENTS,
    MODELS,
    RECORDS,
    SHAPE,
    by_loop,
    by_stack,
    members,
    start,
)
from benchmarks.peers import flower
from fl.local import engine_for
from fl.models import parameter_count, to_vector

EPOCHS = (1, 2, 5, 10)
# Float32 sums in another order.
TOLERANCE = 1e-5


@dataclass(frozen=True, slots=True)
class _Times:
    """Milliseconds per round, one entry per repeat, taken in turns."""

    stack: np.ndarray
    loop: np.ndarray

    @property
    def speedup(self) -> float:
        return float(np.median(self.loop / self.stack))


def measure(quick: bool) -> dict[str, float]:
    """Print both models' tables and return the speedups and the overhead."""
    torch.set_num_threads(1)
    figures: dict[str, float] = {}
    curves: dict[str, dict[int, _Times]] = {}
    for name in MODELS:
        model = start(name)
        why = engine_for(model, SHAPE, batch_size=BATCH)
        print(f"{name}: {parameter_count(model)} parameters, {why.name} ({why.why})")
        print(
            f"{'steps':>7}{'stack ms (range)':>26}{'loop ms (range)':>28}{'ratio':>8}"
        )
        curves[name] = {}
        for epochs in EPOCHS[:2] if quick else EPOCHS:
            times = _compare(model, epochs, repeats=3 if quick else 11)
            curves[name][epochs * RECORDS // BATCH] = times
            print(
                f"{epochs * RECORDS // BATCH:>7}{_spread(times.stack):>26}"
                f"{_spread(times.loop):>28}{times.speedup:>8.1f}"
            )
        first = next(iter(curves[name].values()))
        figures[f"speedup_vs_loop_{name}"] = first.speedup
        figures[f"round_ms_{name}"] = float(np.median(first.stack))
    figures["overhead_ms_per_client"] = _overhead(curves["mlp"])
    print(f"overhead: {figures['overhead_ms_per_client']:.4f} ms per client (mlp)")
    figures.update(_beside_flower(quick))
    return figures


def _compare(model: torch.nn.Module, epochs: int, *, repeats: int) -> _Times:
    clients = members()
    stack, loop = [], []
    for repeat in range(repeats + 1):
        ours, stack_ms = _timed(lambda: by_stack(model, clients, epochs))
        theirs, loop_ms = _timed(lambda: by_loop(model, clients, epochs))
        gap = float(np.abs(ours - theirs).max())
        if not gap <= TOLERANCE:
            raise RuntimeError(f"the changes differ by {gap}, over {TOLERANCE}.")
        if repeat:  # the first of each is a warm-up
            stack.append(stack_ms)
            loop.append(loop_ms)
    return _Times(np.array(stack), np.array(loop))


def _timed(work: Callable[[], np.ndarray]) -> tuple[np.ndarray, float]:
    began = time.perf_counter()
    found = work()
    return found, (time.perf_counter() - began) * 1e3


def _overhead(curve: dict[int, _Times]) -> float:
    steps = np.array(list(curve), dtype=float)
    rounds = np.array([np.median(times.stack) for times in curve.values()])
    _, at_zero = np.polyfit(steps, rounds, 1)
    return float(at_zero) / CLIENTS


def _beside_flower(quick: bool) -> dict[str, float]:
    """Measure our whole round before and after Flower's, and compare the models."""
    model, clients = start("mlp"), members()

    def ours() -> np.ndarray:
        return to_vector(model) + by_stack(model, clients, 1).mean(axis=0)

    def several() -> list[float]:
        return [_timed(ours)[1] for _ in range(12)][1:]  # the first is a warm-up

    before = several()
    theirs = flower.run(2 if quick else 10)
    if isinstance(theirs, str):
        print(f"flower: no figure: {theirs}")
        return {}
    gap = float(np.abs(theirs.first - ours()).max())
    if not gap <= TOLERANCE:
        raise RuntimeError(f"Flower's model differs by {gap}, over {TOLERANCE}.")
    own = np.array(before + several())
    wall = float(np.median(theirs.ms))
    ratio = wall / float(np.median(own))
    print(f"one round, 2 steps, mlp: ours {_spread(own)} ms, Flower's simulation")
    print(f"{_spread(theirs.ms)} ms (warm): {ratio:.0f} times; Flower also moves")
    print("messages between processes, which no simulation needs.")
    return {"speedup_vs_flower_mlp": ratio, "flower_round_ms_mlp": wall}


def _spread(ms: np.ndarray) -> str:
    return f"{np.median(ms):.1f} ({ms.min():.1f} to {ms.max():.1f})"
