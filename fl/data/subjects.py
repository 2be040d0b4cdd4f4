"""To whom a record belongs: one number per person, the same wherever the person is.

Only which records share a number matters. What the data call a person is compared here
and kept nowhere, so that no report, log or error can show it.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

import numpy as np
from numpy.typing import NDArray

from fl.data.cells import number_in
from fl.errors import DataError

TEST = "_test"
"""What the name of the array ends in that belongs to x_test."""


def numbered(cells: Sequence[str]) -> NDArray[np.int64]:
    """Number the persons that cells of text name, in the order of appearance.

    Equal text is one person, and so are equal numbers, however they are written: two
    persons taken for one are hidden together, one taken for two is not hidden.
    """
    known: dict[str | Decimal, int] = {}
    return np.array(
        [known.setdefault(_person(cell), len(known)) for cell in cells], dtype=np.int64
    )


def of_arrays(
    own: NDArray[np.generic] | None,
    tested: NDArray[np.generic] | None,
    *,
    name: str,
    records: tuple[int, int | None],
    where: str,
) -> NDArray[np.int64] | None:
    """Number the persons of the training records and, after them, the held-out ones.

    Args:
        own: whose each training record is.
        tested: whose each held-out record is; None without such records.
        name: of the first in the data; "" where the records have no persons.
        records: how many training and held-out records there are; None without.
        where: the arrays came from, for errors.

    Raises:
        DataError: an array is absent or of another length or type, or a person is
            both trained on and held out.
    """
    if not name:
        return None
    parts = []
    for key, array, count in (
        (name, own, records[0]),
        (name + TEST, tested, records[1]),
    ):
        if count is None:
            continue
        if array is None or array.shape != (count,) or array.dtype.kind not in "iuU":
            found = "is absent" if array is None else f"is {array.dtype}{array.shape}"
            raise DataError(
                f"{where}: {key}, which data.subject names, {found}; want one integer "
                f"or string for each of {count} records."
            )
        parts.append(array)
    numbers = numbered([str(one) for part in parts for one in part.tolist()])
    if np.isin(numbers[: records[0]], numbers[records[0] :]).any():
        raise DataError(
            f"{where}: somebody is in both {name} and {name}{TEST}, so the held-out "
            "records are not of others; move each person's records to one side."
        )
    return numbers


def _person(cell: str) -> str | Decimal:
    return cell if number_in(cell) is None else Decimal(cell)
