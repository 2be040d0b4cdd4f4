"""Location-30, an MNIST subset, digits and Adult, as records in [0, 1].

All but the digits lie in the folder that BLINDSUM_DATA (or --data) names. Whatever a
record is scaled by is a constant written here, so that preparing it leaks nothing.
"""

from __future__ import annotations

import csv
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sklearn import datasets

# Records taken of the larger sets: 1000 non-members at least, for rates of 1 %.
RECORDS = 2400
FOLDER = "BLINDSUM_DATA"
FILES = {"location": "location30.npz", "mnist": "mnist.npz", "adult": "adult.csv"}
NAMES = ("location", "mnist", "digits", "adult")
# Adult's numbers and what each is divided by.
NUMBERS = {
    "age": 90.0,
    "fnlwgt": 1.5e6,
    "education_num": 16.0,
    "capital_gain": 99_999.0,
    "capital_loss": 4_356.0,
    "hr_per_week": 99.0,
}
LABEL = "income"


@dataclass(frozen=True, slots=True, kw_only=True)
class Set:
    """One data set.

    Attributes:
        name: one of NAMES.
        x: (records, *shape) float32 in [0, 1].
        y: (records,) int64 from 0.
    """

    name: str
    x: NDArray[np.float32]
    y: NDArray[np.int64]

    @property
    def classes(self) -> int:
        """Return how many labels there are."""
        return int(self.y.max()) + 1


def present() -> tuple[str, ...]:
    """Return the sets that are there; print which are left out, and why."""
    folder = os.environ.get(FOLDER)
    there = []
    for name in NAMES:
        file = FILES.get(name)
        if file is None or (folder and (Path(folder) / file).exists()):
            there.append(name)
        else:
            where = folder or f"{FOLDER} is not set"
            print(f"{name}: left out; no {file} in the folder of data ({where}).")
    return tuple(there)


def load(name: str) -> Set:
    """Read a set; of a large one the same RECORDS records every time."""
    x, y = _digits() if name not in FILES else _of_file(name)
    rows = np.random.default_rng(0).permutation(len(y))[:RECORDS]
    _, labels = np.unique(y[rows], return_inverse=True)
    return Set(name=name, x=x[rows], y=labels.astype(np.int64))


def _of_file(name: str) -> tuple[NDArray[np.float32], NDArray[np.generic]]:
    path = Path(os.environ[FOLDER]) / FILES[name]
    if name == "adult":
        return _adult(path)
    with np.load(path, allow_pickle=False) as file:
        if name == "mnist":
            return _scaled(file["x_train"], 255.0)[:, None], file["y_train"]
        return _scaled(file["x"], 1.0), file["y"]


def _digits() -> tuple[NDArray[np.float32], NDArray[np.generic]]:
    found = datasets.load_digits()
    return _scaled(found.images, 16.0)[:, None], found.target


def _scaled(values: NDArray[np.generic], by: float) -> NDArray[np.float32]:
    return (values.astype(np.float64) / by).astype(np.float32)


def _adult(path: Path) -> tuple[NDArray[np.float32], NDArray[np.generic]]:
    """Read numbers divided by a constant, and one 0/1 column for each other value."""
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    columns = []
    for name in rows[0]:
        cells = np.array([row[name] for row in rows])
        if name in NUMBERS:
            columns.append(cells.astype(np.float64)[:, None] / NUMBERS[name])
        elif name != LABEL:
            columns.append(cells[:, None] == np.unique(cells))
    x = np.clip(np.concatenate(columns, axis=1), 0.0, 1.0).astype(np.float32)
    return x, np.array([row[LABEL] for row in rows])
