"""What clients learn of a table before training, by sums over all of them and no more.

Quantiles of every numeric column by bisection on counts: in each step every client
says how many of its training values are at or below a public point, the counts are
summed securely, and only the sum decides where the next point lies. Columns and
quantiles bisect side by side, so the number of sums does not depend on the table.

What the sums reveal to everybody is on record in `Learnt`. They are exact and carry
no noise, so this is no differential privacy. All sums must have the same clients.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from attacks import Field
from fl.data.records import Dataset, Floats, Indices, RawTable
from fl.errors import DataError

QUANTILES = (0.05, 0.5, 0.95)
# Halvings of the public range; +-2^20 then has a resolution of 2^-23.
BISECTIONS = 44
# The 5 % and 95 % quantiles of a normal distribution are 3.29 deviations apart.
DEVIATIONS = 3.29
# Standardised features are clipped to +-CLIP; it is their public value range.
CLIP = 8.0
# Largest count that a float32 vector carries exactly through the aggregation.
COUNT_MAX = 2**23


class SecureSum(Protocol):
    """The element-wise sum of one vector per client, revealed to all."""

    def __call__(
        self, vectors: Mapping[str, NDArray[np.float32]]
    ) -> NDArray[np.float64]:
        """Return the sum over all clients, exact for integers below 2^23."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Learnt:
    """What all clients know of the table after the sums; goes on record.

    Attributes:
        median: (columns,) median of each column's present values; 0 if categorical.
        scale: (columns,) > 0, what a standardised column was divided by.
        holes: positions of the numeric columns that somebody misses a value of.
        sums: secure sums that were released.
        numbers: integers in them, all told.
        reveals: what those integers are, in a sentence.
    """

    median: Floats
    scale: Floats
    holes: tuple[int, ...]
    sums: int
    numbers: int
    reveals: str


def learn(
    table: RawTable, clients: Mapping[str, Indices], secure_sum: SecureSum
) -> Learnt:
    """Learn the quantiles and the columns with holes from the clients' sums.

    Guarantee: each quantile is within (high - low) / 2^44 of the pooled training
    values' inverse empirical distribution (numpy's "inverted_cdf"), and nothing but
    the sums leaves a client.

    Args:
        table: the records, of which only the clients' training rows are looked at.
        clients: name -> its training rows.
        secure_sum: adds up one vector per client.

    Raises:
        DataError: a column without any value, or a client with too many records.
    """
    numeric = [j for j, column in enumerate(table.columns) if not column.levels]
    _refuse_large(clients)
    if not numeric:
        return _nothing(table)
    values = {name: table.values[rows][:, numeric] for name, rows in clients.items()}
    counts = secure_sum(
        {
            name: np.concatenate(
                [(~np.isnan(own)).sum(axis=0), np.isnan(own).sum(axis=0)]
            ).astype(np.float32)
            for name, own in values.items()
        }
    )
    present, missing = counts[: len(numeric)], counts[len(numeric) :]
    for position, column in enumerate(numeric):
        if present[position] < 1:
            raise DataError(
                f"column {table.columns[column].name} has no value at any client; add "
                f"it to data.drop."
            )
    quantiles = _bisect(table, numeric, values, present, secure_sum)
    spread = (quantiles[2] - quantiles[0]) / DEVIATIONS
    median, scale = np.zeros(len(table.columns)), np.ones(len(table.columns))
    median[numeric] = quantiles[1]
    scale[numeric] = np.where(spread > 0, spread, 1.0)
    return Learnt(
        median=median,
        scale=scale,
        holes=tuple(numeric[j] for j in np.flatnonzero(missing > 0)),
        sums=1 + BISECTIONS,
        numbers=(2 + len(QUANTILES) * BISECTIONS) * len(numeric),
        reveals=(
            f"for each of {len(numeric)} numeric columns, over the training records "
            f"of all {len(clients)} clients together: how many values are present, "
            f"how many are missing, and how many lie at or below each of "
            f"{BISECTIONS} points per quantile (5 %, 50 %, 95 %); so these quantiles, "
            f"each the value of some record, are known to all."
        ),
    )


def apply(table: RawTable, learnt: Learnt) -> Dataset:
    """Fill, scale and encode the table with what the clients learnt.

    Guarantee: features are finite and in [-8, 8]; a missing number becomes the
    median, which is 0, and a missing category becomes 0 in all its columns.

    Args:
        table: the records, those held out included.
        learnt: from `learn` on this table.
    """
    blocks: list[Floats] = []
    names: list[str] = []
    fields: list[Field] = []
    for position, column in enumerate(table.columns):
        values = table.values[:, position]
        if column.levels:
            for level in range(len(column.levels)):
                blocks.append((values == level).astype(np.float64))
            fields.append(_field(column.name, len(names), width=len(column.levels)))
            names += [f"{column.name}={level}" for level in column.levels]
            continue
        hole = np.isnan(values)
        filled = np.where(hole, learnt.median[position], values)
        standard = (filled - learnt.median[position]) / learnt.scale[position]
        blocks.append(np.clip(standard, -CLIP, CLIP))
        fields.append(_field(column.name, len(names)))
        names.append(column.name)
        if position in learnt.holes:
            blocks.append(hole.astype(np.float64))
            fields.append(_field(f"{column.name} missing", len(names), width=1))
            names.append(fields[-1].name)
    return Dataset(
        features=np.stack(blocks, axis=1).astype(np.float32),
        labels=table.labels,
        classes=table.classes,
        class_names=table.class_names,
        sites=table.sites,
        site_names=table.site_names,
        subjects=table.subjects,
        subgroups=table.subgroups,
        subgroup_names=table.subgroup_names,
        held_out=table.held_out,
        names=tuple(names),
        value_range=(-CLIP, CLIP),
        kind="table",
        provenance=table.provenance,
        builtin=table.builtin,
        fields=tuple(fields),
    )


def _field(name: str, start: int, *, width: int | None = None) -> Field:
    """Return a field from a feature on: of so many categories, or a number."""
    columns = tuple(range(start, start + (width or 1)))
    return Field(name=name, columns=columns, numeric=width is None)


def _nothing(table: RawTable) -> Learnt:
    """Return what is learnt of a table without numeric columns."""
    return Learnt(
        median=np.zeros(len(table.columns)),
        scale=np.ones(len(table.columns)),
        holes=(),
        sums=0,
        numbers=0,
        reveals="nothing: the table has no numeric columns.",
    )


def _refuse_large(clients: Mapping[str, Indices]) -> None:
    total = sum(len(rows) for rows in clients.values())
    if total >= COUNT_MAX:
        raise DataError(
            f"{total} training records are more than counts of 23 bits can carry; set "
            f"data.limit below {COUNT_MAX}."
        )


def _bisect(
    table: RawTable,
    numeric: list[int],
    values: Mapping[str, Floats],
    present: Floats,
    secure_sum: SecureSum,
) -> Floats:
    """Return the quantiles, (len(QUANTILES), len(numeric)) float64.

    Invariant: at least ceil(q n) values are at or below `high`.
    """
    columns = [table.columns[j] for j in numeric]
    shape = (len(QUANTILES), 1)
    low = np.tile(np.array([column.low for column in columns]), shape)
    high = np.tile(np.array([column.high for column in columns]), shape)
    wanted = np.ceil(np.array(QUANTILES)[:, None] * present)
    # A sorted column answers "how many at or below" by binary search; NaN sorts last.
    ordered = {name: np.sort(own, axis=0) for name, own in values.items()}
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        counts = secure_sum(
            {name: _at_or_below(own, middle) for name, own in ordered.items()}
        ).reshape(middle.shape)
        enough = counts >= wanted
        high = np.where(enough, middle, high)
        low = np.where(enough, low, middle)
    return high


def _at_or_below(ordered: Floats, points: Floats) -> NDArray[np.float32]:
    """Count, per column, the values at or below each point; flat, float32."""
    counts = [
        np.searchsorted(ordered[:, j], points[:, j], side="right")
        for j in range(ordered.shape[1])
    ]
    return np.stack(counts, axis=1).astype(np.float32).ravel()
