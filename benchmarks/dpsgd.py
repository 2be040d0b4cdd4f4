"""A round of DP-SGD on 100 clients: our stack, and Opacus as its pages show it.

100 clients with 16 handwritten digits each, every record in a step with probability one
half, two steps, the same noise multiplier. Opacus has a private model, optimiser and
loader for each client; making them is not timed. Both draw their Poisson batches and
their noise inside the clock: ours from cryptographic bytes, Opacus from torch's
generator. Beforehand both train on equal batches without noise, and must agree.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from benchmarks import nets
from benchmarks.digits import BATCH, CLIENTS, members
from benchmarks.peers import opacus_private
from benchmarks.work import LEARNING_RATE
from dp.sgd import DpSgd
from fl.local import PrivateRecipe, Rule, engine_for, train_private
from fl.local.batches import draw_coins
from fl.local.thread import side_by_side

CLIP, NOISE, RATE, STEPS = 1.0, 1.0, 0.5, 2
# No noise, but for what no public call allows: 1e-8 in a parameter.
SILENT = 1e-6
# Float32 sums in another order, and our clip norm, which is 2^-16 lower.
TOLERANCE = 1e-5
FIGURES = {
    "mlp": "speedup_vs_opacus_per_client",
    "cnn": "speedup_vs_opacus_per_client_cnn",
}


@dataclass(frozen=True, slots=True)
class _Turns:
    """Milliseconds a round of each way, one entry per repeat; ours before each."""

    theirs: dict[str, np.ndarray]
    ours: np.ndarray
    alone: np.ndarray


def measure(quick: bool) -> dict[str, float]:
    """Print a table and return the figures, medians all.

    Raises:
        RuntimeError: a way of Opacus' does not agree with ours.
    """
    torch.set_num_threads(1)
    figures: dict[str, float] = {}
    print(
        f"{'model':<6}{'way':<12}{'ms a round (range)':>28}{'times ours (range)':>28}"
    )
    for name in nets.NAMES:
        found = _compare(name, repeats=3 if quick else 9)
        print(f"{name}: {engine_for(nets.build(name), nets.SHAPE).why}")
        print(_row(name, "ours", _spread(found.ours)))
        print(_row(name, "ours1", _spread(found.alone)))
        middle = np.median(found.ours)
        for mode, ms in found.theirs.items():
            ratios = ms / middle
            print(_row(name, mode, _spread(ms), _spread(ratios)))
            figures[f"opacus_{mode}_ms_{name}"] = float(np.median(ms))
        best = min(found.theirs, key=lambda mode: float(np.median(found.theirs[mode])))
        fastest = float(np.median(found.theirs[best]))
        figures[FIGURES[name]] = fastest / float(middle)
        figures[f"{FIGURES[name]}_one_core"] = fastest / float(np.median(found.alone))
        figures[f"ours_ms_{name}"] = float(middle)
        print(f"{name}: Opacus is fastest by {best}.")
    print("Ours takes every core, ours1 and Opacus one.")
    return figures


def _recipe(noise: float) -> PrivateRecipe:
    mechanism = DpSgd(
        sampling_rate=RATE,
        batch_size=float(BATCH),
        clip_norm_l2=CLIP,
        noise_multiplier=noise,
    )
    rule = Rule(learning_rate=LEARNING_RATE)
    return PrivateRecipe(steps=STEPS, mechanism=mechanism, rule=rule)


def _compare(name: str, *, repeats: int) -> _Turns:
    """Check that everybody trains alike, then take turns."""
    clients, net = members(), nets.build(name)
    seeds = [b"client %d" % place for place in range(CLIENTS)]
    before = [parameter.detach().clone() for parameter in net.parameters()]
    theirs = {
        mode: [
            opacus_private.private(
                copy.deepcopy(net),
                (one.x, one.y),
                mode=mode,
                batch=BATCH,
                clip=CLIP,
                noise=NOISE,
            )
            for one in clients
        ]
        for mode in opacus_private.MODES
    }
    silent = train_private(net, clients, _recipe(SILENT), noise_seeds=seeds)
    for mode, made in theirs.items():
        _agree(mode, made, before, silent)
    recipe = _recipe(NOISE)

    def ours() -> np.ndarray:
        return train_private(net, clients, recipe, noise_seeds=seeds)

    def alone() -> np.ndarray:
        with side_by_side(1):
            return ours()

    work: dict[str, Callable[[], np.ndarray]] = {
        mode: lambda made=made: opacus_private.round_of(made, before)  # type: ignore[misc]
        for mode, made in theirs.items()
    }
    times: dict[str, list[float]] = {mode: [] for mode in work}
    mine: dict[str, list[float]] = {"ours": [], "ours1": []}
    for repeat in range(repeats + 1):
        for mode, train in work.items():
            took = {"ours": _ms(ours), "ours1": _ms(alone), mode: _ms(train)}
            if repeat:  # the first of each is a warm-up
                times[mode].append(took.pop(mode))
                for who, ms in took.items():
                    mine[who].append(ms)
    found = {mode: np.array(ms) for mode, ms in times.items()}
    return _Turns(found, np.array(mine["ours"]), np.array(mine["ours1"]))


def _agree(
    mode: str,
    made: list[opacus_private.Private],
    before: list[torch.Tensor],
    wanted: np.ndarray,
) -> None:
    """Train on our batches without noise; the changes must be ours."""
    clients = members()
    coins = draw_coins(
        [one.records for one in clients],
        [one.key for one in clients],
        steps=STEPS,
        rate=RATE,
    )
    samples = [
        [
            (one.x[torch.from_numpy(up)], one.y[torch.from_numpy(up)])
            for up in (np.flatnonzero(row) for row in own)
        ]
        for one, own in zip(clients, coins, strict=True)
    ]
    for one in made:
        one.optimizer.noise_multiplier = 0.0
    found = opacus_private.round_of(made, before, samples)
    for one in made:
        one.optimizer.noise_multiplier = NOISE
    gap = float(np.abs(found - wanted).max())
    print(f"{mode}: without noise, on equal batches, changes differ by {gap:.0e}.")
    if not gap <= TOLERANCE:
        raise RuntimeError(f"{mode}'s changes differ by {gap}, over {TOLERANCE}.")


def _ms(train: Callable[[], np.ndarray]) -> float:
    began = time.perf_counter()
    train()
    return (time.perf_counter() - began) * 1e3


def _spread(values: np.ndarray) -> str:
    return f"{np.median(values):.1f} ({values.min():.1f} to {values.max():.1f})"


def _row(name: str, way: str, ms: str, ratios: str = "") -> str:
    return f"{name:<6}{way:<12}{ms:>28}{ratios:>28}"
