"""What one cell of text says: a number, one of some tokens, a class.

Text is compared as written, or as a number where both are numbers: "1", "1.0" and
"1e0" are the same category. Cells arrive stripped.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from fl.data.settings import CONDITION

ORDERINGS: dict[str, Callable[[float, float], bool]] = {
    ">": operator.gt,
    ">=": operator.ge,
    "<": operator.lt,
    "<=": operator.le,
}


class Matcher:
    """Find which of several tokens a cell is: the same text, or the same number."""

    def __init__(self, tokens: Sequence[str]) -> None:
        self._by_text = {token: position for position, token in enumerate(tokens)}
        numbers = (
            (number_in(token), position) for position, token in enumerate(tokens)
        )
        self._by_number = {n: position for n, position in numbers if n is not None}

    def position(self, cell: str) -> int | None:
        """Return the position of the token that the cell is, or None."""
        found = self._by_text.get(cell)
        if found is not None or not self._by_number:
            return found
        number = number_in(cell)
        return None if number is None else self._by_number.get(number)


def number_in(cell: str) -> float | None:
    """Return the finite number that the cell is, or None."""
    try:
        number = float(cell)
    except ValueError:
        return None
    # float() also reads 1_000, which other programs take for text.
    return number if math.isfinite(number) and "_" not in cell else None


def labels_in(cells: Sequence[str]) -> NDArray[np.generic]:
    """Return the labels as numbers where all of them are, else as strings."""
    numbers = [number_in(cell) for cell in cells]
    if any(number is None for number in numbers):
        return np.array(cells)
    return np.array(numbers, dtype=np.float64)


def is_positive(positive: str) -> Callable[[str], bool | None]:
    """Return the test that data.positive stands for.

    Args:
        positive: "> 0" and the like, "== yes", "!= no", or a literal.

    Returns:
        A function of a cell: True, False, or None where an ordering meets a cell
        that is no number.
    """
    condition = CONDITION.fullmatch(positive)
    sign, operand = (condition[1], condition[2]) if condition else ("==", positive)
    if sign in ORDERINGS:
        compare, bound = ORDERINGS[sign], float(operand)

        def ordered(cell: str) -> bool | None:
            number = number_in(cell)
            return None if number is None else compare(number, bound)

        return ordered
    match = Matcher((operand.strip(),))
    wanted = sign == "=="
    return lambda cell: (match.position(cell) is not None) == wanted
