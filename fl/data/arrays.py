"""Turn arrays, from a file or from user code, into a Dataset or a RawTable.

Shapes decide: (N, D) is a table; (N, H, W), (N, H, W, 1 or 3) and (N, 1 or 3, H, W)
are images. Images of uint8 are divided by 255, a public constant; float images must
be in [0, 1] already, because learning their range would reveal it. Arrays of Python
objects are refused: reading them would run pickle.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fl.data.records import (
    RANGE,
    Column,
    Dataset,
    Indices,
    RawTable,
    classes_of,
)
from fl.data.settings import DataConfig
from fl.data.subjects import of_arrays
from fl.errors import DataError

BYTE_MAX = 255.0
CHANNELS = (1, 3)


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrays:
    """Features and labels as they were given, not yet checked.

    Attributes:
        x: (N, ...) features.
        y: (N,) labels.
        x_test: features of the held-out set, or None.
        y_test: labels of the held-out set, or None.
        sites: (N,) site of each record, or None.
        subjects: (N,) whose each record is, or None.
        subjects_test: the same of the held-out set.
        source: where they came from, for errors and the record.
    """

    x: NDArray[np.generic]
    y: NDArray[np.generic]
    x_test: NDArray[np.generic] | None = None
    y_test: NDArray[np.generic] | None = None
    sites: NDArray[np.generic] | None = None
    subjects: NDArray[np.generic] | None = None
    subjects_test: NDArray[np.generic] | None = None
    source: str


def from_arrays(arrays: Arrays, data: DataConfig) -> Dataset | RawTable:
    """Check the arrays and turn them into records.

    Raises:
        DataError: the owner of the arrays; what is wrong with which of them.
    """
    x, y, held_out = _join(arrays)
    labels, class_names = classes_of(_labels(y, arrays.source), arrays.source)
    sites, site_names = _sites(arrays, len(x))
    subjects = of_arrays(
        arrays.subjects,
        arrays.subjects_test,
        name=data.subject,
        records=(len(arrays.y), None if held_out is None else len(held_out)),
        where=arrays.source,
    )
    if x.ndim == 2:
        _refuse_unknown_columns(data, x.shape[1], arrays.source)
        return RawTable(
            values=_table(x, data, arrays.source),
            columns=tuple(_column(j, data) for j in range(x.shape[1])),
            labels=labels,
            classes=len(class_names),
            class_names=class_names,
            sites=sites,
            site_names=site_names,
            subjects=subjects,
            held_out=held_out,
            provenance=arrays.source,
            builtin=False,
        )
    return Dataset(
        features=images(x, arrays.source),
        labels=labels,
        classes=len(class_names),
        class_names=class_names,
        sites=sites,
        site_names=site_names,
        subjects=subjects,
        held_out=held_out,
        names=(),
        value_range=(0.0, 1.0),
        kind="image",
        provenance=arrays.source,
        builtin=False,
    )


def column_name(position: int) -> str:
    """Return the name of an array's column, as data.bounds wants it: "x0", "x1"."""
    return f"x{position}"


def _join(
    arrays: Arrays,
) -> tuple[NDArray[np.generic], NDArray[np.generic], Indices | None]:
    """Put the held-out records behind the others; return which rows they are."""
    _same_length(arrays.x, arrays.y, "x", "y", arrays.source)
    if arrays.x_test is None and arrays.y_test is None:
        return arrays.x, arrays.y, None
    if arrays.x_test is None or arrays.y_test is None:
        raise DataError(
            f"{arrays.source}: one of x_test and y_test is absent; give both or none."
        )
    _same_length(arrays.x_test, arrays.y_test, "x_test", "y_test", arrays.source)
    if arrays.x.shape[1:] != arrays.x_test.shape[1:]:
        raise DataError(
            f"{arrays.source}: records of x_train are {arrays.x.shape[1:]} and of "
            f"x_test {arrays.x_test.shape[1:]}; give both the same shape."
        )
    if arrays.x.dtype != arrays.x_test.dtype:
        raise DataError(
            f"{arrays.source}: x_train is {arrays.x.dtype} and x_test "
            f"{arrays.x_test.dtype}; give both the same type."
        )
    n = len(arrays.x)
    held_out = np.arange(n, n + len(arrays.x_test), dtype=np.int64)
    x = np.concatenate([arrays.x, arrays.x_test])
    return x, np.concatenate([arrays.y, arrays.y_test]), held_out


def _same_length(
    x: NDArray[np.generic], y: NDArray[np.generic], x_name: str, y_name: str, where: str
) -> None:
    if x.ndim not in (2, 3, 4):
        raise DataError(
            f"{where}: {x_name} has shape {x.shape}; want (records, columns) for a "
            f"table, or (records, height, width) or (records, height, width, "
            f"channels) for images."
        )
    if x.size == 0:
        raise DataError(f"{where}: {x_name} is empty; give it records.")
    if y.ndim == 2 and y.shape[1] == 1:
        raise DataError(
            f"{where}: {y_name} has shape {y.shape}; flatten it to ({len(y)},)."
        )
    if y.ndim != 1 or len(y) != len(x):
        raise DataError(
            f"{where}: {y_name} has shape {y.shape}; want one label for each of the "
            f"{len(x)} records of {x_name}."
        )


def _labels(y: NDArray[np.generic], where: str) -> NDArray[np.generic]:
    if y.dtype.kind == "f":
        if not np.isfinite(y.astype(np.float64)).all():
            raise DataError(f"{where}: a label is NaN or infinite; drop that record.")
        return y
    if y.dtype.kind not in "iubU":
        raise DataError(
            f"{where}: labels are of type {y.dtype}; give integers or strings."
        )
    return y


def _sites(arrays: Arrays, n: int) -> tuple[Indices | None, tuple[str, ...]]:
    if arrays.sites is None:
        return None, ()
    if arrays.sites.shape != (n,) or arrays.sites.dtype.kind not in "iuU":
        raise DataError(
            f"{arrays.source}: sites has shape {arrays.sites.shape} and type "
            f"{arrays.sites.dtype}; want one integer or name for each of the {n} "
            f"records."
        )
    names, of = np.unique(arrays.sites, return_inverse=True)
    return of.astype(np.int64), tuple(str(name) for name in names)


def _table(x: NDArray[np.generic], data: DataConfig, where: str) -> NDArray[np.float64]:
    if x.dtype.kind not in "fiub":
        raise DataError(f"{where}: x is of type {x.dtype}; give numbers.")
    values = x.astype(np.float64)
    refused = ~np.isfinite(values)
    cure = "remove it"
    if data.impute != "none":
        refused = np.isinf(values)
    elif np.isnan(values).any():
        cure = 'set data.impute = "indicator+median" to fill holes, or remove it'
    if refused.any():
        row, column = np.argwhere(refused)[0]
        raise DataError(
            f"{where}: row {row} of x, column {column_name(column)}, is NaN or "
            f"infinite; {cure}."
        )
    for position in range(values.shape[1]):
        column = _column(position, data)
        outside = (values[:, position] < column.low) | (
            values[:, position] > column.high
        )
        if outside.any():
            raise DataError(
                f"{where}: row {int(np.argmax(outside))} of x, column {column.name}, "
                f"is outside its public range [{column.low:g}, {column.high:g}]; "
                f"declare data.bounds = {{{column.name} = [low, high]}}."
            )
    return values


def _column(position: int, data: DataConfig) -> Column:
    name = column_name(position)
    low, high = data.bounds.get(name, (-RANGE, RANGE))
    return Column(name=name, low=low, high=high)


def _refuse_unknown_columns(data: DataConfig, columns: int, where: str) -> None:
    known = {column_name(position) for position in range(columns)}
    for key, named in (("bounds", data.bounds), ("categories", data.categories)):
        unknown = sorted(set(named) - known)
        if unknown:
            raise DataError(
                f"{where}: data.{key} names column {unknown[0]}; the columns are "
                f"x0 .. {column_name(columns - 1)}."
            )
    if data.categories:
        raise DataError(
            f"{where}: data.categories are for .csv files; encode them in x."
        )


def images(x: NDArray[np.generic], where: str) -> NDArray[np.float32]:
    """Return pictures as (N, channels, H, W) float32 in [0, 1].

    Raises:
        DataError: neither 1 nor 3 channels, or numbers of another range or type.
    """
    if x.ndim == 3:
        x = x[:, None]
    elif x.shape[1] not in CHANNELS and x.shape[3] in CHANNELS:
        x = x.transpose(0, 3, 1, 2)
    if x.shape[1] not in CHANNELS:
        raise DataError(
            f"{where}: images of shape {x.shape[1:]} have neither 1 nor 3 channels; "
            f"give (records, height, width) or (records, height, width, 3)."
        )
    if x.dtype == np.uint8:
        scaled = x.astype(np.float32)
        scaled /= np.float32(BYTE_MAX)
        return np.ascontiguousarray(scaled)
    if x.dtype.kind not in "fb":
        raise DataError(f"{where}: images are of type {x.dtype}; give uint8 or floats.")
    floats = np.ascontiguousarray(x, dtype=np.float32)
    # `not` of the whole, so that NaN is refused too.
    if not (floats.min() >= 0.0 and floats.max() <= 1.0):
        raise DataError(
            f"{where}: float images must be in [0, 1] and not NaN; scale them by a "
            f"public constant, or give uint8."
        )
    return floats
