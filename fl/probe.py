"""A piece of a round to time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from secagg.cost import Operation


@dataclass(frozen=True, slots=True)
class Probe:
    """A call, and how many operations it stands for."""

    operation: Operation
    call: Callable[[], object]
    operations: float = 1.0
