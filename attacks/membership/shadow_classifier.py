"""The shadow classifier: what does a model's answer look like when it knew the record?

Shokri et al. (S&P 2017, "Membership inference attacks against machine learning
models"): a classifier learns from shadows, whose members are known, to tell the answers
for members from others. Theirs is one per class; here one for all classes sees the
label, so that rare classes lend each other strength.
"""

import numpy as np
from numpy.typing import NDArray

from attacks.errors import ParameterError
from attacks.membership.signals import log_confidence

Floats = NDArray[np.float64]

# Answers learnt from: more hardly move the classifier and take their time.
MOST_ROWS = 20_000
# Largest probabilities kept, as in "top 10" of the paper's follow-ups.
TOP = 10
# log p below this says no more than "never".
_LEAST = -50.0


def shadow_classifier(
    target_logits: NDArray[np.floating],
    labels: NDArray[np.integer],
    shadow_logits: NDArray[np.floating],
    shadow_members: NDArray[np.bool_],
    *,
    seed: int,
) -> Floats:
    """Score records by the classifier's log odds that the target knew them.

    It sees the sorted probabilities, that of the label, and the label; it is fitted on
    answers of shadows alone (at most 20 000 of them, drawn by the seed).

    Args:
        target_logits: (N, C).
        labels: (N,).
        shadow_logits: (S, N, C).
        shadow_members: which records trained which shadow, (S, N).
        seed: of the draw and the classifier.

    Returns:
        float64 (N,).

    Raises:
        ParameterError: arrays do not fit or are not finite, or shadows without members
            or without others.
    """
    if shadow_logits.shape[1:] != target_logits.shape or target_logits.ndim != 2:
        raise ParameterError(
            f"target_logits {target_logits.shape} and shadow_logits "
            f"{shadow_logits.shape} must be (N, C) and (S, N, C)."
        )
    if shadow_members.shape != shadow_logits.shape[:2]:
        raise ParameterError("shadow_members must be (S, N).")
    if shadow_members.all() or not shadow_members.any():
        raise ParameterError("Shadows need members and others.")
    count = shadow_members.size
    rng = np.random.default_rng(seed)
    rows = rng.choice(count, size=min(count, MOST_ROWS), replace=False)
    shadow, record = np.divmod(rows, len(labels))
    bits = shadow_members[shadow, record]
    if bits.all() or not bits.any():
        raise ParameterError("Shadows need members and others.")
    # Here, not above: everybody who imports attacks would wait for it.
    from sklearn.ensemble import HistGradientBoostingClassifier

    model = HistGradientBoostingClassifier(
        max_iter=60,
        max_leaf_nodes=15,
        categorical_features=[0],
        early_stopping=False,
        random_state=seed % 2**32,
    )
    model.fit(_seen(shadow_logits[shadow, record], labels[record]), bits)
    return np.asarray(
        model.decision_function(_seen(target_logits, labels)), dtype=np.float64
    )


def _seen(logits: NDArray[np.floating], labels: NDArray[np.integer]) -> Floats:
    """Return what the classifier sees of each answer, (N, 2 + top)."""
    own = log_confidence(logits, labels)
    z = logits.astype(np.float64)
    z -= z.max(axis=1, keepdims=True)
    log_p = z - np.log(np.exp(z).sum(axis=1, keepdims=True))
    ranked = -np.sort(-log_p, axis=1)[:, :TOP]
    # Boosting tolerates at most 255 categories: labels beyond are not told apart.
    seen = np.column_stack([np.minimum(labels, 254), own, ranked])
    return np.asarray(np.maximum(seen, _LEAST), dtype=np.float64)
