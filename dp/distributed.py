"""Client-level privacy without a trusted server: each client adds a share of the noise.

    integers = rounded(norm=32767.5, linf_bound=32767, length=7850)
    total = noise_for(2.0, 1e-5, rounds=50, honest=60, integers=integers)
    share = total.noise.draw(7850, os.urandom)      # added before masking

Every client, whether it has an update or not, adds noise of variance v to its integers.
A sum that is released holds at least h honest clients (the aggregation plan says so,
for all dropouts and colluders that it allows), so v is chosen so that h v suffices: the
noise of colluders, who know it, counts for nothing, and shares beyond h only help.

The relation is to *zero out one client*: neighbours differ in one client's update being
zero, while its noise stays. The bound holds against whoever sees all released sums, the
server and the colluders together, under these assumptions: a secure sum hides all but
the sum; each honest client clips, rounds and adds its noise; who vanishes depends on no
noise; and with a sampling rate below 1, the coin that says whether a client sends its
update or zeros is its own and secret, and it uploads either way. A client that does not
clip harms nobody's privacy but its own; one that leaves out its noise is a colluder,
and must be counted as one.

Accounting is by Renyi divergence at integer orders: for sums of discrete Gaussians,
which are none themselves, Kairouz, Liu, Steinke, arXiv:2102.06387, Theorem 1, with its
tau; for Skellam noise, whose sums are Skellam, Agarwal, Kairouz, Liu, arXiv:2110.04995,
Theorem 3.5. `dp.discrete` draws the noise.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from dp_accounting import DpEvent
from numpy.typing import NDArray

from dp.discrete import (
    CUT_BITS,
    GAUSSIAN_VARIANCE_MAX,
    SKELLAM_VARIANCE_MAX,
    DiscreteGaussian,
    Skellam,
)
from dp.errors import ParameterError
from dp.integers import Integers
from dp.relation import ZERO_OUT
from dp.renyi import ORDERS, epsilon_of, sampled

__all__ = ["ORDERS", "RELATION", "DistributedSum", "SharesDpEvent", "noise_for", "tau"]

RELATION: Final = ZERO_OUT
# Terms of tau that are added one by one; the rest are all put at the largest of them.
_TAU_TERMS: Final = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class DistributedSum:
    """A sum of integers with the noise of at least `honest` clients in it.

    Attributes:
        noise: of one client.
        honest: h, honest clients in every released sum; `Plan.honest_min`.
        integers: of one client, before noise.
        sampling_rate: q, each client's chance of sending its update and not zeros, by a
            secret coin of its own, in (0, 1].
    """

    noise: DiscreteGaussian | Skellam
    honest: int
    integers: Integers
    sampling_rate: float = 1.0

    def __post_init__(self) -> None:
        if self.honest < 1:
            raise ParameterError(f"honest={self.honest} must be at least 1.")
        if not 0 < self.sampling_rate <= 1:
            raise ParameterError(
                f"sampling_rate={self.sampling_rate} must be in (0, 1]."
            )

    @property
    def noise_multiplier(self) -> float:
        """Return standard deviation over L2 sensitivity, of the noise that counts."""
        return math.sqrt(self.honest * self.noise.variance) / self.integers.l2_bound

    def ring_bits(self, clients: int) -> int:
        """Return the bits of a ring in which no sum over `clients` can wrap.

        Not even by chance: the noise is cut at `noise.bound`.
        """
        return (
            clients * (self.integers.linf_bound + self.noise.bound)
        ).bit_length() + 1

    def epsilon(self, delta: float, *, rounds: int) -> float:
        """Return epsilon of so many sums, each with fresh noise and coins.

        Guarantee: an upper bound, with cut tails and long roundings paid from delta.

        Args:
            delta: in (0, 1).
            rounds: how many sums are released, >= 1.

        Returns:
            Epsilon >= 0; infinity where no bound is known.

        Raises:
            ParameterError: the caller's: a number out of range.
        """
        if not 0 < delta < 1 or rounds < 1:
            raise ParameterError(
                f"delta={delta} must lie between 0 and 1, and rounds={rounds} be at "
                "least 1."
            )
        return epsilon_of(rounds * self.rdp(), delta, distance=rounds * self.distance)

    @property
    def distance(self) -> float:
        """Bound how far one sum is, in total variation, from what `rdp` bounds.

        The noise of that is not cut, and its roundings are all short; the same under
        both neighbours.
        """
        return (
            self.honest * self.integers.length * 2.0**-CUT_BITS + self.integers.chance
        )

    @property
    def event(self) -> SharesDpEvent:
        """Return what one sum spends, for a ledger under "zero out one"."""
        return SharesDpEvent(total=self)

    def rdp(self) -> NDArray[np.float64]:
        """Bound the Renyi divergence of one sum at each of `ORDERS`, either way."""
        return sampled(self._whole, self.sampling_rate)

    def _whole(self, orders: NDArray[np.float64]) -> NDArray[np.float64]:
        """Bound the divergence of a sum that certainly holds the update."""
        l2, l1 = self.integers.l2_bound, self.integers.l1_bound
        total = float(self.honest * self.noise.variance)
        if isinstance(self.noise, DiscreteGaussian):
            gap = math.sqrt(self.integers.length) * tau(
                self.honest, self.noise.variance
            )
            return orders / 2 * (l2 / math.sqrt(total) + gap) ** 2
        near = ((2 * orders - 1) * l2**2 + 6 * l1) / (4 * total**2)
        return orders * l2**2 / (2 * total) + np.minimum(near, 3 * l1 / (2 * total))


@dataclass(frozen=True, slots=True, kw_only=True)
class SharesDpEvent(DpEvent):  # type: ignore[misc]  # untyped package
    """One released sum with noise in shares: what a ledger keeps.

    It has a Renyi divergence and no privacy loss distribution, and holds under "zero
    out one" alone; `dp.accounting` composes it.
    """

    total: DistributedSum

    def __str__(self) -> str:
        kind = (
            "discrete Gaussian"
            if isinstance(self.total.noise, DiscreteGaussian)
            else "Skellam"
        )
        rate = self.total.sampling_rate
        said = (
            f"{kind} noise of variance {self.total.noise.variance} from each of at "
            f"least {self.total.honest} clients, multiplier "
            f"{self.total.noise_multiplier!r}"
        )
        return said if rate == 1 else f"{said}, on secret coins at rate {rate!r}"


def tau(honest: int, variance: int) -> float:
    """Bound how far a sum of discrete Gaussians is from one, Kairouz et al., Theorem 1.

    tau = 10 (sum over k < h of exp(-2 pi^2 v k / (k + 1))), for v >= 1 / 4.
    """
    terms = min(honest - 1, _TAU_TERMS)
    rate = 2 * math.pi**2 * variance
    total = math.fsum(math.exp(-rate * k / (k + 1)) for k in range(1, terms + 1))
    last = math.exp(-rate * (terms + 1) / (terms + 2))
    return 10 * (total + (honest - 1 - terms) * last)


def noise_for(
    target: float,
    delta: float,
    *,
    rounds: int,
    honest: int,
    integers: Integers,
    sampling_rate: float = 1.0,
    mechanism: type[DiscreteGaussian] | type[Skellam] = DiscreteGaussian,
) -> DistributedSum:
    """Return the sum whose clients add the least noise that keeps (target, delta).

    Guarantee: `epsilon` of the very result is at most `target`, and of one less in
    variance is above it.

    Args:
        target: epsilon of all rounds together, > 0.
        delta: in (0, 1).
        rounds: released sums, >= 1.
        honest: h, honest clients in every released sum.
        integers: of one client.
        sampling_rate: see `DistributedSum`.
        mechanism: which noise.

    Raises:
        ParameterError: the caller's: a number out of range, or no variance that can
            be drawn suffices.
    """
    if not 0 < target < math.inf:
        raise ParameterError(f"epsilon={target} must be positive and finite.")
    first = DistributedSum(
        noise=mechanism(variance=1),
        honest=honest,
        integers=integers,
        sampling_rate=sampling_rate,
    )

    def keeps(variance: int) -> bool:
        with_it = replace(first, noise=mechanism(variance=variance))
        return with_it.epsilon(delta, rounds=rounds) <= target

    gaussian = mechanism is DiscreteGaussian
    low, high = 0, GAUSSIAN_VARIANCE_MAX if gaussian else SKELLAM_VARIANCE_MAX
    if not keeps(high):
        raise ParameterError(
            f"epsilon={target} at delta={delta} needs noise of a variance above {high} "
            "from each client; encode in fewer bits, plan fewer rounds or larger sums, "
            "or allow a larger epsilon or delta."
        )
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if keeps(middle) else (middle, high)
    return replace(first, noise=mechanism(variance=high))
