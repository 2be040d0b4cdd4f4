"""Read .csv files into a RawTable: one file, or one per site.

The first line names the columns; cells and names are stripped. Every cell must be a
finite number unless its column is declared in data.categories or the cell is declared
missing: nothing is guessed, because a guess made at one site would differ from
another's. Errors name the file, the line and the column, never the cell.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fl.data.cells import Matcher, is_positive, labels_in, number_in
from fl.data.records import RANGE, Column, Floats, RawTable, classes_of
from fl.data.settings import DataConfig
from fl.data.sheet import Sheet, read_sheet
from fl.data.subgroups import subgroups
from fl.data.subjects import numbered
from fl.errors import DataError


def load_csv(data: DataConfig) -> RawTable:
    """Return the table of data.source, or of all data.sites.

    Raises:
        DataError: the files' owner; what is wrong where, and the cure.
    """
    if data.sites:
        sheets = [
            read_sheet(data.file(name), "data.sites") for name in data.sites.values()
        ]
    else:
        sheets = [read_sheet(data.file(data.source), "data.source")]
    for sheet in sheets:
        _check_columns(sheet, sheets[0], data)
    not_features = {data.label, data.site_column, data.subject, *data.drop}
    names = [name for name in sheets[0].header if name not in not_features]
    if not names:
        raise DataError(
            f"{sheets[0].file}: no column is left besides the label; check data.drop, "
            f"and that commas separate the cells."
        )
    columns = tuple(_column(name, data) for name in names)
    labels, class_names = _classes(sheets, data)
    sites, site_names = _sites(sheets, data)
    of_subgroup, subgroup_names = subgroups(sheets, data)
    return RawTable(
        values=np.concatenate([_values(sheet, columns, data) for sheet in sheets]),
        columns=columns,
        labels=labels,
        classes=len(class_names),
        class_names=class_names,
        sites=sites,
        site_names=site_names,
        subjects=_subjects(sheets, data),
        subgroups=of_subgroup,
        subgroup_names=subgroup_names,
        provenance=", ".join(sheet.provenance for sheet in sheets),
        builtin=False,
    )


def _check_columns(sheet: Sheet, first: Sheet, data: DataConfig) -> None:
    """Check that the sheet has the columns that are named, and the first's."""
    named = {"data.label": [data.label], "data.drop": data.drop}
    named |= {"data.categories": [*data.categories], "data.bounds": [*data.bounds]}
    named |= {"data.missing_in": [*data.missing_in]}
    named |= {"data.site_column": [data.site_column] if data.site_column else []}
    named |= {"data.subject": [data.subject] if data.subject else []}
    named |= {"data.subgroup": [data.subgroup] if data.subgroup else []}
    for key, names in named.items():
        for name in names:
            if name not in sheet.header:
                near = difflib.get_close_matches(name, sheet.header, n=1)
                # The names are not listed: a file may lack the line that names them.
                cure = f"did you mean {near[0]}?" if near else "correct one of the two."
                raise DataError(
                    f"{sheet.file} has no column {name}, which {key} names; {cure}"
                )
    for here, there in ((sheet, first), (first, sheet)):
        other = sorted(set(there.header) - set(here.header) - set(data.drop))
        if other:
            raise DataError(
                f"{here.file} has no column {other[0]}, which {there.file} has; give "
                f"all sites the same columns, or name it in data.drop."
            )


def _column(name: str, data: DataConfig) -> Column:
    if name in data.categories:
        return Column(name=name, levels=data.categories[name])
    low, high = data.bounds.get(name, (-RANGE, RANGE))
    return Column(name=name, low=low, high=high)


def _values(sheet: Sheet, columns: Sequence[Column], data: DataConfig) -> Floats:
    """Return the sheet's features, (records, columns) float64, NaN where missing."""
    values = np.empty((len(sheet.rows), len(columns)))
    for position, column in enumerate(columns):
        tokens = (*data.missing, *data.missing_in.get(column.name, ()))
        missing = Matcher(tokens)
        levels = Matcher(column.levels)
        for row, cell in enumerate(sheet.column(column.name)):
            if missing.position(cell) is not None:
                _allow_missing(sheet, row, column.name, data)
                values[row, position] = math.nan
            elif column.levels:
                values[row, position] = _level(levels, cell, sheet, row, column)
            else:
                values[row, position] = _in_range(cell, sheet, row, column)
    return values


def _allow_missing(sheet: Sheet, row: int, name: str, data: DataConfig) -> None:
    if data.impute == "none":
        raise DataError(
            f"{sheet.at(row, name)}: the cell is missing; set data.impute = "
            f'"indicator+median", fill it in, or drop the column by data.drop.'
        )


def _level(levels: Matcher, cell: str, sheet: Sheet, row: int, column: Column) -> float:
    position = levels.position(cell)
    if position is None:
        raise DataError(
            f"{sheet.at(row, column.name)}: the cell is none of the declared "
            f"categories {', '.join(column.levels)}; extend data.categories, or "
            f"declare it in data.missing_in."
        )
    return float(position)


def _in_range(cell: str, sheet: Sheet, row: int, column: Column) -> float:
    number = number_in(cell)
    if number is None:
        raise DataError(
            f"{sheet.at(row, column.name)}: the cell is not a finite number; declare "
            f"it in data.missing, or the column in data.categories or data.drop."
        )
    if not column.low <= number <= column.high:
        raise DataError(
            f"{sheet.at(row, column.name)}: the cell is outside the public range "
            f"[{column.low:g}, {column.high:g}]; declare data.bounds = "
            f"{{{column.name} = [low, high]}}."
        )
    return number


def _classes(
    sheets: Sequence[Sheet], data: DataConfig
) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """Return the class of each record and the classes' names."""
    missing = Matcher((*data.missing, *data.missing_in.get(data.label, ())))
    cells: list[str] = []
    for sheet in sheets:
        for row, cell in enumerate(sheet.column(data.label)):
            if missing.position(cell) is not None:
                raise DataError(
                    f"{sheet.at(row, data.label)}: the label is missing; remove that "
                    f"record."
                )
            cells.append(cell)
    if data.positive is None:
        files = ", ".join(sheet.file for sheet in sheets)
        return classes_of(labels_in(cells), f"{files}, column {data.label}")
    return _binary(sheets, data.label, data.positive)


def _binary(
    sheets: Sequence[Sheet], label: str, positive: str
) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    test = is_positive(positive)
    labels: list[int] = []
    for sheet in sheets:
        for row, cell in enumerate(sheet.column(label)):
            holds = test(cell)
            if holds is None:
                raise DataError(
                    f"{sheet.at(row, label)}: the label is no number, which "
                    f'data.positive = "{positive}" wants; compare with "== ...".'
                )
            labels.append(int(holds))
    if len(set(labels)) < 2:
        which = "every" if labels[0] else "no"
        raise DataError(
            f'data.positive = "{positive}" holds for {which} record, so there is '
            f"nothing to learn; correct the condition."
        )
    return np.array(labels, dtype=np.int64), (f"not {positive}", positive)


def _sites(
    sheets: Sequence[Sheet], data: DataConfig
) -> tuple[NDArray[np.int64] | None, tuple[str, ...]]:
    if data.sites:
        sizes = [len(sheet.rows) for sheet in sheets]
        return np.repeat(np.arange(len(sheets)), sizes), tuple(data.sites)
    if data.site_column:
        cells = np.array(sheets[0].column(data.site_column))
        names, of = np.unique(cells, return_inverse=True)
        return of.astype(np.int64), tuple(str(name) for name in names)
    return None, ()


def _subjects(sheets: Sequence[Sheet], data: DataConfig) -> NDArray[np.int64] | None:
    """Number the persons over all sheets together; None where none are named."""
    if not data.subject:
        return None
    missing = Matcher((*data.missing, *data.missing_in.get(data.subject, ())))
    cells: list[str] = []
    for sheet in sheets:
        for row, cell in enumerate(sheet.column(data.subject)):
            if missing.position(cell) is not None:
                raise DataError(
                    f"{sheet.at(row, data.subject)}: the cell is missing, so nobody "
                    "knows to whom the record belongs; fill it in, or remove that "
                    "record."
                )
            cells.append(cell)
    return numbered(cells)
