"""Client-level privacy without a trusted server: each client adds a share of the noise.

    integers = rounded(norm=32767.5, linf_bound=32767, length=7850)
    total = noise_for(2.0, 1e-5, rounds=50, honest=60, integers=integers)   # dp.sizing
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

Two bounds hold, and the lesser is claimed:

* Discrete Gaussian shares, by their *twin*: a real Gaussian release of which the sum is
  a function, but for a factor very near 1 in every chance (`dp.smoothing`), has a
  privacy loss distribution. With coins, the pair to be told apart is that of a
  Poisson-sampled Gaussian: given everybody else's values and coins, the sum is centred
  at m under one neighbour, and under the other at m + x with chance q and else at m,
  |x| <= `l2_bound`. Turned and shifted that is N(0, s^2) beside
  (1 - q) N(0, s^2) + q N(|x|, s^2), to which "add or remove one" leads as well (Zhu,
  Dong, Wang, arXiv:2106.08567, on Poisson sampling: a unit is in the sample by its own
  coin, or nowhere); a shorter x is that pair with more noise. Either neighbour may be
  the true one, so both directions are bounded.
* Renyi divergence at integer orders: all there is for Skellam noise, and the lesser
  where the factor is not near enough to 1 or the noise is a few steps. For sums of
  discrete Gaussians Kairouz, Liu, Steinke, arXiv:2102.06387, Theorem 1, with its tau;
  for Skellam noise, whose sums are Skellam, Agarwal, Kairouz, Liu, arXiv:2110.04995,
  Theorem 3.5.

`dp.discrete` draws the noise, and `dp.sizing` finds the least that keeps a budget.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from dp_accounting import DpEvent, GaussianDpEvent, PoissonSampledDpEvent
from numpy.typing import NDArray

from dp.discrete import CUT_BITS, DiscreteGaussian, Skellam
from dp.errors import ParameterError
from dp.integers import Integers
from dp.pld import FINE, simple_epsilon
from dp.relation import ZERO_OUT
from dp.renyi import ORDERS, epsilon_of, sampled
from dp.smoothing import GAP_MAX, gap, transfer, twin_multiplier

__all__ = ["ORDERS", "RELATION", "DistributedSum", "SharesDpEvent", "tau"]

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
        twin, whole_gap = self.twin, rounds * self.gap
        by_renyi = self.renyi_epsilon(delta, rounds=rounds)
        if twin is None or whole_gap > GAP_MAX:
            return by_renyi
        by_twin = transfer(
            lambda part: simple_epsilon(((twin, rounds),), part, "pld", FINE),
            delta,
            gap=whole_gap,
            distance=rounds * self.distance,
        )
        return min(by_twin, by_renyi)

    def renyi_epsilon(self, delta: float, *, rounds: int) -> float:
        """Return the same by Renyi divergence: another proof, nearly always looser."""
        return epsilon_of(rounds * self.rdp(), delta, distance=rounds * self.distance)

    @property
    def twin(self) -> DpEvent | None:
        """Return the real Gaussian release that stands behind one sum, but for `gap`.

        None for Skellam noise, and where rounding would take all of the variance.
        """
        if not isinstance(self.noise, DiscreteGaussian):
            return None
        multiplier = twin_multiplier(
            self.noise.variance, self.honest, self.integers.l2_bound
        )
        if multiplier == 0:
            return None
        whole = GaussianDpEvent(multiplier)
        if self.sampling_rate == 1:
            return whole
        return PoissonSampledDpEvent(self.sampling_rate, whole)

    @property
    def gap(self) -> float:
        """Bound |log ratio| of chances between one sum and its rounded `twin`.

        The noise of that sum is not cut, and its roundings are all short.
        """
        return gap(self.noise.variance, self.honest, self.integers.length)

    @property
    def distance(self) -> float:
        """Bound how far one sum is, in total variation, from what is accounted for.

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

    It holds under "zero out one" alone; `dp.mixture` composes it.
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
