"""The contract of every inversion attack: an observation in, a reconstruction out.

Follows the threat-model discipline that Huang et al. (arXiv 2112.00059) ask for: the
assumptions are fields, the answer says whether it is proven. Scoring is elsewhere
(`attacks.quality`); nothing here ever meets the truth.
"""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

import torch
from torch import Tensor

from attacks.observation import Observation


class Certificate(StrEnum):
    """What the attack itself knows about its answer, without any truth.

    CERTIFIED: a theorem says that the record is exact up to rounding.
    UNCERTIFIED: a candidate; only scoring can tell.
    REFUSED: the attack does not apply or broke down; `reason` says why.
    """

    CERTIFIED = "certified"
    UNCERTIFIED = "uncertified"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Reconstruction:
    """What an attack recovered.

    Args:
        inputs: candidate records, shape (K, *input_shape), all finite; K may be 0.
        labels: their classes, int64 (K,), or None if the attack says nothing.
        certificate: proven, candidate, or refused.
        reason: one sentence: the theorem used, or why there is none.
        objective: the attack's own final objective, if it minimises one.
        seconds: wall-clock time of the attack.
    """

    inputs: Tensor = field(repr=False)
    labels: Tensor | None = field(repr=False)
    certificate: Certificate
    reason: str
    objective: float | None
    seconds: float


class InversionAttack(Protocol):
    """An attack that rebuilds training records from an observation.

    `needs` are the fields without which it cannot run, `uses` those that it reads
    when they are known; it sees no other (`attacks.observation.require`).
    """

    @property
    def name(self) -> str:
        """The name under which results are reported."""
        ...

    @property
    def needs(self) -> frozenset[str]:
        """Fields of the observation that must be known."""
        ...

    @property
    def uses(self) -> frozenset[str]:
        """Fields of the observation that are read when known."""
        ...

    def run(self, observation: Observation, *, seed: int) -> Reconstruction:
        """Attack one observation; the same seed gives the same answer."""
        ...


def refused(observation: Observation, reason: str, seconds: float) -> Reconstruction:
    """Build the empty answer of an attack that does not apply or broke down."""
    return Reconstruction(
        inputs=torch.zeros((0, *observation.input_shape)),
        labels=None,
        certificate=Certificate.REFUSED,
        reason=reason,
        objective=None,
        seconds=seconds,
    )
