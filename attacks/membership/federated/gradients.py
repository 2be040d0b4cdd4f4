"""How far an update moved along a record's own gradient: cosine and difference.

Li, Li and Ribeiro, "Effective passive membership inference attacks in federated
learning against overparameterized models" (ICLR 2023): in a model with many parameters
the gradients of different records are nearly orthogonal, so an update has a part along
a record's gradient if that record was in it.

Both need one change a round, of a client or of a sum. Neither needs any gradient made:
their inner products with the change and their norms will do, and whoever owns the model
fills `RecordGradients` with those.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from attacks.errors import ParameterError
from attacks.membership.federated.seen import Series, SideBySide, series_of

Floats = NDArray[np.float64]
COSINE, DIFFERENCE = "gradient cosine", "gradient difference"


class RecordGradients(Protocol):
    """The gradients of records' losses at one model."""

    def norms(self) -> Floats:
        """Return their L2 norms, (records,)."""

    def along(self, directions: NDArray[np.floating]) -> Floats:
        """Return their inner products with vectors of the model's length.

        Args:
            directions: (vectors, parameters).

        Returns:
            (vectors, records).
        """


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Alignment:
    """Changes of one model against the gradients of records at it.

    A change is given as a *descent*: model before less model after, so that a positive
    inner product says that the record's loss was lowered.

    Attributes:
        inner: (changes, records), change times gradient.
        changes: (changes,) L2 norms.
        gradients: (records,) L2 norms.

    Raises:
        ParameterError: shapes do not fit or a number is not finite (the caller's).
    """

    inner: Floats = field(repr=False)
    changes: Floats = field(repr=False)
    gradients: Floats = field(repr=False)

    def __post_init__(self) -> None:
        """Check shapes and numbers."""
        fits = self.changes.shape + self.gradients.shape
        if self.inner.ndim != 2 or self.inner.shape != fits:
            raise ParameterError(
                f"inner has shape {self.inner.shape}; want (changes, records) = {fits}."
            )
        for one in (self.inner, self.changes, self.gradients):
            if not np.isfinite(one).all():
                raise ParameterError("Inner products and norms must be finite.")

    @staticmethod
    def of(gradients: RecordGradients, descents: NDArray[np.floating]) -> Alignment:
        """Measure descents, (changes, parameters), against records' gradients."""
        vectors = descents.astype(np.float64)
        return Alignment(
            inner=gradients.along(descents),
            changes=np.linalg.norm(vectors, axis=1),
            gradients=gradients.norms(),
        )

    def cosines(self) -> Floats:
        """Return the cosines, (changes, records); 0 where a norm is 0."""
        scale = self.changes[:, None] * self.gradients
        return np.divide(
            self.inner, scale, out=np.zeros_like(self.inner), where=scale > 0
        )

    def differences(self, steps: Floats) -> Floats:
        """Return `|d|^2 - |d - g|^2 = 2 <d, g> - |g|^2`, d a change per unit of step.

        Args:
            steps: (changes,) how far one gradient moves the model over the whole round
                (learning rate times steps), times the share that a single record has in
                it; positive. The nearer, the better the attack; any will do.

        Returns:
            (changes, records).
        """
        if steps.shape != self.changes.shape or not (steps > 0).all():
            raise ParameterError("steps must be one positive number per change.")
        return 2 * self.inner / steps[:, None] - self.gradients**2


def gradient_cosine(evidence: Series | SideBySide) -> Floats:
    """Score records by the mean over rounds of `Alignment.cosines` of one series.

    The mean over rounds is fixed beforehand; the best round is for an oracle to know.

    Returns:
        (records,), higher for members.

    Raises:
        RicherThanNeeded: handed more than one series (the caller's fault).
    """
    return np.asarray(series_of(evidence, COSINE).mean(axis=0))


def gradient_difference(evidence: Series | SideBySide) -> Floats:
    """Score records by the mean over rounds of `Alignment.differences` of one series.

    Returns:
        (records,), higher for members.

    Raises:
        RicherThanNeeded: handed more than one series (the caller's fault).
    """
    return np.asarray(series_of(evidence, DIFFERENCE).mean(axis=0))
