"""What a blind adversary knows of a record: its input and its label, as numbers.

Nothing here looks at membership: the projection is made from all records alike, so that
a baseline fitted on the result is as blind as one fitted on the records themselves.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from attacks.errors import ParameterError

Floats = NDArray[np.float64]

WIDEST = 64  # components of the inputs that are kept, and classes told apart
_SEEN = 4096  # records from which the projection is learnt
_FLAT = 1e-6  # of the largest variance: a direction below it is rounding


@dataclass(frozen=True, slots=True)
class BlindFeatures:
    """Records as seen by the learners of `attacks.blind`.

    Args:
        labels: (N, classes) one 1 in each row.
        inputs: (N, columns) whitened inputs, less the mean of their class. What a label
            tells is left out, as a set that was evened out by label would seem to
            be told apart the wrong way round.
        both: (N, columns) inputs as they are where they are few, and labels.
    """

    labels: Floats
    inputs: Floats
    both: Floats


def blind_features(
    inputs: NDArray[np.generic], labels: NDArray[np.integer], *, seed: int
) -> BlindFeatures:
    """Describe records by at most 64 components of their inputs, and their labels.

    The inputs are projected on their principal components and whitened; what the
    projection loses is kept as its size, beside each record's mean, spread and share of
    zeros, which differ where two sets were prepared differently.

    Args:
        inputs: (N, *shape), finite numbers.
        labels: (N,) classes.
        seed: of the records from which the projection is learnt.

    Raises:
        ParameterError: the shapes do not fit, or an input is not finite.
    """
    flat = np.asarray(inputs).reshape(len(inputs), -1).astype(np.float64)
    if labels.shape != flat.shape[:1] or flat.size == 0:
        raise ParameterError(
            f"inputs {inputs.shape} and labels {labels.shape} must be (N, *shape) and "
            "(N,), not empty."
        )
    if not np.isfinite(flat).all():
        raise ParameterError("inputs must be finite numbers.")
    narrow = flat.shape[1] <= WIDEST
    white, lost = _whitened(flat, seed)
    extra = _standard(
        np.stack([flat.mean(1), flat.std(1), (flat == 0).mean(1), lost], axis=1)
    )
    classes, of = np.unique(labels, return_inverse=True)
    # Labels beyond the widest share a column.
    of = np.minimum(of, WIDEST - 1)
    known = (of[:, None] == np.arange(min(len(classes), WIDEST))).astype(np.float64)
    seen = np.hstack([white, extra]) / np.sqrt(white.shape[1] + extra.shape[1])
    means = (known.T @ seen) / known.sum(axis=0)[:, None]
    both = np.hstack([flat if narrow else white, extra, of[:, None]])
    return BlindFeatures(labels=known, inputs=seen - means[of], both=both)


def _whitened(flat: Floats, seed: int) -> tuple[Floats, Floats]:
    """Return unit-variance components, and the length of what they leave out, (N,)."""
    rng = np.random.default_rng(seed)
    some = flat
    if len(flat) > _SEEN:
        some = flat[np.sort(rng.choice(len(flat), _SEEN, replace=False))]
    centre = some.mean(axis=0)
    directions, variances = _principal(some - centre, rng)
    own = (flat - centre) @ directions
    lost = np.square(flat - centre).sum(axis=1) - np.square(own).sum(axis=1)
    return own / np.sqrt(variances), np.sqrt(np.maximum(lost, 0))


def _principal(centred: Floats, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Return principal directions (columns, kept) and their variances, none of them 0.

    Many columns are first sketched (Halko, Martinsson and Tropp, SIAM Review 2011,
    algorithm 4.4 with two power iterations): the leading ones are all that is kept.
    """
    count, columns = centred.shape
    basis = np.eye(columns)
    if columns > 4 * WIDEST:
        sketch = centred.T @ rng.standard_normal((count, WIDEST + 16))
        for _ in range(2):
            sketch, _ = np.linalg.qr(sketch)
            sketch = centred.T @ (centred @ sketch)
        basis, _ = np.linalg.qr(sketch)
    inside = centred @ basis
    values, vectors = np.linalg.eigh(inside.T @ inside / count)
    order = np.argsort(values)[::-1][:WIDEST]
    order = order[values[order] > _FLAT * max(float(values[-1]), 1e-300)]
    return basis @ vectors[:, order], values[order]


def _standard(columns: Floats) -> Floats:
    """Centre the columns and scale them to unit variance; constant ones become 0."""
    spread = columns.std(axis=0)
    scaled: Floats = (columns - columns.mean(axis=0)) / np.where(spread > 0, spread, 1)
    return np.where(spread > 1e-9 * (1 + np.abs(columns).max(axis=0)), scaled, 0.0)
