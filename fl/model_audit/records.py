"""The records that a model is asked about: its members, and others like them.

Two files of one kind (.csv or .npz), or pairs of arrays. Values reach the model as they
are, since nobody here knows how it was fed; only pictures of uint8 are divided by 255
and put in the order (records, channels, height, width), as everywhere else.

A record in both files is a member and no member at once: such twins are dropped from
both, and counted. Where coins decided who is a member, all twins are dropped, whichever
file they are in: a rule that looked at the files would tell the coins.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fl.data.arrays import Arrays, images
from fl.data.csv_files import load_csv
from fl.data.npz import read_npz
from fl.data.settings import DataConfig, suffix_of
from fl.errors import DataError

# Fewer on either side resolve nothing: an AUC's interval would span most of the scale.
LEAST = 20
MEMBERS, OTHERS = "members", "nonmembers"
Given = str | Path | tuple[Any, Any]
Labels = NDArray[np.generic]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """Members and non-members in one table, members first.

    Attributes:
        features: (N, ...), as the model is to get them.
        labels: (N,) as given: numbers, or text.
        members: (N,) bool.
        rows: (N,) place in the members' file followed by the non-members'.
        dropped: records that had a twin and were left out.
        given: how many records there were before.
        provenance: where they came from.
        persons: (N,) whose each record is; None where nobody says.
    """

    features: NDArray[Any]
    labels: Labels
    members: NDArray[np.bool_]
    rows: NDArray[np.int64]
    dropped: int
    given: int
    provenance: str
    persons: NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return len(self.members)

    @property
    def names(self) -> str:
        """Return what the records were called when they were given."""
        return re.sub(r" \(sha256 \w+\)", "", self.provenance)

    @property
    def sha256(self) -> str:
        """Return the SHA-256 of the records in use, labels and membership included."""
        digest = hashlib.sha256()
        for array in (self.features, self.labels, self.members):
            plain = np.ascontiguousarray(array)
            digest.update(f"{plain.dtype.str}{plain.shape}".encode())
            digest.update(plain.tobytes())
        return digest.hexdigest()


def load(members: Given, nonmembers: Given, data: DataConfig, *, coins: bool) -> Pool:
    """Read both sets, and leave out records whose membership is unclear.

    Args:
        members: a .csv or .npz file, or (x, y) of arrays.
        nonmembers: the same kind, with the same columns or shape.
        data: what is declared of .csv columns; its source is not looked at.
        coins: whether fair coins decided who is a member.

    Raises:
        DataError: a file cannot be read, the two do not fit, or too few are left.
    """
    if isinstance(members, tuple) != isinstance(nonmembers, tuple):
        raise DataError("members and nonmembers: give two files, or two (x, y) pairs.")
    if isinstance(members, tuple) and isinstance(nonmembers, tuple):
        whole = _joined(_pair(members, MEMBERS), _pair(nonmembers, OTHERS))
    else:
        whole = _read(Path(str(members)), Path(str(nonmembers)), data)
    _check_persons(whole, coins=coins)
    return _without_twins(whole, coins=coins)


def _check_persons(whole: Pool, *, coins: bool) -> None:
    """Refuse persons who are on both sides, and coins that were not tossed for them."""
    if whole.persons is None:
        return
    if coins:
        raise DataError(
            "data.subject and --coins: the coins were tossed for records, and a "
            "person's would come together; leave one of the two out."
        )
    inside = whole.persons[whole.members]
    both = np.intersect1d(inside, whole.persons[~whole.members])
    if len(both):
        raise DataError(
            f"{len(both)} persons have records among the members and among the others; "
            "a person is in or out as a whole, so leave their records out of both."
        )


def _read(members: Path, nonmembers: Path, data: DataConfig) -> Pool:
    for key, path in ((MEMBERS, members), (OTHERS, nonmembers)):
        if not path.is_file():
            raise DataError(f"{key}: no file {path}; give the .csv or .npz file.")
    kinds = {suffix_of(str(path)) for path in (members, nonmembers)}
    if kinds == {".npz"}:
        first, second = read_npz(members), read_npz(nonmembers)
        return _joined(first, second)
    if kinds != {".csv"}:
        raise DataError(
            f"{members.name} and {nonmembers.name}: give two .csv or two .npz files."
        )
    return _table(members, nonmembers, data)


def _table(members: Path, nonmembers: Path, data: DataConfig) -> Pool:
    if data.categories or data.impute != "none":
        raise DataError(
            "data.categories and data.impute are for training here; the model gets "
            "the columns as they are, so encode and fill them in the files."
        )
    sites = {MEMBERS: str(members.resolve()), OTHERS: str(nonmembers.resolve())}
    wanted = {"source": "digits", "sites": sites, "site_column": ""}
    table = load_csv(data.model_copy(update=wanted))
    labels: Labels = table.labels
    if data.positive is None:
        labels = numbered(np.array(table.class_names)[table.labels])
    assert table.sites is not None  # a file each
    pool = _whole(table.values, labels, table.sites == 0, table.provenance)
    return replace(pool, persons=table.subjects)


def _pair(given: tuple[Any, Any], name: str) -> Arrays:
    if len(given) != 2:
        raise DataError(f"{name}: give (x, y), not a tuple of {len(given)}.")
    x, y = (np.asarray(one) for one in given)
    if x.dtype.kind not in "fiub" or y.dtype.kind not in "fiubU":
        raise DataError(
            f"{name}: x is {x.dtype} and y is {y.dtype}; give numbers in x, and "
            "numbers or text in y."
        )
    return Arrays(x=x, y=y, source=name)


def _joined(first: Arrays, second: Arrays) -> Pool:
    for one in (first, second):
        if one.y.ndim != 1 or one.x.ndim < 2 or len(one.x) != len(one.y):
            raise DataError(
                f"{one.source}: x has shape {one.x.shape} and y {one.y.shape}; give "
                "(records, ...) and one label for each record."
            )
        if one.x.dtype.kind not in "fiub":
            raise DataError(f"{one.source}: x is of type {one.x.dtype}; give numbers.")
        if not np.isfinite(one.x.astype(np.float64)).all():
            raise DataError(
                f"{one.source}: a value is NaN or infinite; fill or drop its record."
            )
    if first.x.shape[1:] != second.x.shape[1:] or first.x.dtype != second.x.dtype:
        raise DataError(
            f"{first.source} holds records of {first.x.shape[1:]}, {first.x.dtype}, "
            f"and {second.source} of {second.x.shape[1:]}, {second.x.dtype}; give both "
            "the same shape and type."
        )
    x = np.concatenate([first.x, second.x])
    if x.dtype == np.uint8 and x.ndim in (3, 4):
        x = images(x, first.source)
    return _whole(
        x,
        numbered(np.concatenate([first.y, second.y])),
        np.arange(len(x)) < len(first.x),
        f"{first.source}, {second.source}",
    )


def _whole(
    x: NDArray[Any], labels: Labels, members: NDArray[np.bool_], provenance: str
) -> Pool:
    return Pool(
        features=x,
        labels=labels,
        members=members,
        rows=np.arange(len(x), dtype=np.int64),
        dropped=0,
        given=len(x),
        provenance=provenance,
    )


def numbered(labels: NDArray[np.generic]) -> Labels:
    """Return labels as int64 where all of them are whole numbers, else as text."""
    text = labels.astype(np.str_)
    try:
        numbers = text.astype(np.float64)
    except ValueError:
        return text
    whole = np.isfinite(numbers) & (numbers == np.rint(numbers))
    return numbers.astype(np.int64) if whole.all() else text


def _without_twins(whole: Pool, *, coins: bool) -> Pool:
    """Drop the records whose like is in the other file, or anywhere with coins."""
    keys = [
        hashlib.blake2b(
            np.ascontiguousarray(row + 0).tobytes() + str(label).encode(),
            digest_size=16,
        ).digest()
        for row, label in zip(whole.features, whole.labels, strict=True)
    ]
    if coins:
        times = Counter(keys)
        keep = np.array([times[key] == 1 for key in keys])
    else:
        count = int(whole.members.sum())  # members come first
        both = set(keys[:count]) & set(keys[count:])
        keep = np.array([key not in both for key in keys])
    _check_enough(whole, keep)
    if keep.all():
        return whole
    rows = np.flatnonzero(keep)
    return replace(
        whole,
        features=whole.features[rows],
        labels=whole.labels[rows],
        members=whole.members[rows],
        rows=whole.rows[rows],
        persons=None if whole.persons is None else whole.persons[rows],
        dropped=len(whole) - len(rows),
    )


def _check_enough(whole: Pool, keep: NDArray[np.bool_]) -> None:
    dropped = int((~keep).sum())
    if 2 * dropped > len(whole):
        raise DataError(
            f"{dropped} of {len(whole)} records are in the files more than once, so "
            "nobody can say who is a member; give files that do not overlap."
        )
    check_enough(whole.members[keep], dropped)


def check_enough(members: Sequence[bool] | NDArray[np.bool_], dropped: int = 0) -> None:
    """Refuse sets that resolve nothing.

    Raises:
        DataError: fewer than 20 members or non-members.
    """
    inside = int(np.sum(members))
    for name, count in ((MEMBERS, inside), (OTHERS, len(members) - inside)):
        if count < LEAST:
            left = f" are left, {dropped} dropped for a twin" if dropped else ""
            raise DataError(
                f"{name}: {count} records{left}; at least {LEAST} are needed to tell "
                "anything from chance."
            )
