"""Property inference: do the records behind an update share a property?

Melis et al. ("Exploiting unintended feature leakage in collaborative learning", S&P
2019, section 4.4): the attacker simulates updates from records of its own, with and
without the property, learns to tell them apart, and scores the update that it saw. The
property need not have anything to do with what the model is trained for.

As theirs, ours is a random forest; it looks at the entries of an update and at their
absolute values, as a property may show in the size of an entry whose sign is anybody's
guess. Of long updates it sees the leading principal components. All is fitted to
simulated updates alone.
"""

import numpy as np
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.ensemble import RandomForestClassifier

from attacks.errors import ParameterError

Floats = NDArray[np.float64]

EACH_NEEDED = 10
"""Simulated updates of either kind: with fewer there is nothing to learn from."""
# More columns than this are cut down to as many components first.
_WIDEST, _COMPONENTS = 10_000, 32
_TREES = 300


def property_scores(
    simulated: NDArray[np.floating],
    having: NDArray[np.bool_],
    seen: NDArray[np.floating],
    *,
    seed: int,
) -> Floats:
    """Score how much each update looks like one of records with the property, (M,).

    Updates are brought to norm one first, so that neither the learning rate nor a
    weight that the attacker does not know tells anything.

    Args:
        simulated: (N, parameters), made by the attacker from its own records.
        having: (N,) bool, which of them were made from records with the property.
        seen: (M, parameters), what crossed the wire.
        seed: of the forest and of the decomposition.

    Returns:
        What share of the forest says so, in 0..1; higher = has the property.

    Raises:
        ParameterError: shapes do not fit, something is not finite, or fewer than
            `EACH_NEEDED` simulated updates of either kind.
    """
    _check(simulated, having, seen)
    own, others = _directions(simulated), _directions(seen)
    if own.shape[1] > _WIDEST:
        parts = min(_COMPONENTS, len(own) // 2)
        components = PCA(parts, random_state=seed % 2**32).fit(own)
        own, others = components.transform(own), components.transform(others)
    forest = RandomForestClassifier(
        _TREES, min_samples_leaf=2, random_state=seed % 2**32
    ).fit(own, having)
    share = forest.predict_proba(others)[:, list(forest.classes_).index(True)]
    return np.asarray(share, dtype=np.float64)


def _directions(updates: NDArray[np.floating]) -> Floats:
    """Return each update at norm one beside its absolute values, (N, 2 parameters)."""
    rows = updates.astype(np.float64)
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    rows /= np.where(norms > 0, norms, 1.0)
    return np.concatenate([rows, np.abs(rows)], axis=1)


def _check(
    simulated: NDArray[np.floating],
    having: NDArray[np.bool_],
    seen: NDArray[np.floating],
) -> None:
    if simulated.ndim != 2 or seen.ndim != 2 or simulated.shape[1] != seen.shape[1]:
        raise ParameterError(
            f"Simulated updates {simulated.shape} and seen ones {seen.shape} must be "
            "(updates, parameters) with equally many parameters."
        )
    if having.shape != simulated.shape[:1] or having.dtype != np.bool_:
        raise ParameterError("Say of every simulated update whether it has it (bool).")
    if not (np.isfinite(simulated).all() and np.isfinite(seen).all()):
        raise ParameterError("Updates must be finite.")
    fewest = int(min(having.sum(), (~having).sum()))
    if fewest < EACH_NEEDED:
        raise ParameterError(
            f"{fewest} simulated updates of one kind are too few; simulate at least "
            f"{EACH_NEEDED} with and {EACH_NEEDED} without the property."
        )
