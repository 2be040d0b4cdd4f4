"""Altered copies of records, as queries: the records with a little noise.

The same copies are made for members and non-members, and for target and shadows. Shifts
and flips of images are left out: they help where training made the same ones, which is
not done here, and cost accuracy elsewhere.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from attacks.errors import ParameterError

# Standard deviations of the noise, as shares of the range of a feature: enough to cross
# a near boundary. Strong noise asks how robust the model is, not what it has seen.
LEVELS = (0.03, 0.06, 0.1)
DRAWS = 4


def queries(
    records: NDArray[np.floating],
    value_range: tuple[float, float],
    *,
    seed: int,
) -> Iterator[NDArray[np.float32]]:
    """Yield the records, then altered copies of all of them, one alteration at a time.

    Args:
        records: (N, ...).
        value_range: least and greatest value of a feature; copies stay inside.
        seed: of the noise.

    Yields:
        13 float32 arrays shaped as ``records``.

    Raises:
        ParameterError: an empty range.
    """
    least, most = value_range
    if not most > least:
        raise ParameterError(f"value_range {value_range} must not be empty.")
    plain = records.astype(np.float32)
    yield plain
    rng = np.random.default_rng(seed)
    for level in LEVELS:
        for _ in range(DRAWS):
            noise = rng.standard_normal(plain.shape, dtype=np.float32)
            moved = plain + np.float32(level * (most - least)) * noise
            yield np.clip(moved, least, most).astype(np.float32)
