"""What is known of a table without looking at it: the bounds that were declared.

Differential privacy covers what is released of the records, and medians learnt from
exact sums would be released without noise. Under such a protection a table is therefore
standardised by public constants alone.
"""

from __future__ import annotations

import numpy as np

from fl.data.prepare import Learnt
from fl.data.records import RANGE, RawTable
from fl.errors import DataError

# A value uniform on a range of width w has the standard deviation w / sqrt(12).
_WIDTHS = 12**0.5


def declared(table: RawTable) -> Learnt:
    """Return scales from the public bounds of the columns; nothing is released.

    Guarantee: the result depends on the declared columns only, never on a value. Every
    numeric column counts as one that somebody may miss a value of.

    Raises:
        DataError: a numeric column has no declared bounds.
    """
    numeric = [j for j, column in enumerate(table.columns) if not column.levels]
    unknown = [
        table.columns[j].name
        for j in numeric
        if (table.columns[j].low, table.columns[j].high) == (-RANGE, RANGE)
    ]
    if unknown:
        raise DataError(
            f"differential privacy needs public bounds for the columns "
            f"{', '.join(unknown)}, since scales learnt from records would be released "
            f"without noise; declare data.bounds = {{{unknown[0]} = [low, high]}} and "
            "so on."
        )
    low = np.array([column.low for column in table.columns])
    high = np.array([column.high for column in table.columns])
    median, scale = np.zeros(len(table.columns)), np.ones(len(table.columns))
    median[numeric] = ((low + high) / 2)[numeric]
    scale[numeric] = ((high - low) / _WIDTHS)[numeric]
    return Learnt(
        median=median,
        scale=scale,
        holes=tuple(numeric),
        sums=0,
        numbers=0,
        reveals="nothing: columns are scaled by their declared bounds.",
    )
