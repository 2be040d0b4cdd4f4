"""What a ledger is kept in: units, budgets, and the entries that say what was spent."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias, get_args

from dp.errors import ParameterError

Unit: TypeAlias = Literal["example", "subject", "client"]
UNITS: Final[tuple[str, ...]] = get_args(Unit)


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """The most that all releases about one party may come to.

    Attributes:
        epsilon: > 0, finite.
        delta: in (0, 1), at which every epsilon of the ledger is stated.
    """

    epsilon: float
    delta: float

    def __post_init__(self) -> None:
        if not 0 < self.epsilon < math.inf:
            raise ParameterError(
                f"The budget's epsilon={self.epsilon} must be positive and finite."
            )
        if not 0 < self.delta < 1:
            raise ParameterError(
                f"The budget's delta={self.delta} must lie between 0 and 1."
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One recorded spending.

    Attributes:
        party: whose units were released about.
        event: the mechanism, in words.
        count: how many such releases.
        run: that made them.
        round: of that run.
        committed: whether it is known that they were made; they count either way.
    """

    party: str
    event: str
    count: int
    run: str
    round: int
    committed: bool
