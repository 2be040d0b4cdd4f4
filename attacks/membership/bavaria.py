"""LiRA with a Student t instead of a normal: the variance is itself uncertain.

In the manner of BaVarIA-t (Brännvall 2026, arXiv 2603.11799): under a normal-inverse-
gamma prior the next signal of a record follows a Student t, wider where few shadows
speak of it. The prior here is that of the shrunk variance of `attacks.membership.lira`,
one variance for both sides, and the means have none.
"""

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from attacks.errors import TooFewShadows
from attacks.membership.lira import PRIOR_A0, SHADOWS_NEEDED
from attacks.membership.moments import check_shapes, side

Floats = NDArray[np.float64]


def bavaria(
    target_phi: NDArray[np.floating],
    shadow_phi: NDArray[np.floating],
    shadow_members: NDArray[np.bool_],
) -> Floats:
    """Score records by the log ratio of two Student t predictive densities.

    Each side's t has `S - 2 + 2 a0` degrees of freedom, its shadows' mean, and the
    squared scale `v (1 + 1/n)` with v the shrunk variance and n the number of its
    shadows, averaged over records: in a rotation a record's own n would tell whether
    the target knows it.

    Args and Raises as `attacks.membership.lira.lira`.

    Returns:
        float64 (N,).
    """
    check_shapes(target_phi, shadow_phi, shadow_members)
    if len(shadow_phi) < SHADOWS_NEEDED:
        raise TooFewShadows(SHADOWS_NEEDED, len(shadow_phi), "shadow models")
    inside = side(shadow_phi, shadow_members, "with each")
    outside = side(shadow_phi, ~shadow_members, "without each")
    freedom, squares = len(shadow_phi) - 2, inside.squares + outside.squares
    prior = 2 * PRIOR_A0 * float(squares.mean()) / freedom
    floor = np.finfo(np.float64).eps * (1.0 + outside.mean**2)
    variance = np.maximum((squares + prior) / (freedom + 2 * PRIOR_A0), floor)
    target = target_phi.astype(np.float64)
    each = [
        stats.t.logpdf(
            target,
            df=freedom + 2 * PRIOR_A0,
            loc=one.mean,
            scale=np.sqrt(variance * (1 + 1 / one.count.mean())),
        )
        for one in (inside, outside)
    ]
    return np.asarray(each[0] - each[1], dtype=np.float64)
