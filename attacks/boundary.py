"""Where a statement stops being true, found by bisection from the true side."""

from collections.abc import Callable

_STEPS = 50
_NEAR = 1e-9  # of the value
_MOST = 700.0  # exp() of more overflows; no number of guesses comes near


def largest(holds: Callable[[float], bool]) -> float:
    """Return a number where `holds` is true, next to where it stops; 0 if nowhere.

    `holds` must be true up to some number from 0 to 700 and false above it.
    """
    if not holds(0.0):
        return 0.0
    low, high = 0.0, 0.5
    while holds(high) and high < _MOST:
        low, high = high, 2 * high
    for _ in range(_STEPS):
        middle = (low + high) / 2
        low, high = (middle, high) if holds(middle) else (low, middle)
        if high - low < _NEAR * low:
            break
    return low
