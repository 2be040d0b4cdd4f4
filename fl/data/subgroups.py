"""Which subgroup of people a record is of, as a column of a table names it.

Only the page on who is exposed reads it: training does not. The names of subgroups are
shown there, as the names of classes are, so a column of more than a few is refused; it
may be what tells people apart.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fl.data.cells import Matcher, number_in
from fl.data.settings import DataConfig
from fl.data.sheet import Sheet
from fl.errors import DataError

MOST_SUBGROUPS = 20
NOBODY = -1  # the subgroup of a record whose cell is missing


def subgroups(
    sheets: Sequence[Sheet], data: DataConfig
) -> tuple[NDArray[np.int64] | None, tuple[str, ...]]:
    """Number the subgroups over all sheets together, in the order of their names.

    Returns:
        (N,) positions in the names, -1 where the cell is missing, and the names; None
        and () where no column is named.

    Raises:
        DataError: the column has more than 20 values, or fewer than two.
    """
    if not data.subgroup:
        return None, ()
    missing = Matcher((*data.missing, *data.missing_in.get(data.subgroup, ())))
    cells = [_plain(cell) for one in sheets for cell in one.column(data.subgroup)]
    there = [missing.position(cell) is None for cell in cells]
    names = sorted({cell for cell, known in zip(cells, there, strict=True) if known})
    if not 2 <= len(names) <= MOST_SUBGROUPS:
        raise DataError(
            f"data.subgroup names the column {data.subgroup}, which has {len(names)} "
            f"different values; name one that divides the records into 2 to "
            f"{MOST_SUBGROUPS} subgroups, whose names the page may show."
        )
    at = {name: place for place, name in enumerate(names)}
    numbers = [
        at[cell] if known else NOBODY for cell, known in zip(cells, there, strict=True)
    ]
    return np.array(numbers, dtype=np.int64), tuple(names)


def _plain(cell: str) -> str:
    """Write a number in one way: sites may differ in how they do."""
    number = number_in(cell)
    return cell if number is None else f"{number:.12g}"
