"""Difficulty calibration: a signal less what models without the record say of it.

Watson et al. (ICLR 2022, "On the importance of difficulty calibration in membership
inference attacks"): an easy record has a low loss under every model, so the
attack looks at the difference. Only shadows without the record are looked at.
"""

import numpy as np
from numpy.typing import NDArray

from attacks.errors import ParameterError, TooFewShadows

Floats = NDArray[np.float64]


def calibrated(
    target_signal: NDArray[np.floating],
    shadow_signal: NDArray[np.floating],
    shadow_members: NDArray[np.bool_],
) -> Floats:
    """Return the target's signal less its mean over shadows without the record.

    Args:
        target_signal: higher for members, (N,).
        shadow_signal: the same under each shadow, (S, N); what shadows say of their
            own members is not looked at and may be NaN.
        shadow_members: which records trained which shadow, (S, N).

    Returns:
        float64 (N,).

    Raises:
        TooFewShadows: some record is in every shadow.
        ParameterError: arrays do not fit, or what is looked at is not finite.
    """
    return np.asarray(
        target_signal.astype(np.float64)
        - mean_without(shadow_signal, shadow_members, len(target_signal))
    )


def mean_without(
    shadow_signal: NDArray[np.floating],
    shadow_members: NDArray[np.bool_],
    records: int,
) -> Floats:
    """Return each record's mean signal over the shadows without it, (N,)."""
    if shadow_signal.ndim != 2 or shadow_signal.shape != shadow_members.shape:
        raise ParameterError("shadow_signal and shadow_members must both be (S, N).")
    if shadow_signal.shape[1] != records:
        raise ParameterError(
            f"Shadows speak of {shadow_signal.shape[1]} records, the target of "
            f"{records}."
        )
    outside = ~shadow_members
    count = outside.sum(axis=0)
    if count.min() < 1:
        raise TooFewShadows(1, 0, "shadows without each record")
    seen = np.where(outside, shadow_signal, 0.0)
    if not np.isfinite(seen).all():
        raise ParameterError("Signals must be finite.")
    return np.asarray(seen.sum(axis=0, dtype=np.float64) / count)
