"""Reconstructed rows of a table to numbers: which fields are right, and whole rows.

A mean squared error says little of a row: one wrong category is worth as much as an age
that is off by a year. So a numeric field counts as right within 1 % of its range, a
categorical one if its category is, and a row if all of its fields are.

Rows are matched as records are (`attacks.quality.match`). Beside every number stand its
nulls under the same matching: other real rows in the place of the truth, and the
commonest row (median or commonest category of every field), which who sees no message
could hand in.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from attacks.errors import ScoringError
from attacks.quality import match

NUMERIC_TOLERANCE = 0.01
"""Of a field's range: how far a numeric field may be off and count as right."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """One field of a row, and the entries of the record that hold it.

    Attributes:
        name: what it is called.
        columns: entries of the record; one for a number, or one per category, of which
            the largest is the category if it is above one half.
        numeric: whether it is a number.
    """

    name: str
    columns: tuple[int, ...]
    numeric: bool

    def __post_init__(self) -> None:
        if not self.columns or (self.numeric and len(self.columns) != 1):
            raise ScoringError(
                f"Field {self.name!r} has the columns {self.columns}; give one for a "
                "number, and at least one for categories."
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class RowScore:
    """How much of some rows was recovered, as fractions; None where no such field is.

    Attributes:
        numeric: numeric fields that are right, of all in all rows.
        categorical: categorical ones.
        rows: rows of which every field is right.
    """

    numeric: float | None
    categorical: float | None
    rows: float


def score_rows(
    reconstructed: Tensor, truth: Tensor, fields: Sequence[Field], *, spread: Tensor
) -> RowScore:
    """Score reconstructed rows against the true ones, matched.

    Args:
        reconstructed: (K, columns); a row that is not finite is none.
        truth: (M, columns), at least one. A true row without a candidate counts as
            wrong in every field.
        fields: of a row, at least one.
        spread: (columns,), what 1 % is of: highest minus lowest value of each entry
            among real rows.

    Raises:
        ScoringError: the shapes or the fields do not fit.
    """
    _check(truth, fields, spread)
    candidates = reconstructed.detach().cpu().double().reshape(-1, truth.shape[1])
    candidates = candidates[candidates.isfinite().all(dim=1)]
    ours, theirs = match(candidates, truth)
    found = truth.detach().cpu().double()[theirs]
    right = torch.zeros((len(truth), len(fields)), dtype=torch.bool)
    for place, each in enumerate(fields):
        columns = list(each.columns)
        a, b = candidates[ours][:, columns], found[:, columns]
        if each.numeric:
            tolerance = NUMERIC_TOLERANCE * float(spread[columns[0]])
            right[: len(found), place] = (a - b).abs()[:, 0] <= tolerance
        else:
            right[: len(found), place] = _category(a) == _category(b)
    numeric = torch.tensor([each.numeric for each in fields])
    return RowScore(
        numeric=_fraction(right[:, numeric]),
        categorical=_fraction(right[:, ~numeric]),
        rows=float(right.all(dim=1).double().mean()),
    )


def commonest_row(rows: Tensor, fields: Sequence[Field]) -> Tensor:
    """Return the row of medians and commonest categories, (columns,).

    Raises:
        ScoringError: there are no rows, or the fields do not fit.
    """
    _check(rows, fields, torch.zeros(rows.shape[-1]))
    row = torch.zeros(rows.shape[1], dtype=rows.dtype)
    for each in fields:
        columns = list(each.columns)
        if each.numeric:
            row[columns] = rows[:, columns].median(dim=0).values
            continue
        category = int(_category(rows[:, columns].double()).mode().values)
        if category >= 0:
            row[columns[category]] = 1.0
    return row


def _category(values: Tensor) -> Tensor:
    """Return the place of each row's largest entry, or -1 if none is above 1/2."""
    largest, place = values.max(dim=1)
    return torch.where(largest > 0.5, place, torch.full_like(place, -1))


def _fraction(right: Tensor) -> float | None:
    return float(right.double().mean()) if right.numel() else None


def _check(rows: Tensor, fields: Sequence[Field], spread: Tensor) -> None:
    if rows.dim() != 2 or len(rows) == 0 or not fields:
        raise ScoringError(
            f"Rows of shape {tuple(rows.shape)} with {len(fields)} fields cannot be "
            "scored; give at least one of each."
        )
    used = [column for each in fields for column in each.columns]
    if min(used) < 0 or max(used) >= rows.shape[1] or len(set(used)) != len(used):
        raise ScoringError(
            "Each entry of a row belongs to one field at most, and must exist; "
            f"the rows have {rows.shape[1]} entries."
        )
    if tuple(spread.shape) != (rows.shape[1],):
        raise ScoringError(
            f"spread has shape {tuple(spread.shape)}, expected ({rows.shape[1]},)."
        )
