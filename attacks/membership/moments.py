"""What shadows with and without a record say of it: counts, means, sums of squares."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from attacks.errors import ParameterError, TooFewShadows

Floats = NDArray[np.float64]

SIDE_NEEDED = 2  # shadows with, and without, each record: fewer have no spread


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """The shadows on one side of each record, per record (N,).

    Attributes:
        count: how many shadows, at least 2.
        mean: of their signal.
        squares: sum of squared deviations from the mean.
    """

    count: NDArray[np.int64]
    mean: Floats
    squares: Floats


def side(
    shadow_phi: NDArray[np.floating], chosen: NDArray[np.bool_], name: str
) -> Side:
    """Summarise the chosen shadows of each record; the others may be NaN.

    Args:
        shadow_phi: (S, N).
        chosen: (S, N), which shadows count for which record.
        name: of the side, for the error.

    Raises:
        TooFewShadows: fewer than 2 for some record.
        ParameterError: a chosen signal is not finite.
    """
    count = chosen.sum(axis=0)
    if count.min() < SIDE_NEEDED:
        raise TooFewShadows(SIDE_NEEDED, int(count.min()), f"shadows {name} record")
    phi = np.where(chosen, shadow_phi, 0.0).astype(np.float64)
    if not np.isfinite(phi).all():
        raise ParameterError("Confidences must be finite.")
    mean = phi.sum(axis=0) / count
    squares = np.where(chosen, (phi - mean) ** 2, 0.0).sum(axis=0)
    return Side(count=count, mean=mean, squares=squares)


def check_shapes(
    target_phi: NDArray[np.floating],
    shadow_phi: NDArray[np.floating],
    shadow_members: NDArray[np.bool_],
) -> None:
    """Raise ParameterError unless the arrays are (N,), (S, N) and bool (S, N)."""
    if shadow_phi.ndim != 2 or target_phi.shape != shadow_phi.shape[1:]:
        raise ParameterError(
            f"target_phi {target_phi.shape} and shadow_phi {shadow_phi.shape} must be "
            "(N,) and (S, N)."
        )
    if shadow_members.shape != shadow_phi.shape or shadow_members.dtype != np.bool_:
        raise ParameterError(
            "shadow_members must be a bool array shaped as shadow_phi."
        )
    if not np.isfinite(target_phi).all():
        raise ParameterError("Confidences must be finite.")
