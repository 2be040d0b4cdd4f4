"""Rounds of simulated training: our stack, the plain loop, Flower and pfl-research.

100 clients with 16 handwritten digits each, batches of 8, the same model and the same
batches for all; a round ends with the new model. What a peer does is measured between
two measurements of ours, all of them warm, and its model after the first round must be
ours. Nobody masks, signs or notes anything. The peers are handed their batches; ours
draws them in every round.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace

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


Case = tuple[str, int]
"""A network's name, and how many epochs."""


@dataclass(frozen=True, slots=True)
class _Beside:
    """A peer's rounds, and ours from before and after them in the same run.

    Attributes:
        peer: its rounds.
        ours: ours after them.
        both: milliseconds of ours before and after.
        gap: the widest between a parameter of the two last models.
    """

    peer: Rounds
    ours: Rounds
    both: np.ndarray
    gap: float

    @property
    def times(self) -> np.ndarray:
        """Return how many of our median rounds each round of the peer took."""
        return self.peer.ms / np.median(self.both)


def measure(quick: bool, peers: Sequence[str]) -> dict[str, float]:
    """Print a table for each model and return the figures, medians all.

    Args:
        quick: fewer rounds, and the two ends of the curve alone.
        peers: names in PEERS; the plain loop, and ours on one core, always are.

    Raises:
        RuntimeError: a peer's model is not ours.
    """
    torch.set_num_threads(1)
    cases = [(net, epochs) for net in nets.NAMES for epochs in _epochs(quick)]
    starts = {name: PEERS[name] for name in peers}
    everybody: dict[str, Callable[[], AbstractContextManager[Ask]]] = {
        "ours1": lambda: nullcontext(digits.on_one_core),
        "loop": lambda: nullcontext(loop.run),
    } | starts
    found = _take_turns(cases, everybody, rounds=2 if quick else 10)
    figures: dict[str, float] = {}
    for net in nets.NAMES:
        figures |= _curve(net, {case: found[case] for case in cases if case[0] == net})
    figures |= _ours_alone(quick)
    print(_WORDS.format(**figures))
    return figures


def _epochs(quick: bool) -> Sequence[int]:
    return QUICK if quick else EPOCHS


def _take_turns(
    cases: Sequence[Case],
    everybody: dict[str, Callable[[], AbstractContextManager[Ask]]],
    *,
    rounds: int,
) -> dict[Case, dict[str, _Beside]]:
    """Measure all of ours, all of a peer, all of ours, all of the next peer, ours.

    A peer's processes live in its own turn only: waiting, they would slow ours down.
    """
    found: dict[Case, dict[str, _Beside]] = {case: {} for case in cases}
    ours = {case: digits.run(*case, rounds) for case in cases}
    for name, start in everybody.items():
        theirs: dict[Case, Rounds] = {}
        try:
            with start() as ask:
                ask(digits.work(*cases[0]), 1)  # nobody is still starting after this
                for case in cases:
                    theirs[case] = ask(digits.work(*case), rounds)
        except MissingError as why:
            print(f"{name}: no figure{' from here on' if theirs else ''}: {why}.")
        before, ours = ours, {case: digits.run(*case, rounds) for case in cases}
        for case, own in theirs.items():
            both = np.concatenate([before[case].ms, ours[case].ms])
            gap = _agreed(name, case[0], ours[case], own)
            found[case][name] = _Beside(own, ours[case], both, gap)
    return found


def _curve(net: str, found: dict[Case, dict[str, _Beside]]) -> dict[str, float]:
    """Print one model's table; return its figures."""
    print(f"{net}: {parameter_count(nets.build(net))} parameters, {digits.way(net)}")
    print(_HEAD)
    figures: dict[str, float] = {}
    rounds_ms: dict[int, float] = {}
    for (_, epochs), beside in found.items():
        steps = epochs * RECORDS // BATCH
        case = net if epochs == 1 else f"{net}_{steps}_steps"
        for name, one in beside.items():
            figures[f"speedup_vs_{name}_{case}"] = float(np.median(one.times))
            figures[f"{name}_round_ms_{case}"] = float(np.median(one.peer.ms))
        own = np.concatenate([one.both for one in beside.values()])
        rounds_ms[steps] = figures[f"round_ms_{case}"] = float(np.median(own))
        ours = replace(list(beside.values())[-1].ours, ms=own)
        print(_row(steps, "ours", net, ours))
        for name, one in beside.items():
            print(_row(steps, name, net, one.peer, _spread(one.times, 1), one.gap))
    if net == "mlp":
        _, at_zero = np.polyfit(list(rounds_ms), list(rounds_ms.values()), 1)
        figures["overhead_ms_per_client"] = float(at_zero) / CLIENTS
    return figures


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
