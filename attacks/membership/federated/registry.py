"""The attacks on updates and sums, by name; a new one is one entry here.

Each says what it reads of a record in a change of the model, and how it judges that
where it sees one series alone, and where it sees every client's. Where only a series is
needed, a richer view is cut down to the target's own series before it is handed over.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from attacks.membership.federated.fedmia import fedmia, fedmia_as_published
from attacks.membership.federated.gradients import gradient_cosine, gradient_difference
from attacks.membership.federated.seen import Floats, Series, SideBySide
from attacks.membership.federated.series import loss_series
from attacks.membership.federated.sums import against_population

Bits = NDArray[np.bool_]


class Signal(StrEnum):
    """What is read of a record, per change of the model; higher speaks for a member."""

    COSINE = "cosine of the change with the record's gradient"
    DIFFERENCE = "how much nearer the record's gradient brings the change to zero"
    FILTER = "the record's gradient in the change, against the population's"
    LOSS = "negative loss of the changed model"
    CONFIDENCE = "logit-scaled confidence of the changed model"


# What a model says of records needs no change: the released model will do.
OF_MODELS = frozenset({Signal.LOSS, Signal.CONFIDENCE})


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Population:
    """Records that the attacker knows to be in nobody's training.

    Attributes:
        known: (records,) bool.
        labels: (records,) of all records.
    """

    known: Bits
    labels: NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class FederatedAttack:
    """One attack.

    Attributes:
        title: as on the page.
        signal: what it reads.
        alone: scores from one series; the least that it needs, if nothing else is said.
        beside: scores from every client's where these are seen; None if it has no use
            for them.
    """

    title: str
    signal: Signal
    alone: Callable[[Series, Population], Floats]
    beside: Callable[[SideBySide], Floats] | None = None

    def scores(self, evidence: Series | SideBySide, population: Population) -> Floats:
        """Score records, taking no more of the evidence than the attack needs.

        Returns:
            (records,), higher for members.

        Raises:
            ParameterError: a round has too few clients, or the population too few
                records.
        """
        if isinstance(evidence, Series):
            return self.alone(evidence, population)
        if self.beside is None:
            return self.alone(evidence.alone(), population)
        return self.beside(evidence)


def _calibrated(series: Series, population: Population) -> Floats:
    return against_population(series, population.known, population.labels)


ATTACKS: Mapping[str, FederatedAttack] = {
    "gradient-cosine": FederatedAttack(
        title="gradient cosine",
        signal=Signal.COSINE,
        alone=lambda series, _: gradient_cosine(series),
    ),
    "gradient-difference": FederatedAttack(
        title="gradient difference",
        signal=Signal.DIFFERENCE,
        alone=lambda series, _: gradient_difference(series),
    ),
    "loss-series": FederatedAttack(
        title="loss over rounds",
        signal=Signal.LOSS,
        alone=lambda series, _: loss_series(series),
    ),
    "matched-filter": FederatedAttack(
        title="matched filter", signal=Signal.FILTER, alone=_calibrated
    ),
    "fedmia": FederatedAttack(
        title="FedMIA (confidence)",
        signal=Signal.CONFIDENCE,
        alone=_calibrated,
        beside=fedmia,
    ),
    "fedmia-cosine": FederatedAttack(
        title="FedMIA (cosine)",
        signal=Signal.COSINE,
        alone=_calibrated,
        beside=fedmia,
    ),
    "fedmia-difference": FederatedAttack(
        title="FedMIA (difference)",
        signal=Signal.DIFFERENCE,
        alone=_calibrated,
        beside=fedmia,
    ),
    "fedmia-published": FederatedAttack(
        title="FedMIA-I as published",
        signal=Signal.LOSS,
        alone=_calibrated,
        beside=fedmia_as_published,
    ),
    "fedmia-cosine-published": FederatedAttack(
        title="FedMIA-II as published",
        signal=Signal.COSINE,
        alone=_calibrated,
        beside=fedmia_as_published,
    ),
}
