"""Which attack is best at 16 shadows: all on the same models, four sets, five seeds.

17 perceptrons are trained on a set, each record in each by a coin of its own; each
model is attacked in turn with the 16 others as shadows. Coins, and not exactly half:
how many of the others know a record must not tell whether the target does. A seed
draws anew who is in which model, the first weights and the orders.

What decides is the mean true-positive rate at the lowest FPR that every set resolves.
One pair is one set and seed, the mean over its 17 targets, which are not independent;
seeds are. So what one attack gains on another is averaged over the sets first, then
over seeds with Student's interval. The best is chosen on the same seeds: the intervals
of all pairs of attacks hold together at 95 % (Bonferroni), whichever is then looked at.
They speak of these sets, and of other seeds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from attacks import Estimate, mean_interval
from attacks.membership import rotate_all
from attacks.membership.compare import usable
from benchmarks import four_sets
from benchmarks.four_sets import Set
from fl.local import Recipe, Rule
from fl.parallel import each
from fl.trainers import StackedTrainer

MODELS, SEEDS, RATE = 17, 5, 0.02
FEWEST = 3
HIDDEN, EPOCHS, BATCH, LEARNING_RATE = 64, 40, 32, 0.1
# Not in a quick run: it takes longer than all the others together.
SLOW = ("shadow-classifier", "rmia-offline")
ERROR = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """One set and seed.

    Attributes:
        gap: accuracy on members less that on others, mean over models.
        auc: by attack, mean over targets.
        tpr: by attack, the true-positive rate at RATE, mean over targets.
    """

    gap: float
    auc: dict[str, float]
    tpr: dict[str, float]


Job = tuple[str, int, tuple[str, ...]]


def measure(names: Sequence[str], quick: bool) -> dict[str, float]:
    """Print the tables; return means, intervals and gains.

    Args:
        names: of the sets that are there.
        quick: two seeds, and no slow attacks.
    """
    seeds = range(2 if quick else SEEDS)
    attacks = tuple(one for one in usable() if not (quick and one in SLOW))
    jobs: list[Job] = [(name, seed, attacks) for name in names for seed in seeds]
    found = dict(zip(jobs, each(run, jobs, count=len(jobs)), strict=True))
    figures: dict[str, float] = {}
    for name in names:
        own = [pair for (of, *_), pair in found.items() if of == name]
        figures |= _of_set(name, own, attacks)
    pairs = {(name, seed): pair for (name, seed, _), pair in found.items()}
    return figures | _gains(pairs, attacks)


def run(job: Job) -> Pair:
    """Train the models of one pair and attack each of them."""
    name, seed, attacks = job
    records = four_sets.load(name)
    members = coins(len(records.y), seed)
    logits = _trainer(records).logits(members, seed=seed)
    right = logits.argmax(axis=2) == records.y
    rotated = rotate_all(
        logits, members, records.y, seed=seed, names=attacks, rates=(RATE,)
    )
    return Pair(
        gap=float(right[members].mean() - right[~members].mean()),
        auc={attack: float(one.auc.mean()) for attack, one in rotated.items()},
        tpr={attack: float(one.tpr[RATE].mean()) for attack, one in rotated.items()},
    )


def coins(records: int, seed: int) -> NDArray[np.bool_]:
    """Toss who is in which model, (MODELS, records).

    A record on one side of fewer than `FEWEST` models is tossed for anew, 1 in 400:
    without spread on both sides no likelihood can be fitted.
    """
    rng = np.random.default_rng(seed)
    members = rng.random((MODELS, records)) < 0.5
    while True:
        inside = members.sum(axis=0)
        bad = (inside < FEWEST) | (inside > MODELS - FEWEST)
        if not bad.any():
            return members
        members[:, bad] = rng.random((MODELS, int(bad.sum()))) < 0.5


@dataclass(frozen=True, slots=True)
class _Perceptron:
    features: int
    classes: int

    def __call__(self, seed: int) -> nn.Module:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return nn.Sequential(
                nn.Flatten(),
                nn.Linear(self.features, HIDDEN),
                nn.ReLU(),
                nn.Linear(HIDDEN, self.classes),
            )


def _trainer(records: Set) -> StackedTrainer:
    rule = Rule(learning_rate=LEARNING_RATE)
    return StackedTrainer(
        build=_Perceptron(records.x[0].size, records.classes),
        x=torch.from_numpy(records.x),
        y=torch.from_numpy(records.y),
        recipe=Recipe(epochs=EPOCHS, batch_size=BATCH, rule=rule),
    )


def _of_set(
    name: str, pairs: Sequence[Pair], attacks: Sequence[str]
) -> dict[str, float]:
    gap = float(np.mean([pair.gap for pair in pairs]))
    print(
        f"{name}: {MODELS - 1} shadows, {len(pairs)} seeds, accuracy of members less "
        f"others' {gap:.3f}; 95 % over seeds"
    )
    figures = {f"shadow_gap_{name}": gap}
    for attack in attacks:
        auc = mean_interval([pair.auc[attack] for pair in pairs], support=(0.0, 1.0))
        tpr = mean_interval([pair.tpr[attack] for pair in pairs], support=(0.0, 1.0))
        print(f"  {attack:<18} AUC {_said(auc)}   TPR at {RATE:.0%} FPR {_said(tpr)}")
        figures |= _three(f"auc_{name}_{attack}", auc)
        figures |= _three(f"tpr_{name}_{attack}", tpr)
    return figures


def _gains(
    found: Mapping[tuple[str, int], Pair], attacks: Sequence[str]
) -> dict[str, float]:
    """Print who is best over all sets and on each, and by how much."""
    sets = list(dict.fromkeys(name for name, _ in found))
    seeds = list(dict.fromkeys(seed for _, seed in found))

    def of(attack: str, name: str) -> list[float]:
        return [found[name, seed].tpr[attack] for seed in seeds]

    # (attacks, sets, seeds)
    rates = np.array([[of(attack, name) for name in sets] for attack in attacks])
    pairs = len(attacks) * (len(attacks) - 1) // 2
    best, gains = _ahead(rates.mean(axis=1), attacks, pairs)
    means = dict(zip(attacks, rates.mean(axis=(1, 2)).tolist(), strict=True))
    print(
        f"{best} has the highest TPR at {RATE:.0%} FPR ({means[best]:.4f}) over "
        f"{len(sets)} sets and {len(seeds)} seeds; its gains, together at 95 %:"
    )
    figures = {f"tpr_mean_{attack}": mean for attack, mean in means.items()}
    for other in sorted(gains, key=lambda one: -means[one]):
        gain, place = gains[other], attacks.index(other)
        told = "ahead" if gain.low > 0 else "not told apart"
        less = (rates[attacks.index(best)] - rates[place]).mean(axis=1)
        by_set = zip(sets, less, strict=True)
        print(
            f"  on {other:<18} {_said(gain)}  {told:<15}"
            + ", ".join(f"{name} {value:+.3f}" for name, value in by_set)
        )
        figures |= _three(f"tpr_gain_of_{best}_on_{other}", gain)
    for at, name in enumerate(sets):
        own, over = _ahead(rates[:, at], attacks, len(sets) * pairs)
        equals = [other for other, gain in over.items() if gain.low <= 0]
        rest = f"; not told from {', '.join(equals)}" if equals else ""
        print(f"  on {name} alone: {own} is ahead of {len(over) - len(equals)}{rest}")
    return figures


def _ahead(
    rates: NDArray[np.float64], attacks: Sequence[str], tests: int
) -> tuple[str, dict[str, Estimate]]:
    """Return the best attack and what it gains on each other, seed by seed.

    Args:
        rates: (attacks, seeds).
        attacks: their names.
        tests: how many intervals are to hold together.
    """
    best = int(rates.mean(axis=1).argmax())
    level = 1 - ERROR / tests
    return attacks[best], {
        attack: mean_interval(
            (rates[best] - rates[place]).tolist(), level, support=(-1.0, 1.0)
        )
        for place, attack in enumerate(attacks)
        if place != best
    }


def _said(one: Estimate) -> str:
    return f"{one.value:7.4f} [{one.low:7.4f}, {one.high:7.4f}]"


def _three(name: str, one: Estimate) -> dict[str, float]:
    return {name: one.value, f"{name}_low": one.low, f"{name}_high": one.high}
