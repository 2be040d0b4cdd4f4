"""How fast shadow models are trained: our stack, and plain loops of the same models.

64 networks on made-up records, each record in exactly half of them. Everybody makes the
networks from the same seeds, steps on the same records in the same order and must end
at the same parameters to float32 rounding, which is checked in every measured turn. Two
loops stand beside ours, both handed their orders (ours draws them in its own time), one
model after another:

    loop    no optimiser object, all parameters in one tensor, so that a step is one
            subtraction: as fast as a plain loop gets here
    optim   torch.optim.SGD, as most people write it

Turns alternate; a speedup is the ratio of the quickest turns. One thread each, unless a
figure's name says two.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from attacks import balanced_memberships
from benchmarks import nets
from fl.local import Recipe, Rule
from fl.local.batches import draw
from fl.local.thread import free_cores, side_by_side
from fl.trainers import StackedTrainer

MODELS, RATE, TOLERANCE = 64, 0.1, 1e-5
THREADS = (1, 2)
# Of millions of ReLUs a few stand within rounding of zero and fall on either side; that
# moves a gradient by one record. One model in so many may have met such a one.
UNLUCKY, KINK = 8, 1e-2
Floats = NDArray[np.float32]
_HEAD = (
    f"{'model':<26}{'way':<6}{'us a step':>11}{'cpu':>9}{'times ours':>12}{'gap':>9}"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One architecture and how it is trained.

    Attributes:
        name: of its figure.
        widths: of its layers, inputs first.
        batch: records per step.
        records: per model; there are twice as many in all.
        epochs: passes.
    """

    name: str
    widths: tuple[int, ...]
    batch: int
    records: int
    epochs: int

    @property
    def steps(self) -> int:
        """Return the steps of all models together."""
        return MODELS * self.epochs * self.records // self.batch


CASES = (
    Case(
        name="shadow_mlp_small", widths=(32, 32, 10), batch=32, records=1024, epochs=4
    ),
    Case(name="shadow_mlp_600", widths=(600, 128, 10), batch=32, records=256, epochs=3),
    Case(
        name="shadow_mlp_600_batch_8",
        widths=(600, 128, 10),
        batch=8,
        records=128,
        epochs=2,
    ),
    Case(name="logreg", widths=(784, 10), batch=32, records=512, epochs=4),
)


@dataclass(frozen=True, slots=True)
class Took:
    """The quickest turn: seconds of wall time and of the processor."""

    wall: float
    cpu: float


class Same:
    """The same training for everybody: records, first weights and orders."""

    def __init__(self, case: Case) -> None:
        rng = np.random.default_rng(0)
        records = 2 * case.records
        x = rng.random((records, case.widths[0]), dtype=np.float32) - np.float32(0.5)
        y = rng.integers(case.widths[-1], size=records)
        self.case, self.x, self.y = case, torch.from_numpy(x), torch.from_numpy(y)
        self.members = balanced_memberships(MODELS, records, 0.5, 0)
        rule = Rule(learning_rate=RATE)
        self.trainer = StackedTrainer(
            build=self.net,
            x=self.x,
            y=self.y,
            recipe=Recipe(epochs=case.epochs, batch_size=case.batch, rule=rule),
        )
        self.seeds = [self.trainer.seed(at, 0) for at in range(MODELS)]
        self.orders = [self._order(at) for at in range(MODELS)]

    def net(self, seed: int) -> nn.Module:
        """Return a fresh network; torch's generator is left alone."""
        layers: list[nn.Module] = []
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            for given, made in zip(
                self.case.widths, self.case.widths[1:], strict=False
            ):
                layers += [nn.Linear(given, made), nn.ReLU()]
        return nn.Sequential(nn.Flatten(), *layers[:-1])

    def _order(self, number: int) -> list[Tensor]:
        """Return the rows of each step of one model."""
        own = np.flatnonzero(self.members[number])
        case, key = self.case, self.trainer.key(number, 0)
        batches = draw([len(own)], [key], epochs=case.epochs, batch_size=case.batch)
        pairs = zip(batches.rows[0], batches.counts[0], strict=True)
        return [torch.from_numpy(own[rows[:count]]) for rows, count in pairs]


def ours(same: Same) -> Floats:
    """Train by the shadow models' own trainer."""
    return same.trainer.train(same.members, seed=0)


def loop(same: Same) -> Floats:
    """Train one model after another, a step being one subtraction."""
    found = []
    for seed, order in zip(same.seeds, same.orders, strict=True):
        net = same.net(seed)
        values, slopes = nets.flatten(net)
        for rows in order:
            slopes.zero_()
            cross_entropy(net(same.x[rows]), same.y[rows]).backward()
            values.sub_(slopes, alpha=RATE)
        found.append(values.numpy())
    return np.stack(found)


def optim(same: Same) -> Floats:
    """Train one model after another with torch.optim."""
    found = []
    for seed, order in zip(same.seeds, same.orders, strict=True):
        net = same.net(seed)
        optimiser = torch.optim.SGD(net.parameters(), lr=RATE)
        for rows in order:
            optimiser.zero_grad()
            cross_entropy(net(same.x[rows]), same.y[rows]).backward()
            optimiser.step()
        found.append(nn.utils.parameters_to_vector(net.parameters()).detach().numpy())
    return np.stack(found)


Way = Callable[[Same], Floats]
WAYS: dict[str, Way] = {"ours": ours, "loop": loop, "optim": optim}
PAIR: dict[str, Way] = {"ours": ours, "loop": loop}


def measure(quick: bool) -> dict[str, float]:
    """Print a table and return the figures.

    Raises:
        RuntimeError: two ways of training end at different models.
    """
    turns = 2 if quick else 4
    load, _, _ = os.getloadavg()
    print(f"{MODELS} shadow models; load {load:.1f} on {os.cpu_count()} cores")
    print(_HEAD)
    figures: dict[str, float] = {}
    for case in CASES:
        same = Same(case)
        for threads in THREADS[:1] if quick else THREADS:
            if free_cores() < threads:
                print(f"{case.name}: no figure of {threads} threads on a busy machine")
                continue
            with side_by_side(threads):
                figures |= _row(same, turns, threads=threads)
    return figures


def _row(same: Same, turns: int, *, threads: int) -> dict[str, float]:
    """Print one architecture's rows; return its figures."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        took, gaps = _take_turns(same, turns, WAYS if threads == 1 else PAIR)
    finally:
        torch.set_num_threads(before)
    ended = "" if threads == 1 else f"_{threads}_threads"
    name, steps, own = same.case.name + ended, same.case.steps, took["ours"]
    figures: dict[str, float] = {f"step_us_{name}": own.wall / steps * 1e6}
    for way, one in took.items():
        times = one.wall / own.wall
        gap = "" if way == "ours" else f"{gaps[way]:.0e}"
        print(
            f"{name:<26}{way:<6}{one.wall / steps * 1e6:>11.1f}"
            f"{one.cpu / steps * 1e6:>9.1f}{times:>12.2f}{gap:>9}"
        )
        if way != "ours":
            tail = "" if way == "loop" else f"_vs_{way}"
            figures[f"speedup_{name}{tail}"] = times
            figures[f"speedup_cpu_{name}{tail}"] = one.cpu / own.cpu
    return figures


def _take_turns(
    same: Same, turns: int, ways: dict[str, Way]
) -> tuple[dict[str, Took], dict[str, float]]:
    """Return each way's quickest turn, and how far it ever ended from ours."""
    for way in ways.values():
        way(same)  # nobody starts from cold
    walls: dict[str, list[float]] = {name: [] for name in ways}
    cpus: dict[str, list[float]] = {name: [] for name in ways}
    gaps = dict.fromkeys(ways, 0.0)
    for _ in range(turns):
        ended = {}
        for name, way in ways.items():
            wall, cpu = time.perf_counter(), time.process_time()
            ended[name] = way(same)
            cpus[name].append(time.process_time() - cpu)
            walls[name].append(time.perf_counter() - wall)
        for name, one in ended.items():
            gaps[name] = max(gaps[name], _gap(name, one, ended["ours"]))
    return {name: Took(min(walls[name]), min(cpus[name])) for name in ways}, gaps


def _gap(name: str, found: Floats, own: Floats) -> float:
    """Return the widest gap of all models but the few that had bad luck.

    Raises:
        RuntimeError: more than rounding sets the models apart.
    """
    each = np.sort(np.abs(found - own).max(axis=1))
    usual, worst = float(each[-1 - MODELS // UNLUCKY]), float(each[-1])
    if not (usual <= TOLERANCE and worst <= KINK):
        raise RuntimeError(
            f"{name} ends {usual} from ours (at worst {worst}), over {TOLERANCE}."
        )
    return usual
