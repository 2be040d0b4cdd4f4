"""What a data set is once it is in memory: a Dataset, or a RawTable on the way to it.

A RawTable still has holes and its own units; `fl.data.prepare` turns it into a
Dataset with what the clients learn together. Values are checked once, where they are
read. Nothing in this module reads a file.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, Self

import numpy as np
from numpy.typing import NDArray

from attacks import Field
from fl.errors import DataError

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]

# The range in which quantiles are searched where no public bounds are declared.
RANGE = 2.0**20

# More label values than this, or than half the records: a quantity, not a class.
CLASSES_MAX = 1000
CLASSES_ALWAYS = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Records:
    """Labelled records, whatever their features: what a partition looks at.

    Attributes:
        labels: (N,) int64, in 0 .. classes - 1.
        classes: number of classes; a class may be absent at a client.
        class_names: what the classes are called in the data, in order.
        sites: (N,) int64 into `site_names`, or None where records have no site.
        site_names: names of the sites; () without.
        subjects: (N,) int64, equal for records of one person, else None. Numbers, not
            what the data call them, which is kept nowhere.
        subgroups: (N,) int64 into `subgroup_names`, -1 for none, or None where no
            column names them.
        subgroup_names: names of the subgroups, which reports may show; () without.
        held_out: rows that the data set itself keeps for testing, or None.
        provenance: what the records are and where they came from.
        builtin: True only where the records are public and may be shown.
    """

    labels: Indices
    classes: int
    class_names: tuple[str, ...]
    sites: Indices | None = None
    site_names: tuple[str, ...] = ()
    subjects: Indices | None = None
    subgroups: Indices | None = None
    subgroup_names: tuple[str, ...] = ()
    held_out: Indices | None = None
    provenance: str
    builtin: bool

    def __post_init__(self) -> None:
        if self.labels.size == 0:
            raise DataError(f"{self.provenance}: no records; give a file with some.")
        if self.classes < 2:
            raise DataError(
                f"{self.provenance}: all records have the same label, so there is "
                f"nothing to learn; check data.label and data.positive."
            )

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, rows: Indices) -> Self:
        """Return these rows, in this order; the classes and sites keep their names."""
        kept = None
        if self.held_out is not None:
            kept = np.flatnonzero(np.isin(rows, self.held_out)).astype(np.int64)
        return replace(
            self,
            labels=self.labels[rows],
            sites=None if self.sites is None else self.sites[rows],
            subjects=None if self.subjects is None else self.subjects[rows],
            subgroups=None if self.subgroups is None else self.subgroups[rows],
            held_out=kept,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataset(Records):
    """Records that models are trained on.

    Attributes:
        features: (N, *input_shape) float32, finite, within `value_range`.
        names: of the features, one per element of a record; () for images.
        value_range: public (low, high) of every feature.
        kind: "image" (channels, height, width) or "table" (features,).
        fields: of a table's rows, and which features hold them; () where not known.
    """

    features: NDArray[np.float32]
    names: tuple[str, ...]
    value_range: tuple[float, float]
    kind: Literal["image", "table"]
    fields: tuple[Field, ...] = ()

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one record."""
        return self.features.shape[1:]

    def take(self, rows: Indices) -> Self:
        """Return these rows, in this order; the classes and sites keep their names."""
        return replace(Records.take(self, rows), features=self.features[rows])


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One column of a table, with what is public about it.

    Attributes:
        name: from the header.
        low: least value of a numeric column, public.
        high: greatest value of a numeric column, public.
        levels: names of the categories; () for a numeric column. The values of a
            categorical column are positions in `levels`.
    """

    name: str
    low: float = -RANGE
    high: float = RANGE
    levels: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class RawTable(Records):
    """A table in its own units, with holes, that the clients have yet to learn about.

    Attributes:
        values: (N, len(columns)) float64; NaN where a value is missing.
        columns: one per column of `values`.
    """

    values: Floats
    columns: tuple[Column, ...]

    def take(self, rows: Indices) -> Self:
        """Return these rows, in this order; the classes and sites keep their names."""
        return replace(Records.take(self, rows), values=self.values[rows])


def classes_of(raw: NDArray[np.generic], where: str) -> tuple[Indices, tuple[str, ...]]:
    """Number the distinct labels in sorted order.

    The set of label values is taken to be public, as it is in any federation that
    agrees on a classifier.

    Args:
        raw: (N,) numbers or strings, none missing.
        where: what the labels came from, for the error's text.

    Returns:
        (N,) int64 class of each record, and the names of the classes.

    Raises:
        DataError: the values are a quantity rather than classes.
    """
    values, of = np.unique(raw, return_inverse=True)
    many = len(values) > CLASSES_ALWAYS and 2 * len(values) > len(raw)
    if many or len(values) > CLASSES_MAX:
        raise DataError(
            f"{where}: {len(values)} different labels look like a quantity rather "
            f'than classes; set data.positive, e.g. "> 0".'
        )
    return of.astype(np.int64), tuple(_name(v) for v in values.tolist())


def _name(value: object) -> str:
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)
