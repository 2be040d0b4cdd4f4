"""What privacy costs: accuracy against epsilon, for each mechanism, on real digits.

100 clients, every mechanism at the same epsilon and delta over the same rounds and
first models; the released model is asked about records that nobody trained on. Every
secure sum is that of the clients' own noised integers, and the first of each kind is
played by real messages and must be the same bit for bit (`benchmarks.bare_sum`). The
end of each curve, epsilon without bound, is the same training under no protection.

The unit is one record under dp-sgd and one client elsewhere, and neighbours differ as
the last column says, so compare curves of one unit. Noise in shares is that of a plan
for CORRUPT colluders and DROP clients that may vanish: it counts the shares of the
others alone, and with more of them its noise grows by the root of n / (n - both). Clip
norms and rates are those of the command's operating point, tuned on training records of
the digits for 30 rounds; for MNIST and for so few rounds they are untuned.

The loss to shares is a mean over PAIRS[epsilon] seeds, more where seeds differ more.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import dp
from attacks.bounds import mean_interval
from benchmarks.bare_sum import BareSum
from fl.config import Config, load_config
from fl.data import load
from fl.errors import UserError
from fl.federation import federate
from fl.parallel import each
from fl.protection import Protection
from fl.protections import build
from fl.run import train
from fl.utility import accuracy

PAIRS = {1.0: 80, 2.0: 40, 4.0: 20, 8.0: 20}
"""Seeds by which shares and a trusted server are compared, at each epsilon."""
EPSILONS, SEEDS = tuple(PAIRS), 5
CORRUPT, DROP = 1, 0
NONE, CENTRAL, SHARES = "none", "central-dp", "distributed-dp"
MECHANISMS = (SHARES, CENTRAL, "dp-ftrl", "local-dp", "dp-sgd")
SETTINGS = (
    "federation.participation=1.0",
    "training.rounds=15",
    "privacy.distributed.value_bits=16",
    f"federation.corrupt={CORRUPT}",
    f"federation.drop={DROP}",
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
        deviation: of the noise in a released sum, in clip norms; 0 where it is neither
            in shares nor independent noise of a server.
    """

    correct: NDArray[np.bool_]
    ids: NDArray[np.int64]
    spent: float
    relation: str
    rounds: int
    deviation: float = 0.0


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
            for seed in range(_seeds(name, mechanism, epsilon, quick))
        ]
        found = dict(zip(jobs, each(run, jobs, count=len(jobs)), strict=True))
        figures |= _table(
            name, {job: one for job, one in found.items() if job.seed < seeds}
        )
        if name == "digits":
            figures |= _difference(found)
    return figures


def run(job: Job) -> Trained:
    """Train once, as the command would."""
    config = configured(job)
    raw = load(config.data, job.seed)
    protection = build(job.mechanism, config, config.federation.clients)
    if protection.shares is not None:
        bare = BareSum(protection.shares, played=int(job.seed < SEEDS))
        protection = replace(protection, aggregator=lambda cohort: bare)
    federation = federate(raw, config, None, seed=job.seed)
    record = train(federation, protection, config, seed=job.seed, keep=())
    return Trained(
        correct=record.correct,
        ids=federation.held_out.ids,
        spent=max((one.epsilon for one in record.accounts), default=0.0),
        relation=protection.relation if protection.unit else "",
        rounds=sum(not one.aborted for one in record.rounds),
        deviation=_deviation(protection, len(record.final)),
    )


def configured(job: Job) -> Config:
    """Return the command's own settings, and what is changed for a job."""
    sets = [*SETTINGS, *DATA[job.data]]
    if job.epsilon is not None:
        sets.append(f"privacy.epsilon={job.epsilon}")
    if job.data != "digits":
        sets.append(f"data.folder={_folder(job.data)}")
    return load_config(None, sets)


def _deviation(protection: Protection, length: int) -> float:
    """Return the standard deviation of a sum's noise, with every client there."""
    shares, central = protection.shares, protection.central
    if isinstance(central, dp.GaussianSum):
        return central.noise_multiplier
    if shares is None:
        return 0.0
    steps = math.sqrt(shares.clients * shares.at(length).noise.variance)
    scale = shares.encoder(length).at(length).scale
    return steps / scale / shares.clip_norm_l2


def _seeds(data: str, mechanism: str, epsilon: float | None, quick: bool) -> int:
    if quick:
        return 2
    paired = data == "digits" and mechanism in (SHARES, CENTRAL)
    return PAIRS[epsilon] if paired and epsilon else SEEDS


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
    print(
        f"{data}: accuracy of the released model (95 % over seeds and records); plan "
        f"for corrupt={CORRUPT}, drop={DROP}"
    )
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
        noise = {
            job.mechanism: one.deviation
            for job, one in found.items()
            if job.epsilon == epsilon
        }
        print(
            f"  epsilon {epsilon:g}: {estimate.value:+.4f} ({low:+.4f} to {high:+.4f})"
            f", {len(seeds)} seeds; noise {noise[SHARES]:.4g} and {noise[CENTRAL]:.4g} "
            "clip norms"
        )
        figures |= {
            f"noise_ratio_eps_{epsilon:g}": noise[SHARES] / (noise[CENTRAL] or 1.0),
            f"distributed_minus_central_eps_{epsilon:g}": estimate.value,
            f"distributed_minus_central_eps_{epsilon:g}_low": low,
            f"distributed_minus_central_eps_{epsilon:g}_high": high,
        }
        means.append(estimate.value)
    if not means:
        raise UserError("there is nothing to compare.")
    return figures | {"distributed_minus_central": min(means)}
