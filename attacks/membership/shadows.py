"""Who trains the shadow models, and on which records.

Attacks never train: whoever owns a training loop fills the `Trainer` protocol.
`balanced_memberships` follows Carlini et al. (S&P 2022, section V-A): each record is
in exactly the same number of shadows, so that both of its distributions can be seen.
"""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from attacks.errors import ParameterError


class Trainer(Protocol):
    """Trains models exactly as the target was trained."""

    def logits(self, members: NDArray[np.bool_], *, seed: int) -> NDArray[np.float32]:
        """Train one model per row on the records of that row, and query all records.

        Args:
            members: bool (S, N); `members[s, i]`: record i trains model s.
            seed: of initialisation and order; equal seeds give equal logits.

        Returns:
            float32 (S, N, C): the logits of every model on every record.
        """
        ...


def balanced_memberships(
    shadows: int, records: int, fraction: float, seed: int
) -> NDArray[np.bool_]:
    """Draw which records train which shadow models.

    Guarantee: each record is in exactly `round(shadows * fraction)` shadows, and the
    sizes of any two shadows differ by at most one. Records are drawn independently
    first; only the few swaps that even out the sizes tie them together.

    Args:
        shadows: number of models S.
        records: number of records N.
        fraction: share of the shadows that a record is in.
        seed: of the draw.

    Returns:
        bool (S, N).

    Raises:
        ParameterError: some record would be in no shadow or in all.
    """
    each = round(shadows * fraction)
    if records < 1 or not 0 < each < shadows:
        raise ParameterError(
            f"shadows={shadows}, fraction={fraction} puts a record in {each} models; "
            "each record must be in at least one and out of at least one."
        )
    rng = np.random.default_rng(seed)
    places = rng.random((shadows, records)).argsort(axis=0)
    members = places < each
    sizes = members.sum(axis=1)
    while sizes.max() - sizes.min() > 1:
        # Some record is in the largest but not in the smallest, as their sizes differ.
        most, least = int(sizes.argmax()), int(sizes.argmin())
        movable = np.flatnonzero(members[most] & ~members[least])
        record = int(rng.choice(movable))
        members[most, record], members[least, record] = False, True
        sizes[most] -= 1
        sizes[least] += 1
    return members
