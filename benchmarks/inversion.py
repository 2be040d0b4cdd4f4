"""Gradient inversion beside breaching: how good, how fast, and SPEAR on batches.

Both sides get the same updates of the same untrained nets on the same images, one
record each, with its label, and search as long from the same starting noise; every
other setting is each side's own. One thread each, in processes of their own. Quality
is PSNR over the victims' value range, capped at 60 dB, and compared victim by victim.
Speed is CPU time of a step of one search: of a long run less a short one, over the
steps between, so that preparations cancel out; the sides take turns.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace

import numpy as np
import torch

import attacks
from attacks import Adversary, InversionAttack, Observation, Reconstruction
from attacks.inversion.prior import draw_guesses
from attacks.quality import psnr
from benchmarks import spear, victims
from benchmarks.peers import breaching_attacks
from benchmarks.peers.asking import MissingError
from benchmarks.peers.breaching_attacks import Attacker
from benchmarks.victims import Answer, Work

Figures = dict[str, float]
PEERS = ("breaching",)
CAP_DB = 60.0
RESAMPLES = 2000
_MODELS = 3  # weights that the victims of one comparison are spread over

_NOTES = f"""\
cosine: `CosineTV` with smoothness {victims.SMOOTHNESS:g}, as photographs need it, and
breaching's invertinggradients as it comes. alike: the same with our smoothness and step
for both. dlg: `DLG`, its deepleakage, labels known. linear: `LinearInversion`, its
analytic. modern: `Modern` with breaching's smoothness, its modern, each from a pattern
of its own. One restart, no halvings; {breaching_attacks.BARE[0]}; steps of L-BFGS are
those inside. Other starting noise is uniform in the box.
dB: median over victims; ours - theirs: median of the differences, with a bootstrap
interval of 95 %. ms: CPU time of one thread for a step of one of the searches."""


@dataclass(frozen=True, slots=True)
class Contest:
    """An attack that both sides have, on one net."""

    attack: str
    net: str
    iterations: int

    @property
    def name(self) -> str:
        """What its figures are called."""
        return f"{self.attack}_{self.net}"


@dataclass(frozen=True, slots=True)
class Race:
    """Searches side by side, timed; theirs one after the other."""

    figure: str
    net: str
    trials: int
    iterations: int


CONTESTS = (
    Contest("linear", "fc", 1),
    Contest("dlg", "lenet", 300),
    Contest("cosine", "fc", 200),
    Contest("cosine", "lenet", 200),
    Contest("cosine", "conv", 200),
    Contest("alike", "lenet", 200),
    Contest("modern", "lenet", 200),
)
RACES = (
    Race("speedup_fc_8_trials", "fc", 8, 40),
    Race("speedup_lenet_8_trials", "lenet", 8, 40),
    Race("speedup_conv_1_trial", "conv", 1, 80),
    Race("speedup_conv_8_trials", "conv", 8, 20),
    Race("speedup_lenet_1_trial", "lenet", 1, 80),
)


def measure(quick: bool, peers: Sequence[str]) -> Figures:
    """Print the tables and return the figures.

    Raises:
        RuntimeError: a side's exact attack is not exact.
    """
    torch.set_num_threads(1)
    figures: Figures = {}
    with _sides(peers) as sides:
        figures |= _quality(sides, 3 if quick else 30, 30 if quick else 300)
        figures |= _speed(sides, 2 if quick else 5)
    figures |= spear.spear_batch12(2 if quick else 10)
    print(_NOTES)
    return figures


@contextmanager
def _sides(peers: Sequence[str]) -> Iterator[Mapping[str, Attacker]]:
    """Start the peer; if it cannot be had, that is said."""
    with ExitStack() as stack:
        sides: dict[str, Attacker] = {"ours": ours}
        if "breaching" in peers:
            try:
                sides["breaching"] = stack.enter_context(breaching_attacks.started())
            except MissingError as why:
                print(f"breaching: no figure: {why}.")
        yield sides


def works(contest: Contest, count: int) -> Iterator[tuple[Work, torch.Tensor]]:
    """Give the updates to attack, one batch a model, and the truth about each."""
    _, x, y = victims.images(count)
    for model, places in enumerate(np.array_split(np.arange(count), _MODELS)):
        if len(places):
            net = victims.build(contest.net, model)
            yield _work(contest, model, net, x, y, places), x[places, None]


def _work(
    contest: Contest,
    model: int,
    net: torch.nn.Module,
    x: torch.Tensor,
    y: torch.Tensor,
    places: np.ndarray,
) -> Work:
    slopes = [victims.gradient(net, x[[place]], y[[place]]) for place in places]
    return Work(
        attack=contest.attack,
        net=contest.net,
        model=model,
        iterations=contest.iterations,
        gradients=np.stack(slopes),
        labels=y[places, None].numpy(),
        starts=np.stack([_start(seed) for seed in range(len(places))]),
    )


def _start(seed: int) -> np.ndarray:
    """Return where ours begins with this seed."""
    draw = torch.Generator().manual_seed(seed)
    return draw_guesses(1, victims.SHAPE, victims.RANGE, draw).float().numpy()


def ours(work: Work) -> Answer:
    """Attack the updates with what `attacks` has; all at once where it can."""
    net = victims.build(work.net, work.model).eval()
    names = [name for name, _ in net.named_parameters()]
    seen = [
        Observation(
            adversary=Adversary.SERVER,
            view="one client's update",
            model=net,
            gradient=dict(zip(names, victims.apart(net, flat), strict=True)),
            batch_size=len(labels),
            steps=1,
            labels=torch.from_numpy(labels),
            input_shape=victims.SHAPE,
            classes=victims.CLASSES,
            value_range=victims.RANGE,
        )
        for flat, labels in zip(work.gradients, work.labels, strict=True)
    ]
    began = time.process_time()
    found = _all_at_once(_attack(work), seen)
    cpu_s = time.process_time() - began
    inputs = [
        one.inputs.numpy() if len(one.inputs) else np.zeros_like(start)
        for one, start in zip(found, work.starts, strict=True)  # a refusal is a failure
    ]
    return Answer(inputs=np.stack(inputs).astype(np.float32), cpu_s=cpu_s)


def _attack(work: Work) -> InversionAttack:
    if work.attack == "linear":
        return attacks.LinearInversion()
    if work.attack == "dlg":
        return attacks.DLG(iterations=work.iterations, restarts=1)
    if work.attack == "modern":
        kind = modern()
        assert kind is not None
        found: InversionAttack = kind(
            iterations=work.iterations,
            restarts=1,
            smoothness=victims.SMOOTHNESS_MODERN,
            halvings=(),
        )
        return found
    return attacks.CosineTV(
        iterations=work.iterations,
        restarts=1,
        step=victims.STEP,
        smoothness=victims.SMOOTHNESS,
        halvings=(),
    )


def modern() -> type | None:
    """Return the modern variant, if `attacks` has it."""
    return getattr(attacks, "Modern", None)


def _all_at_once(
    attack: InversionAttack, seen: Sequence[Observation]
) -> list[Reconstruction]:
    seeds = list(range(len(seen)))
    together = getattr(attack, "run_many", None)
    if together is not None:
        found: list[Reconstruction] = together(seen, seeds=seeds)
        return found
    return [attack.run(one, seed=seed) for one, seed in zip(seen, seeds, strict=True)]


def _quality(sides: Mapping[str, Attacker], count: int, most: int) -> Figures:
    name, _, _ = victims.images(count)
    print(f"PSNR in dB of {count} victims, {name}, in three models of each net")
    print(f"{'':<14}{'steps':>6}{'ours':>8}{'theirs':>8}{'ours - theirs':>24}{'s':>12}")
    figures: Figures = {}
    lowest: list[float] = []
    for contest in CONTESTS:
        if contest.attack == "modern" and modern() is None:
            continue
        few = replace(contest, iterations=min(contest.iterations, most))
        reached, took = _played(sides, few, count)
        middle = {side: float(np.median(db)) for side, db in reached.items()}
        for side, db in middle.items():
            figures[f"psnr_db_{contest.name}_{side}"] = db
        cells = f"{contest.name:<14}{few.iterations:>6}{middle['ours']:>8.2f}"
        if "breaching" in reached:
            gap = reached["ours"] - reached["breaching"]
            low, delta, high = _interval(gap)
            lowest.append(delta)
            figures |= {
                f"delta_db_{contest.name}": delta,
                f"delta_db_{contest.name}_low": low,
                f"delta_db_{contest.name}_high": high,
            }
            span = f"{delta:+.2f} [{low:+.2f}, {high:+.2f}]"
            cells += f"{middle['breaching']:>8.2f}{span:>24}"
        print(cells + "".join(f"{took[side]:>6.1f}" for side in reached), flush=True)
    if lowest:
        figures["quality_delta_db"] = min(lowest)
        figures["quality_victims"] = float(count)
    return figures


def _played(
    sides: Mapping[str, Attacker], contest: Contest, count: int
) -> tuple[dict[str, np.ndarray], dict[str, float]]:
    """Return each side's PSNR by victim, and its CPU seconds."""
    reached: dict[str, list[float]] = {side: [] for side in sides}
    took = dict.fromkeys(sides, 0.0)
    for work, truth in works(contest, count):
        for side, attacker in sides.items():
            answer = attacker(work)
            took[side] += answer.cpu_s
            reached[side] += [
                decibels(found, true)
                for found, true in zip(answer.inputs, truth, strict=True)
            ]
    for side, db in reached.items():
        if contest.attack == "linear" and min(db) < CAP_DB:
            raise RuntimeError(f"the exact attack of {side} got {min(db):.1f} dB.")
    return {side: np.array(db) for side, db in reached.items()}, took


def decibels(found: np.ndarray, truth: torch.Tensor) -> float:
    """Return the PSNR within the range of values, capped; 0 for what is not finite."""
    low, high = victims.RANGE
    if not np.isfinite(found).all():
        return 0.0
    boxed = torch.from_numpy(found).clamp(low, high)
    return min(psnr(boxed, truth, data_range=high - low), CAP_DB)


def _interval(gap: np.ndarray) -> tuple[float, float, float]:
    """Return the median with its bootstrap interval of 95 %, in the middle."""
    drawn = np.random.default_rng(0).choice(gap, (RESAMPLES, len(gap)))
    low, high = np.quantile(np.median(drawn, axis=1), (0.025, 0.975))
    return float(low), float(np.median(gap)), float(high)


def _speed(sides: Mapping[str, Attacker], repeats: int) -> Figures:
    print("ms of CPU for a step of one search (range)")
    figures: Figures = {}
    for race in RACES:
        seen: dict[str, list[float]] = {side: [] for side in sides}
        contest = Contest("cosine", race.net, race.iterations)
        long = _one_model(contest, race.trials)
        short = replace(long, iterations=2)
        for attacker in sides.values():
            attacker(short)  # warms up
        for _ in range(repeats):
            for side, attacker in sides.items():
                more = attacker(long).cpu_s - attacker(short).cpu_s
                steps = (long.iterations - short.iterations) * race.trials
                seen[side].append(more / steps * 1e3)
        ms = {side: np.array(values) for side, values in seen.items()}
        name = race.figure.removeprefix("speedup_")
        cells = "".join(f"  {side} {_spread(values)}" for side, values in ms.items())
        figures |= {
            f"ms_{name}_{side}": float(np.median(values)) for side, values in ms.items()
        }
        if "breaching" in ms:
            times = ms["breaching"] / ms["ours"]
            figures[race.figure] = float(np.median(times))
            cells += f"  times {_spread(times)}"
        print(f"  {name:<15}{cells}", flush=True)
    return figures


def _one_model(contest: Contest, count: int) -> Work:
    _, x, y = victims.images(count)
    net = victims.build(contest.net, 0)
    return _work(contest, 0, net, x, y, np.arange(count))


def _spread(values: np.ndarray) -> str:
    low, middle, high = values.min(), np.median(values), values.max()
    return f"{middle:.2f} ({low:.2f} to {high:.2f})"
