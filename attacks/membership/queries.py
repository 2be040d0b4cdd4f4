"""Altered copies of records, as queries: noise for tables, shifts and noise for images.

The same copies are made for members and non-members, and for target and shadows.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from attacks.errors import ParameterError

# Standard deviations of the noise, as shares of the range of a feature. Weak noise
# tells apart records near the boundary, strong noise those far from it.
LEVELS = (0.03, 0.06, 0.1, 0.15, 0.2, 0.3)
DRAWS = 3
# (down, right) in pixels.
SHIFTS = ((0, 1), (0, -1), (1, 0), (-1, 0))


def queries(
    records: NDArray[np.floating],
    value_range: tuple[float, float],
    *,
    seed: int,
) -> Iterator[NDArray[np.float32]]:
    """Yield the records, then altered copies of all of them, one alteration at a time.

    Args:
        records: (N, features), or images (N, channels, height, width).
        value_range: least and greatest value of a feature; copies stay inside.
        seed: of the noise.

    Yields:
        float32 arrays shaped as ``records``: 1 + 18 for tables, 1 + 4 + 18 for images,
        of which shifts come before noise.

    Raises:
        ParameterError: records of another shape, or an empty range.
    """
    least, most = value_range
    if records.ndim not in (2, 4) or not most > least:
        raise ParameterError(
            f"Records {records.shape} must be (N, features) or (N, channels, height, "
            f"width), in a range that is not empty (not {value_range})."
        )
    plain = records.astype(np.float32)
    yield plain
    if records.ndim == 4:
        for down, right in SHIFTS:
            yield _shifted(plain, down, right, least)
    rng = np.random.default_rng(seed)
    for level in LEVELS:
        for _ in range(DRAWS):
            noise = rng.standard_normal(plain.shape, dtype=np.float32)
            moved = plain + np.float32(level * (most - least)) * noise
            yield np.clip(moved, least, most).astype(np.float32)


def _shifted(
    images: NDArray[np.float32], down: int, right: int, fill: float
) -> NDArray[np.float32]:
    """Return the images moved by at most one pixel, the gap filled with ``fill``."""
    edge = ((0, 0), (0, 0), (1, 1), (1, 1))
    padded = np.pad(images, edge, constant_values=fill)
    height, width = images.shape[2:]
    return padded[:, :, 1 - down : 1 - down + height, 1 - right : 1 - right + width]
