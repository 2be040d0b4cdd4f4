"""Who may take part in which rounds, where cohorts are not sampled.

Noise that is correlated over rounds covers a client that takes part in at most k of n
rounds, any two of them at least b apart (Choquette-Choo et al., arXiv:2306.08153:
b-min-sep participation). The limits are public constants; that nobody goes
beyond them is not assumed but enforced here, round by round.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from dp.errors import ParameterError, ParticipationRefused

ROUNDS_MAX: Final = 4096
"""Rounds of a plan; the errors of a strategy take time quadratic in them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Participation:
    """The limits, for every client alike.

    Attributes:
        rounds: n, of the whole run; nothing is released beyond them.
        separation: b >= 1: who takes part in round t may do so again from t + b on.
        most: k >= 1, rounds that one client may take part in.
    """

    rounds: int
    separation: int
    most: int

    def __post_init__(self) -> None:
        if not 1 <= self.rounds <= ROUNDS_MAX:
            raise ParameterError(
                f"rounds={self.rounds} of a plan must be in 1 to {ROUNDS_MAX}."
            )
        if not 1 <= self.separation <= self.rounds:
            raise ParameterError(
                f"separation={self.separation} must be in 1 to rounds={self.rounds}."
            )
        if self.most < 1:
            raise ParameterError(f"most={self.most} must be at least 1.")

    @property
    def count(self) -> int:
        """Return the most rounds that one client can really take part in."""
        return min(self.most, -(-self.rounds // self.separation))


class Attendance:
    """Who took part so far; refuses whoever would go beyond the limits.

    Args:
        limits: for every client.
    """

    def __init__(self, limits: Participation) -> None:
        self._limits = limits
        self._taken: dict[str, tuple[int, int]] = {}  # last round, how many

    def admit(self, client: str, round: int) -> None:
        """Note that a client takes part in a round.

        Args:
            client: its name.
            round: from 0; at no client before the one noted last.

        Raises:
            ParticipationRefused: it may not; nothing is noted.
        """
        limits = self._limits
        if not 0 <= round < limits.rounds:
            why = f"the plan has {limits.rounds} rounds"
            raise ParticipationRefused(client, round, why)
        last, count = self._taken.get(client, (-limits.separation, 0))
        if count >= limits.most:
            why = f"it took part in {count}, the most that one client may"
            raise ParticipationRefused(client, round, why)
        if round - last < limits.separation:
            why = f"it took part in {last}, less than {limits.separation} before"
            raise ParticipationRefused(client, round, why)
        self._taken[client] = (round, count + 1)
