"""One threshold per class, learnt from shadow models: Song and Mittal's attacks.

Song and Mittal (USENIX Security 2021) compare a signal with a threshold of
the record's class, chosen on models of which the attacker knows the members. What is
returned here is how far the signal lies above it, so that a whole ROC can be drawn.
"""

import numpy as np
from numpy.typing import NDArray

from attacks.errors import ParameterError

Floats = NDArray[np.float64]


def class_thresholds(
    shadow_signal: NDArray[np.floating],
    shadow_members: NDArray[np.bool_],
    labels: NDArray[np.integer],
    classes: int,
) -> Floats:
    """Choose, per class, where members and others of the shadows part best.

    Args:
        shadow_signal: higher for members, (S, N).
        shadow_members: which records trained which shadow, (S, N).
        labels: (N,), in 0..classes-1.
        classes: number of classes.

    Returns:
        float64 (classes,): the highest of the thresholds of greatest balanced
        accuracy, half-way to the next lower signal; a class without both kinds of
        record gets that of all classes together.

    Raises:
        ParameterError: arrays do not fit, are not finite, or hold one kind only.
    """
    fits = shadow_signal.shape == shadow_members.shape
    if shadow_signal.ndim != 2 or not fits or labels.shape != shadow_signal.shape[1:]:
        raise ParameterError(
            f"shadow_signal {shadow_signal.shape}, shadow_members "
            f"{shadow_members.shape} and labels {labels.shape} must be (S, N), (S, N) "
            "and (N,)."
        )
    if not np.isfinite(shadow_signal).all():
        raise ParameterError("Signals must be finite.")
    if shadow_members.all() or not shadow_members.any():
        raise ParameterError("Shadows need members and others.")
    common = _best(shadow_signal.ravel(), shadow_members.ravel())
    found = np.full(classes, common)
    for one in range(classes):
        own = labels == one
        inside = shadow_members[:, own].ravel()
        if inside.any() and not inside.all():
            found[one] = _best(shadow_signal[:, own].ravel(), inside)
    return found


def above_threshold(
    signal: NDArray[np.floating], labels: NDArray[np.integer], thresholds: Floats
) -> Floats:
    """Score records by how far their signal lies above their class's threshold, (N,).

    Raises:
        ParameterError: arrays do not fit, or a label has no threshold.
    """
    if signal.shape != labels.shape or signal.ndim != 1:
        raise ParameterError("signal and labels must be vectors of one length.")
    if labels.size and not 0 <= int(labels.min()) <= int(labels.max()) < len(
        thresholds
    ):
        raise ParameterError(f"labels must lie in 0..{len(thresholds) - 1}.")
    return np.asarray(signal.astype(np.float64) - thresholds[labels])


def _best(signal: NDArray[np.floating], inside: NDArray[np.bool_]) -> float:
    """Return the threshold of greatest balanced accuracy; members lie above it."""
    order = np.argsort(-signal, kind="stable")
    values, bits = signal[order].astype(np.float64), inside[order]
    gain = np.cumsum(bits) / bits.sum() - np.cumsum(~bits) / (~bits).sum()
    last = np.append(values[1:] < values[:-1], True)  # of a run of equal signals
    at = int(np.where(last, gain, -np.inf).argmax())
    if at + 1 == len(values):
        return float(values[at])
    return float((values[at] + values[at + 1]) / 2)
