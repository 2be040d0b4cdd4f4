"""What privacy costs: accuracy against epsilon, for each mechanism, on real digits.

100 clients, every mechanism at the same epsilon and delta over the same rounds and
first models; the released model is asked about records that nobody trained on. Every
secure sum is played by real messages, with its noise. The end of each curve, epsilon
without bound, is the same training under no protection.

The unit is one record under dp-sgd and one client elsewhere, and neighbours differ as
the last column says, so compare curves of one unit. Clip norms and rates are those of
the command's operating point, tuned on training records of the digits for 30 rounds;
for MNIST and for so few rounds they are untuned.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from attacks.bounds import mean_interval
from fl.config import Config, load_config
from fl.data import load
from fl.errors import UserError
from fl.federation import federate
from fl.parallel import each
from fl.protections import build
from fl.run import train
from fl.utility import accuracy

EPSILONS, SEEDS = (1.0, 2.0, 4.0, 8.0), 5
NONE, CENTRAL, SHARES = "none", "central-dp", "distributed-dp"
MECHANISMS = (SHARES, CENTRAL, "dp-ftrl", "local-dp", "dp-sgd")
SETTINGS = (
    "federation.participation=1.0",
    "training.rounds=15",
    "privacy.distributed.value_bits=16",
)
DATA = {
    "digits": (),
    "mnist": (
        "data.path=mnist.npz",
        "data.limit=6000",
        "privacy.example.batch_size=60",
        "privacy.client.clip_norm_l2=1.0",
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One training: of which data, under what, at which epsilon; None: no bound."""

    data: str
    mechanism: str
    epsilon: float | None
    seed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """What a training gave.

    Attributes:
        correct: (held out,) bool, which records the released model names.
        ids: (held out,) their numbers.
        spent: epsilon of the party that spent most, by the ledger; 0 without noise.
        relation: which data are neighbours; empty without noise.
        rounds: released ones.
    """

    correct: NDArray[np.bool_]
    ids: NDArray[np.int64]
    spent: float
    relation: str
    rounds: int


def measure(quick: bool) -> dict[str, float]:
    """Print a table for each data set; return means, and the widest loss to shares."""
    names = [name for name in DATA if name == "digits" or _folder(name)]
    for name in DATA.keys() - set(names):
        print(f"{name}: left out; BLINDSUM_DATA names no folder with its file.")
    seeds = 2 if quick else SEEDS
    figures: dict[str, float] = {"seeds": seeds}
    for name in names[:1] if quick else names:
        jobs = [
            Job(data=name, mechanism=mechanism, epsilon=epsilon, seed=seed)
            for mechanism, epsilon in _points(quick)
            for seed in range(seeds)
        ]
        found = dict(zip(jobs, each(run, jobs, count=len(jobs)), strict=True))
        figures |= _table(name, found)
        if name == "digits":
            figures |= _difference(found)
    return figures


def run(job: Job) -> Trained:
    """Train once, as the command would."""
    config = configured(job)
    raw = load(config.data, job.seed)
    protection = build(job.mechanism, config, config.federation.clients)
    federation = federate(raw, config, None, seed=job.seed)
    record = train(federation, protection, config, seed=job.seed, keep=())
    return Trained(
        correct=record.correct,
        ids=federation.held_out.ids,
        spent=max((one.epsilon for one in record.accounts), default=0.0),
        relation=protection.relation if protection.unit else "",
        rounds=sum(not one.aborted for one in record.rounds),
    )


def configured(job: Job) -> Config:
    """Return the command's own settings, and what is changed for a job."""
    sets = [*SETTINGS, *DATA[job.data]]
    if job.epsilon is not None:
        sets.append(f"privacy.epsilon={job.epsilon}")
    if job.data != "digits":
        sets.append(f"data.folder={_folder(job.data)}")
    return load_config(None, sets)


def _points(quick: bool) -> Iterator[tuple[str, float | None]]:
    yield NONE, None
    for mechanism in MECHANISMS[:2] if quick else MECHANISMS:
        for epsilon in EPSILONS[-1:] if quick else EPSILONS:
            yield mechanism, epsilon


def _folder(data: str) -> Path | None:
    folder = Path(os.environ.get("BLINDSUM_DATA", ""))
    there = os.environ.get("BLINDSUM_DATA") and (folder / f"{data}.npz").exists()
    return folder.resolve() if there else None


def _table(data: str, found: dict[Job, Trained]) -> dict[str, float]:
    """Print accuracy by mechanism and epsilon; return it with its interval."""
    print(f"{data}: accuracy of the released model (95 % over seeds and records)")
    figures: dict[str, float] = {}
    points = dict.fromkeys((job.mechanism, job.epsilon) for job in found)
    for mechanism, epsilon in points:
        own = [
            one
            for job, one in found.items()
            if (job.mechanism, job.epsilon) == (mechanism, epsilon)
        ]
        _check_spent(mechanism, epsilon, own)
        hit = accuracy([one.correct for one in own], [one.ids for one in own], seed=0)
        shown = "inf" if epsilon is None else f"{epsilon:g}"
        rounds = min(one.rounds for one in own)
        print(
            f"  {mechanism:<16} epsilon {shown:>4}  {hit.value:.3f} "
            f"({hit.low:.3f} to {hit.high:.3f})  {rounds} rounds  {own[0].relation}"
        )
        name = f"{data}_{mechanism}_eps_{shown}"
        figures |= {
            f"accuracy_{name}": hit.value,
            f"accuracy_{name}_low": hit.low,
            f"accuracy_{name}_high": hit.high,
        }
    return figures


def _check_spent(
    mechanism: str, epsilon: float | None, found: Sequence[Trained]
) -> None:
    """Refuse a point whose training spent more than its place on the axis says."""
    spent = max(one.spent for one in found)
    if epsilon is not None and not 0 < spent <= epsilon:
        raise RuntimeError(f"{mechanism} at epsilon {epsilon} spent {spent}.")


def _difference(found: dict[Job, Trained]) -> dict[str, float]:
    """Compare noise in shares with noise of a trusted server, seed by seed."""
    figures: dict[str, float] = {}
    print("noise in shares less noise of a trusted server, paired by seed:")
    means = []
    for epsilon in dict.fromkeys(job.epsilon for job in found if job.epsilon):
        right = {
            (job.mechanism, job.seed): float(one.correct.mean())
            for job, one in found.items()
            if job.epsilon == epsilon
        }
        seeds = sorted({seed for _, seed in right})
        gaps = [right[SHARES, seed] - right[CENTRAL, seed] for seed in seeds]
        estimate = mean_interval(gaps, support=(-1.0, 1.0))
        low, high = estimate.low, estimate.high
        print(
            f"  epsilon {epsilon:g}: {estimate.value:+.4f} ({low:+.4f} to {high:+.4f})"
        )
        figures |= {
            f"distributed_minus_central_eps_{epsilon:g}": estimate.value,
            f"distributed_minus_central_eps_{epsilon:g}_low": low,
            f"distributed_minus_central_eps_{epsilon:g}_high": high,
        }
        means.append(estimate.value)
    if not means:
        raise UserError("there is nothing to compare.")
    return figures | {"distributed_minus_central": min(means)}
