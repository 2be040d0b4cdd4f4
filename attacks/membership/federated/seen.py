"""What an adversary measured of records in a federation, and who may be given how much.

Two kinds of evidence, the second richer than the first:

    Series       one value per round and record: of one client's updates, of a sum, or
                 of released models
    SideBySide   the same for every client of the round beside the target's

An attack says which of them is the least that it needs. Handed a richer one it refuses,
so that no figure of a poor view can come from a rich one; handed a poorer one it says
what is missing. Measurements are made without membership bits, and higher speaks for
membership.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from attacks.errors import AttackError, MissingKnowledge, ParameterError

Floats = NDArray[np.float64]
Bits = NDArray[np.bool_]


class RicherThanNeeded(AttackError):  # noqa: N818 - as its neighbours in `attacks.errors`
    """An attack was handed more than the least that it needs; the caller's fault."""

    def __init__(self, attack: str, need: str, got: str) -> None:
        super().__init__(
            f"Attack {attack!r} needs no more than {need}, but was handed {got}; take "
            "the target's own series out of it (`SideBySide.alone`)."
        )
        self.attack = attack


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Series:
    """One value per round and record.

    Attributes:
        measured: (rounds, records) float64, finite, higher for members.

    Raises:
        ParameterError: not such an array (the caller's fault).
    """

    measured: Floats = field(repr=False)

    def __post_init__(self) -> None:
        """Check the array."""
        if self.measured.ndim != 2 or 0 in self.measured.shape:
            raise ParameterError(
                f"measured has shape {self.measured.shape}; want (rounds, records) "
                "with at least one of each."
            )
        if not np.isfinite(self.measured).all():
            raise ParameterError("measured must be finite.")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SideBySide:
    """One value per round, client and record, of all whose updates are seen.

    Attributes:
        measured: (rounds, clients, records) float64, higher for members. A client that
            took no part in a round has NaN for all records there.
        target: the client whose records are asked for; it is in every round.

    Raises:
        ParameterError: not such an array, or the target missed a round (the caller's
            fault).
    """

    measured: Floats = field(repr=False)
    target: int

    def __post_init__(self) -> None:
        """Check the array and the target."""
        if self.measured.ndim != 3 or 0 in self.measured.shape:
            raise ParameterError(
                f"measured has shape {self.measured.shape}; want (rounds, clients, "
                "records) with at least one of each."
            )
        rounds, clients, _ = self.measured.shape
        if not 0 <= self.target < clients:
            raise ParameterError(f"target={self.target} must lie in 0..{clients - 1}.")
        absent = np.isnan(self.measured)
        if (absent.any(axis=2) != absent.all(axis=2)).any():
            raise ParameterError(
                "A client is in a round with all records or with none; NaN for some."
            )
        if not np.isfinite(self.measured[~absent]).all():
            raise ParameterError("measured must be finite, or NaN for who was absent.")
        if absent[:, self.target].any():
            raise ParameterError(
                f"The target is missing from {absent[:, self.target, 0].sum()} of "
                f"{rounds} rounds; leave those rounds out."
            )

    def alone(self) -> Series:
        """Return the target's own series: what a poorer attack may be given."""
        return Series(measured=self.measured[:, self.target])

    def others(self) -> Floats:
        """Return the others', (rounds, clients - 1, records), NaN for the absent."""
        return np.delete(self.measured, self.target, axis=1)


def series_of(evidence: Series | SideBySide, attack: str) -> Floats:
    """Return what was measured, for an attack that needs a series and no more.

    Raises:
        RicherThanNeeded: other clients' updates were handed over too.
    """
    if isinstance(evidence, SideBySide):
        raise RicherThanNeeded(attack, "one series", "every client's")
    return evidence.measured


def side_by_side_of(evidence: Series | SideBySide, attack: str) -> SideBySide:
    """Return the evidence of an attack that compares clients.

    Raises:
        MissingKnowledge: only one series was seen.
    """
    if isinstance(evidence, Series):
        raise MissingKnowledge(attack, "every client's update")
    return evidence
