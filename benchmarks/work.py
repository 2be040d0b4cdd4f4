"""One workload as arrays: what every engine gets, and what it hands back.

Nothing of ours is imported, so that a peer's own process can read and write them.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

LEARNING_RATE = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """Clients that start from one model, and the batches that each steps on.

    Attributes:
        net: the model's name in `benchmarks.nets`.
        before: (parameters,) float32, the model that the first round starts from.
        x: (clients, records, 1, 8, 8) float32.
        y: (clients, records) int64.
        rows: (clients, steps, batch) int64, into the client's own records; the same
            in every round.
    """

    net: str
    before: np.ndarray
    x: np.ndarray
    y: np.ndarray
    rows: np.ndarray


@dataclass(frozen=True, slots=True, kw_only=True)
class Rounds:
    """What an engine did.

    Attributes:
        ms: (rounds,) float64, wall time of each round but the first, which warms up.
        first: (parameters,) float32, the model after the first round.
        last: (parameters,) float32, after the last round.
    """

    ms: np.ndarray
    first: np.ndarray
    last: np.ndarray


def save(path: Path, held: Work | Rounds) -> None:
    """Write either as .npz."""
    np.savez(path, **{name: getattr(held, name) for name in held.__slots__})


def load_work(path: Path) -> Work:
    """Read what `save` wrote of a workload."""
    with np.load(path, allow_pickle=False) as file:
        arrays = {name: file[name] for name in Work.__slots__}
    return Work(**arrays | {"net": str(arrays["net"])})


def load_rounds(path: Path) -> Rounds:
    """Read what `save` wrote of some rounds."""
    with np.load(path, allow_pickle=False) as file:
        return Rounds(**{name: file[name] for name in Rounds.__slots__})


def rounds_of(marks: list[float], models: list[np.ndarray]) -> Rounds:
    """Return the rounds between marks.

    Args:
        marks: seconds before the first round, and after each.
        models: after each round.
    """
    return Rounds(ms=np.diff(marks)[1:] * 1e3, first=models[0], last=models[-1])
