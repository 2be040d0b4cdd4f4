"""Black-box membership signals of one model; higher means member.

The loss threshold of Yeom et al. (CSF 2018) and the logit-scaled confidence of Carlini
et al. (S&P 2022, section V-C). Labels are needed; gradients and internals are not used.
"""

import numpy as np
from numpy.typing import NDArray

from attacks.errors import ParameterError

Floats = NDArray[np.float64]


def loss_threshold(losses: NDArray[np.floating]) -> Floats:
    """Score records by their negative loss, (N,) to (N,).

    Raises:
        ParameterError: a loss is not finite, or the array is not a vector.
    """
    if losses.ndim != 1 or not np.isfinite(losses).all():
        raise ParameterError("losses must be a vector of finite numbers.")
    return -losses.astype(np.float64)


def logit_scaled_confidence(
    logits: NDArray[np.floating], labels: NDArray[np.integer]
) -> Floats:
    """Return `log p_y - log sum_{c != y} p_c` for each record.

    Computed from the logits as `z_y - logsumexp(z_others)`: `log(1 - p_y)` would lose
    every digit exactly where members are most visible.

    Args:
        logits: (..., N, C), C at least 2, finite.
        labels: (N,), in 0..C-1.

    Returns:
        float64 (..., N).

    Raises:
        ParameterError: shapes, labels or logits cannot be used.

    Source: Carlini et al. 2022, equation after figure 4 (phi).
    """
    if logits.ndim < 2 or logits.shape[-1] < 2:
        raise ParameterError(
            f"logits must be (..., N, C) with C >= 2, not {logits.shape}."
        )
    classes = logits.shape[-1]
    if labels.shape != logits.shape[-2:-1]:
        raise ParameterError(
            f"labels have shape {labels.shape} but logits {logits.shape} hold "
            f"{logits.shape[-2]} records."
        )
    if labels.size and not 0 <= int(labels.min()) <= int(labels.max()) < classes:
        raise ParameterError(f"labels must lie in 0..{classes - 1}.")
    z = logits.astype(np.float64)
    if not np.isfinite(z).all():
        raise ParameterError("logits must be finite.")
    is_label = np.arange(classes) == labels[:, None]
    own = np.where(is_label, z, 0.0).sum(axis=-1)
    others = np.where(is_label, -np.inf, z)
    top = others.max(axis=-1)
    rest = np.log(np.exp(others - top[..., None]).sum(axis=-1))
    return np.asarray(own - (top + rest), dtype=np.float64)
