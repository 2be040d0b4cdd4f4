"""A lower bound on epsilon from one model, where coins chose its members.

One model says something about the mechanism behind it only if chance decided who was
in: each record by an independent fair coin (the one-run audit). Members that were
simply "the training set" support no such bound, whatever an attack achieves on them,
and then nothing is claimed here.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from attacks import EpsilonBound, one_run_audit
from attacks.canary import SHARES
from attacks.tradeoff import GAUSSIAN
from fl.errors import DataError
from fl.model_audit.claims import Claimed
from fl.seeds import rng_for

Floats = NDArray[np.float64]

# At which delta a bound is stated where nobody claims one.
DELTA = 1e-5
# Fair coins miss by this much once in a million audits.
_UNLIKELY = 1e-6
NO_COINS = (
    "it needs members that independent fair coins chose; state so by --coins "
    "(random_split=True), if that is how they were chosen"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Lower:
    """A lower bound on epsilon, and one for a claim of Gaussian noise.

    Attributes:
        any: of any (epsilon, delta)-DP mechanism.
        gaussian: higher as a rule, and only of noise as it is claimed; else None.
    """

    any: EpsilonBound
    gaussian: EpsilonBound | None = None

    @property
    def deciding(self) -> EpsilonBound:
        """Return the bound that the claim is held against; its shape decides which."""
        return self.gaussian or self.any


def lower_bound(
    score: Floats,
    members: NDArray[np.bool_],
    claimed: Claimed | None,
    *,
    coins: bool,
    seed: int,
) -> Lower | str:
    """Bound epsilon per example by one score, or say why that cannot be done.

    Guarantee: if every record was included by a fair coin of its own, and the score was
    fixed without the coins, each bound exceeds the true epsilon with probability at
    most 5 %; the Gaussian one, if the mechanism has that shape.

    Raises:
        DataError: fair coins would hardly ever give so uneven a split.
    """
    if not coins:
        return NO_COINS
    if claimed is not None and claimed.unit != "example":
        return (
            f"the coins were tossed for examples, and the claim is per {claimed.unit}"
        )
    inside = int(members.sum())
    if stats.binomtest(inside, len(members)).pvalue < _UNLIKELY:
        raise DataError(
            f"{inside} of {len(members)} records are members, which fair coins would "
            "hardly ever do; leave out --coins (random_split), or give all records "
            "that a coin was tossed for."
        )
    delta = DELTA if claimed is None else claimed.delta
    shares = [one for one in SHARES if round(one * len(score)) >= 2]
    # Members come first, and equal scores are guessed by their place.
    order = rng_for(seed, "ties").permutation(len(score))
    score, members = score[order], members[order]
    shaped = None
    if claimed is not None and claimed.shape == "gaussian":
        shaped = one_run_audit(
            score, members, delta=delta, shares=shares, family=GAUSSIAN
        )
    return Lower(
        any=one_run_audit(score, members, delta=delta, shares=shares), gaussian=shaped
    )
