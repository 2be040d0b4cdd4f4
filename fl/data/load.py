"""Load the records that the section [data] asks for.

Built-in sets, .npz and .csv files, a file per site, or a user's function. The result
is a Dataset where public constants scale it (images), else a RawTable. Nothing is
learnt from the records here.
"""

from __future__ import annotations

import numpy as np

from fl.data.arrays import from_arrays
from fl.data.builtin import load_builtin
from fl.data.csv_files import load_csv
from fl.data.npz import read_npz
from fl.data.records import Dataset, Indices, RawTable
from fl.data.settings import BUILT_IN, DataConfig, suffix_of
from fl.data.user import call_user
from fl.seeds import rng_for


def load(data: DataConfig, seed: int) -> Dataset | RawTable:
    """Return the records, at most `data.limit` of them.

    Guarantee: equal settings, files and seed give equal records in equal order; the
    seed only chooses which records stay under `data.limit`.

    Args:
        data: the section [data].
        seed: of the experiment, >= 0.

    Raises:
        DataError: the owner of the data; what, where, and the cure.
    """
    records = _read(data)
    if data.limit is None:
        return records
    rows = np.arange(len(records), dtype=np.int64)
    tested = records.held_out
    if tested is None:
        return records.take(_draw(rows, data.limit, seed, "train"))
    train = _draw(np.setdiff1d(rows, tested), data.limit, seed, "train")
    test = _draw(tested, data.limit, seed, "test")
    return records.take(np.concatenate([train, test]))


def _read(data: DataConfig) -> Dataset | RawTable:
    if data.sites or suffix_of(data.source) == ".csv":
        return load_csv(data)
    if data.source in BUILT_IN:
        return load_builtin(data.source)
    if suffix_of(data.source) == ".npz":
        return from_arrays(read_npz(data.file(data.source), data.subject), data)
    return from_arrays(call_user(data.source, data.subject), data)


def _draw(rows: Indices, limit: int, seed: int, part: str) -> Indices:
    if len(rows) <= limit:
        return rows
    chosen = rng_for(seed, "limit", part).choice(rows, size=limit, replace=False)
    return np.sort(chosen).astype(np.int64)
