"""Rounds of simulated training: our stack, the plain loop, Flower and pfl-research.

100 clients with 16 handwritten digits each, batches of 8, the same model and the same
batches for all; a round ends with the new model. What a peer does is measured between
two measurements of ours, warm, and its model after the first round must be ours. Nobody
masks, signs or notes anything. The peers are handed their batches; ours draws them in
every round.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass

import numpy as np
import torch

from benchmarks import digits, first, nets
from benchmarks.digits import BATCH, CLIENTS, RECORDS
from benchmarks.peers import flower, loop, pfl_research
from benchmarks.peers.asking import Ask, MissingError
from benchmarks.work import Rounds
from fl.models import parameter_count

PEERS: dict[str, Callable[[], AbstractContextManager[Ask]]] = {
    "flower": lambda: flower.started(CLIENTS),
    "pfl": lambda: pfl_research.started(1),
    "pfl2": lambda: pfl_research.started(2),
}
EPOCHS, QUICK = (1, 2, 5, 10), (1, 10)
# Float32 sums in another order.
TOLERANCE = 1e-5

_WORDS = """\
right: digits named rightly, among those that no client has, after the last round; gap:
the widest between a parameter of that model and of ours (after the first round, 1e-5 at
most).
Ours and Flower use every core, pfl2 two processes; ours1, the loop and pfl one core.
Ours needs {overhead_ms_per_client:.4f} ms per client (mlp) when the steps are taken \
off: that limits short rounds.
Flower carries what a deployment needs (typed messages, a queue, processes) and a
simulator may leave out; that is a cost per client, which fades as the steps grow. Then
arithmetic decides, the same for all: read the curve at its end, too."""
_HEAD = (
    f"{'steps':>7}  {'engine':<8}{'ms a round (range)':>26}{'times ours (range)':>26}"
    f"{'right':>10}{'gap':>10}"
)


@dataclass(frozen=True, slots=True)
class _Beside:
    """A peer's rounds, and ours from before and after them in the same run."""

    peer: Rounds
    ours: np.ndarray

    @property
    def times(self) -> np.ndarray:
        """Return how many of our median rounds each round of the peer took."""
        return self.peer.ms / np.median(self.ours)


def measure(quick: bool, peers: Sequence[str]) -> dict[str, float]:
    """Print a table for each model and return the figures, medians all.

    Args:
        quick: fewer rounds, and the two ends of the curve alone.
        peers: names in PEERS; the plain loop, and ours on one core, always are.

    Raises:
        RuntimeError: a peer's model is not ours.
    """
    torch.set_num_threads(1)
    figures: dict[str, float] = {}
    with ExitStack() as stack:
        asks: dict[str, Ask] = {"ours1": digits.on_one_core, "loop": loop.run}
        for name in peers:
            try:
                asks[name] = stack.enter_context(PEERS[name]())
            except MissingError as why:
                print(f"{name}: no figure: {why}.")
        _settle(asks)
        for net in nets.NAMES:
            figures |= _curve(net, asks, quick)
    figures |= _ours_alone(quick)
    print(_WORDS.format(**figures))
    return figures


def _settle(asks: dict[str, Ask]) -> None:
    """Let everybody play one round, so that nobody is still starting when it counts."""
    for name, ask in list(asks.items()):
        try:
            ask(digits.work("mlp", 1), 1)
        except MissingError as failed:
            print(f"{name}: no figure: {failed}.")
            del asks[name]


def _curve(net: str, asks: dict[str, Ask], quick: bool) -> dict[str, float]:
    """Measure one model at several numbers of steps; a peer that fails is dropped."""
    print(f"{net}: {parameter_count(nets.build(net))} parameters, {digits.way(net)}")
    print(_HEAD)
    figures: dict[str, float] = {}
    rounds_ms: dict[int, float] = {}
    for epochs in QUICK if quick else EPOCHS:
        steps = epochs * RECORDS // BATCH
        case = net if epochs == 1 else f"{net}_{steps}_steps"
        found = _compare(net, epochs, asks, rounds=2 if quick else 10)
        for name, beside in found.items():
            figures[f"speedup_vs_{name}_{case}"] = float(np.median(beside.times))
            figures[f"{name}_round_ms_{case}"] = float(np.median(beside.peer.ms))
        ours = np.concatenate([beside.ours for beside in found.values()])
        rounds_ms[steps] = figures[f"round_ms_{case}"] = float(np.median(ours))
    if net == "mlp":
        _, at_zero = np.polyfit(list(rounds_ms), list(rounds_ms.values()), 1)
        figures["overhead_ms_per_client"] = float(at_zero) / CLIENTS
    return figures


def _compare(
    net: str, epochs: int, asks: dict[str, Ask], *, rounds: int
) -> dict[str, _Beside]:
    """Run ours, a peer, ours, the next peer, ours; print a row for each."""
    work, found = digits.work(net, epochs), {}
    ours = digits.run(net, epochs, rounds)
    steps = epochs * RECORDS // BATCH
    rows: list[str] = []
    for name, ask in list(asks.items()):
        try:
            theirs = ask(work, rounds)
        except MissingError as failed:
            print(f"{name}: no figure from here on: {failed}.")
            del asks[name]
            continue
        before, ours = ours, digits.run(net, epochs, rounds)
        beside = _Beside(theirs, np.concatenate([before.ms, ours.ms]))
        gap = _agreed(name, net, ours, theirs)
        found[name] = beside
        rows.append(_row(steps, name, net, theirs, _spread(beside.times, 1), gap))
    own = np.concatenate([beside.ours for beside in found.values()])
    print(_row(steps, "ours", net, Rounds(ms=own, first=ours.first, last=ours.last)))
    print("\n".join(rows))
    return found


def _agreed(name: str, net: str, ours: Rounds, theirs: Rounds) -> float:
    """Check a peer's models against ours; return the widest gap after all rounds."""
    gap = float(np.abs(theirs.first - ours.first).max())
    if not gap <= TOLERANCE:
        raise RuntimeError(f"{name}'s model differs by {gap}, over {TOLERANCE}.")
    (own, of), (found, _) = digits.right(net, ours.last), digits.right(net, theirs.last)
    noise = 2 * (2 * own * (of - own) / of) ** 0.5
    if not abs(own - found) <= noise:
        raise RuntimeError(f"{name}'s model names {found} of {of} digits, ours {own}.")
    return float(np.abs(theirs.last - ours.last).max())


def _ours_alone(quick: bool) -> dict[str, float]:
    repeats = 1 if quick else 3
    begun = np.array([first.first_round_s() for _ in range(repeats)])
    crowd = np.array([first.crowd_s() for _ in range(repeats)])
    print(f"first round of a new process: {_spread(begun, 3)} s (mlp, 2 steps)")
    print(
        f"{first.CROWD} clients, {first.CROWD_ROUNDS} rounds: {_spread(crowd, 1)} s "
        f"(mlp, 2 steps, drawing included)"
    )
    return {
        "first_round_s": float(np.median(begun)),
        f"clients_{first.CROWD}_rounds_{first.CROWD_ROUNDS}_s": float(np.median(crowd)),
    }


def _row(
    steps: int, name: str, net: str, rounds: Rounds, times: str = "", gap: float = 0.0
) -> str:
    right, of = digits.right(net, rounds.last)
    ends = f"{gap:>10.0e}" if times else ""
    return (
        f"{steps:>7}  {name:<8}{_spread(rounds.ms, 1):>26}{times:>26}"
        f"{f'{right}/{of}':>10}{ends}"
    )


def _spread(values: np.ndarray, digits_after: int) -> str:
    low, middle, high = values.min(), np.median(values), values.max()
    return (
        f"{middle:.{digits_after}f} ({low:.{digits_after}f} to {high:.{digits_after}f})"
    )
