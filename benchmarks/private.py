"""DP-SGD on a round's clients: our stack, and Opacus one client after the other.

100 clients with 16 handwritten digits each, every record in a step with probability one
half. Both sides clip, sum, draw noise and step on the same samples; the noise is so
little that the changes can be compared. Ours draws its coins inside the clock, and its
noise from cryptographic bytes; Opacus' comes from torch's generator.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import torch

from benchmarks import nets
from benchmarks.digits import CLIENTS, members
from benchmarks.peers import opacus_steps
from benchmarks.work import LEARNING_RATE
from dp.sgd import DpSgd
from fl.local import PrivateRecipe, Rule, engine_for, train_private
from fl.local.batches import draw_coins
from fl.local.thread import side_by_side

MECHANISM = DpSgd(
    sampling_rate=0.5, batch_size=8.0, clip_norm_l2=1.0, noise_multiplier=1e-6
)
PEERS = {"opacus": opacus_steps.by_hooks, "ghost": opacus_steps.by_ghosts}
STEPS, QUICK = (2, 20), (2,)
# Float32 sums in another order, our lower clip norm (2^-16), and the little noise; more
# steps amplify these, so that changes are compared after few.
TOLERANCE, COMPARED = 3e-5, 2


def measure(quick: bool) -> dict[str, float]:
    """Print a table and return the speedups, medians all."""
    torch.set_num_threads(1)
    figures: dict[str, float] = {}
    print(
        f"{'model':<6}{'steps':>6}  {'engine':<8}{'ms a round (range)':>26}{'ratio':>8}"
    )
    for name in nets.NAMES:
        print(f"{name}: {engine_for(nets.build(name), nets.SHAPE).why}")
        for steps in QUICK if quick else STEPS:
            found = _compare(name, steps, repeats=2 if quick else 7)
            case = name if steps == STEPS[0] else f"{name}_{steps}_steps"
            for engine, ms in found.items():
                ratio = float(np.median(ms / found["ours"]))
                print(f"{name:<6}{steps:>6}  {engine:<8}{_spread(ms):>26}{ratio:>8.1f}")
                figures[f"{engine}_ms_{case}"] = float(np.median(ms))
                if engine in PEERS:
                    figures[f"speedup_vs_{engine}_{case}"] = ratio
    print("Ours takes every core, ours1 and Opacus one.")
    return figures


def _compare(name: str, steps: int, *, repeats: int) -> dict[str, np.ndarray]:
    """Take turns; return milliseconds per round, one entry per repeat."""
    clients, net = members(), nets.build(name)
    recipe = PrivateRecipe(
        steps=steps, mechanism=MECHANISM, rule=Rule(learning_rate=LEARNING_RATE)
    )
    seeds = [b"client %d" % place for place in range(CLIENTS)]
    records = [(one.x, one.y) for one in clients]
    coins = draw_coins(
        [one.records for one in clients],
        [one.key for one in clients],
        steps=steps,
        rate=MECHANISM.sampling_rate,
    )
    samples = [[torch.from_numpy(np.flatnonzero(up)) for up in own] for own in coins]

    def ours() -> np.ndarray:
        return train_private(net, clients, recipe, noise_seeds=seeds)

    def ours_on_one_core() -> np.ndarray:
        with side_by_side(1):
            return ours()

    work: dict[str, Callable[[], np.ndarray]] = {
        "ours": ours,
        "ours1": ours_on_one_core,
    }
    for peer, make in PEERS.items():
        own_net = nets.build(name).train()
        step = make(own_net, MECHANISM)
        work[peer] = lambda own_net=own_net, step=step: opacus_steps.changes(  # type: ignore[misc]
            own_net, step, records, samples
        )
    return _take_turns(work, repeats, compare=steps <= COMPARED)


def _take_turns(
    work: dict[str, Callable[[], np.ndarray]], repeats: int, *, compare: bool
) -> dict[str, np.ndarray]:
    times: dict[str, list[float]] = {name: [] for name in work}
    for repeat in range(repeats + 1):
        made = {}
        for name, train in work.items():
            began = time.perf_counter()
            made[name] = train()
            if repeat:  # the first of each is a warm-up
                times[name].append((time.perf_counter() - began) * 1e3)
        for name, change in made.items():
            gap = float(np.abs(change - made["ours"]).max())
            if compare and not gap <= TOLERANCE:
                raise RuntimeError(f"{name}'s changes differ by {gap}.")
    return {name: np.array(ms) for name, ms in times.items()}


def _spread(ms: np.ndarray) -> str:
    return f"{np.median(ms):.1f} ({ms.min():.1f} to {ms.max():.1f})"
