"""What a membership attack may know, and a guard that hands it no more than it needs.

An attack declares its `Needs`; `Known.only` leaves out everything else, and asking for
what was left out raises `MissingKnowledge`. Nothing here says who the target's members
are: that enters when scores are judged.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from functools import cached_property
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from attacks.errors import MissingKnowledge, ParameterError
from attacks.membership.signals import (
    Floats,
    log_confidence,
    logit_scaled_confidence,
    negative_entropy,
    negative_modified_entropy,
)

Singles = NDArray[np.float32]
Part = TypeVar("Part")
_SIGNALS = ("phi", "log_p", "entropy", "modified_entropy")


class Shadowing(Enum):
    """What an attack needs to see of shadow models."""

    NONE = "none"
    OUT = "shadows without the record"
    BOTH = "shadows with and without the record"


class Answers(Enum):
    """What an attack needs to see of the target's answers."""

    LOGITS = "logits"
    CLASSES = "predicted classes"


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """The least that an attack works with.

    Attributes:
        answers: of the target.
        shadows: models trained like the target, on records of the attacker's choice.
        population: records known not to be members, none of which is scored.
        features: the records themselves.
        copies: the target's answers on altered copies of the records.
        rounds: the models of several rounds instead of the last one alone.
    """

    answers: Answers = Answers.LOGITS
    shadows: Shadowing = Shadowing.NONE
    population: bool = False
    features: bool = False
    copies: bool = False
    rounds: bool = False


@dataclass(frozen=True, kw_only=True)
class ShadowAnswers:
    """What shadows say of every record, and who trained which; signals kept once.

    Attributes:
        logits: (S, N, C) float32.
        labels: (N,).
        members: (S, N) bool.
    """

    logits: Singles
    labels: NDArray[np.integer]
    members: NDArray[np.bool_]

    def __post_init__(self) -> None:
        fits = self.logits.ndim == 3 and self.logits.shape[:2] == self.members.shape
        if not fits or self.labels.shape != self.members.shape[1:]:
            raise ParameterError(
                f"logits {self.logits.shape}, members {self.members.shape} and labels "
                f"{self.labels.shape} must be (S, N, C), (S, N) and (N,)."
            )

    # One shadow at a time, kept in float32: float64 copies of all logits are large.

    @cached_property
    def phi(self) -> Singles:
        """Return the logit-scaled confidences, (S, N)."""
        return _stacked(
            [logit_scaled_confidence(one, self.labels) for one in self.logits]
        )

    @cached_property
    def log_p(self) -> Singles:
        """Return the log confidences, (S, N)."""
        return _stacked([log_confidence(one, self.labels) for one in self.logits])

    @cached_property
    def entropy(self) -> Singles:
        """Return the negative entropies, (S, N)."""
        return _stacked([negative_entropy(one) for one in self.logits])

    @cached_property
    def modified_entropy(self) -> Singles:
        """Return the negative modified entropies, (S, N)."""
        return _stacked(
            [negative_modified_entropy(one, self.labels) for one in self.logits]
        )

    def take(self, chosen: NDArray[np.bool_]) -> ShadowAnswers:
        """Return some of the shadows, with what was computed of them."""
        part = ShadowAnswers(
            logits=self.logits[chosen], labels=self.labels, members=self.members[chosen]
        )
        for name in _SIGNALS:
            if name in self.__dict__:
                part.__dict__[name] = self.__dict__[name][chosen]
        return part

    @cached_property
    def without(self) -> ShadowsWithout:
        """Return the same with NaN wherever a shadow trained on the record."""
        return ShadowsWithout(
            phi=np.where(self.members, np.float32(np.nan), self.phi),
            log_p=np.where(self.members, np.float32(np.nan), self.log_p),
            members=self.members,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ShadowsWithout:
    """Signals of shadows on records not their own, NaN on their own, (S, N)."""

    phi: Singles
    log_p: Singles
    members: NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What an attacker knows of one target; None is what was not handed over.

    Attributes:
        labels: (N,), of all records.
        seed: of whatever the attack draws.
        logits: of the target, (N, C).
        shadows: trained like the target, on both sides of each record.
        without: the part of ``shadows`` that an attacker without the records has.
        prior: `a` of RMIA as tuned on the shadows; it speaks of no record.
        population: which records are known not to be members, (N,) bool.
        features: the records, (N, ...).
        copies: predicted classes on altered copies, (Q, N).
        rounds: logits of the models of several rounds, (T, N, C).
    """

    labels: NDArray[np.integer]
    seed: int = 0
    logits: NDArray[np.floating] | None = None
    shadows: ShadowAnswers | None = None
    without: ShadowsWithout | None = None
    prior: float | None = None
    population: NDArray[np.bool_] | None = None
    features: NDArray[np.floating] | None = None
    copies: NDArray[np.integer] | None = None
    rounds: NDArray[np.floating] | None = None

    def only(self, needs: Needs) -> Known:
        """Return what an attack of these needs may see: the rest is None."""
        both = needs.shadows is Shadowing.BOTH
        out = needs.shadows is Shadowing.OUT
        without = self.without
        if out and without is None and self.shadows is not None:
            without = self.shadows.without
        return Known(
            labels=self.labels,
            seed=self.seed,
            logits=self.logits if needs.answers is Answers.LOGITS else None,
            shadows=self.shadows if both else None,
            without=without if out else None,
            prior=self.prior if out else None,
            population=self.population if needs.population else None,
            features=self.features if needs.features else None,
            copies=self.copies if needs.copies else None,
            rounds=self.rounds if needs.rounds else None,
        )

    @property
    def phi(self) -> Floats:
        """Return the target's logit-scaled confidences, (N,)."""
        return logit_scaled_confidence(given(self.logits, "logits"), self.labels)

    @property
    def log_p(self) -> Floats:
        """Return the target's log confidences, (N,)."""
        return log_confidence(given(self.logits, "logits"), self.labels)


def given(part: Part | None, name: str) -> Part:
    """Return the part, or raise MissingKnowledge if it was not handed over."""
    if part is None:
        raise MissingKnowledge("membership", name)
    return part


def _stacked(rows: list[Floats]) -> Singles:
    return np.stack(rows).astype(np.float32)
