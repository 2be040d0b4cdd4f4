"""Black-box membership signals of one model; higher means member.

The loss threshold of Yeom et al. (CSF 2018), the logit-scaled confidence of Carlini et
al. (S&P 2022, section V-C), and the confidence, entropy and modified entropy of Song
and Mittal (USENIX Security 2021). Gradients and internals are not used;
every signal is computed from logits in float64, without `log(1 - p)`, which would lose
every digit exactly where members are most visible.
"""

import numpy as np
from numpy.typing import NDArray

from attacks.errors import ParameterError

Floats = NDArray[np.float64]
Logits = NDArray[np.floating]
Labels = NDArray[np.integer]


def loss_threshold(losses: NDArray[np.floating]) -> Floats:
    """Score records by their negative loss, (N,) to (N,).

    Raises:
        ParameterError: a loss is not finite, or the array is not a vector.
    """
    if losses.ndim != 1 or not np.isfinite(losses).all():
        raise ParameterError("losses must be a vector of finite numbers.")
    return -losses.astype(np.float64)


def logit_scaled_confidence(logits: Logits, labels: Labels) -> Floats:
    """Return `log p_y - log sum_{c != y} p_c` for each record.

    Computed from the logits as `z_y - logsumexp(z_others)`.

    Args:
        logits: (..., N, C), C at least 2, finite.
        labels: (N,), in 0..C-1.

    Returns:
        float64 (..., N).

    Raises:
        ParameterError: shapes, labels or logits cannot be used.

    Source: Carlini et al. 2022, equation after figure 4 (phi).
    """
    z, is_label = _checked(logits, labels)
    own = np.where(is_label, z, 0.0).sum(axis=-1)
    return np.asarray(own - _log_sum(np.where(is_label, -np.inf, z)), dtype=np.float64)


def log_confidence(logits: Logits, labels: Labels) -> Floats:
    """Return `log p_y`, the negative cross-entropy, for each record.

    Args and Raises as `logit_scaled_confidence`.

    Returns:
        float64 (..., N), at most 0.
    """
    phi = logit_scaled_confidence(logits, labels)
    return np.asarray(-np.logaddexp(0.0, -phi), dtype=np.float64)


def negative_entropy(logits: Logits) -> Floats:
    """Return `sum_c p_c log p_c`, which asks for no label: (..., N, C) to (..., N).

    Raises:
        ParameterError: logits cannot be used.

    Source: Song and Mittal 2021, entropy, as a score.
    """
    log_p, _, _ = _log_softmax(_finite(logits))
    return np.asarray((np.exp(log_p) * log_p).sum(axis=-1), dtype=np.float64)


def negative_modified_entropy(logits: Logits, labels: Labels) -> Floats:
    """Return `(1 - p_y) log p_y + sum_{c != y} p_c log(1 - p_c)` for each record.

    Zero if the model is sure of the label, very negative if it is sure of another:
    unlike the entropy, it tells the two apart.

    Args and Raises as `logit_scaled_confidence`.

    Source: Song and Mittal 2021, modified entropy, as a score.
    """
    z, is_label = _checked(logits, labels)
    log_p, log_others, top = _log_softmax(z)
    # Only the largest p can be near 1, where 1 - p has no digits left.
    log_rest = np.where(top, log_others, np.log1p(-np.where(top, 0.0, np.exp(log_p))))
    own = np.exp(log_rest) * log_p
    return np.asarray(
        np.where(is_label, own, np.exp(log_p) * log_rest).sum(axis=-1),
        dtype=np.float64,
    )


def _checked(logits: Logits, labels: Labels) -> tuple[Floats, NDArray[np.bool_]]:
    """Return the logits in float64, and which class is each record's label, (N, C)."""
    z = _finite(logits)
    classes = z.shape[-1]
    if labels.shape != z.shape[-2:-1]:
        raise ParameterError(
            f"labels have shape {labels.shape} but logits {logits.shape} hold "
            f"{logits.shape[-2]} records."
        )
    if labels.size and not 0 <= int(labels.min()) <= int(labels.max()) < classes:
        raise ParameterError(f"labels must lie in 0..{classes - 1}.")
    return z, np.arange(classes) == labels[:, None]


def _finite(logits: Logits) -> Floats:
    if logits.ndim < 2 or logits.shape[-1] < 2:
        raise ParameterError(
            f"logits must be (..., N, C) with C >= 2, not {logits.shape}."
        )
    z = logits.astype(np.float64)
    if not np.isfinite(z).all():
        raise ParameterError("logits must be finite.")
    return z


def _log_softmax(z: Floats) -> tuple[Floats, Floats, NDArray[np.bool_]]:
    """Return log p, log of what the largest p leaves (..., 1), and which is largest.

    Where p is near 1, its logarithm has the digits of 1 - p.
    """
    top = np.arange(z.shape[-1]) == z.argmax(axis=-1)[..., None]
    gap = (z.max(axis=-1) - _log_sum(np.where(top, -np.inf, z)))[..., None]
    largest, others = -np.logaddexp(0.0, -gap), -np.logaddexp(0.0, gap)
    log_p = np.where(top, largest, z - z.max(axis=-1)[..., None] + largest)
    return log_p, others, top


def _log_sum(z: Floats) -> Floats:
    """Return log sum exp over the last axis; some entry of each row is finite."""
    top = z.max(axis=-1)
    found = top + np.log(np.exp(z - top[..., None]).sum(axis=-1))
    return np.asarray(found, dtype=np.float64)
