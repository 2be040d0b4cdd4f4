"""Adaptive clipping: a clip norm that follows a quantile of the updates' norms.

Andrew, Thakkar, McMahan, Ramaswamy: "Differentially private learning with adaptive
clipping", NeurIPS 2021, arXiv:1905.03871. Each client sends one bit more, whether its
update is shorter than the clip norm C; a noised count of them moves C towards the
norm that a share gamma of the clients stay below, by C exp(-eta (share - gamma)).

The bit travels as one more coordinate of the update, a or -a, inside the same sum. With
a chosen so that noise of one size on all coordinates is z_Delta C on the update and
sigma_b on the count, where (theorem 1 there)

    z^-2 = z_Delta^-2 + (2 sigma_b)^-2,

the whole is one Gaussian mechanism of multiplier z on vectors of norm C z_Delta / z:
a round costs what it costs with a fixed clip norm and noise z.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Final, Self

import numpy as np
from dp_accounting import DpEvent
from numpy.typing import NDArray

from dp.accounting import sampled_gaussian
from dp.central import GaussianSum
from dp.clipping import BOUND_MAX, BOUND_MIN
from dp.errors import ParameterError

Vector = NDArray[np.float64]

SPAN: Final = 1024.0
"""A clip norm stays within this factor of the one it began with, which is public."""
# A vector that was clipped is this close below C; one that was not counts as clipped
# there, which moves the quantile by nothing that matters.
_TOUCHES: Final = 1 - 2.0**-16
# Room for the rounding of the update and the bit to float32.
_ROOM: Final = 1 - 2.0**-20


@dataclass(frozen=True, slots=True, kw_only=True)
class AdaptiveSum:
    """A noisy mean of updates clipped to a norm that follows them.

    One value per round: `after` gives that of the next. All of it is public, the clip
    norm too, since it follows from what was released.

    Attributes:
        clip_norm_l2: C of this round.
        start: C of the first round.
        noise_multiplier: z, of the whole release.
        count_noise: sigma_b > z / 2, standard deviation of the noise on the count.
        quantile: gamma, the share of clients that are to stay below C, in [0, 1].
        learning_rate: eta > 0.
        sampling_rate: q, as in `GaussianSum`.
        clients: n, as in `GaussianSum`.
    """

    clip_norm_l2: float
    start: float
    noise_multiplier: float
    count_noise: float
    quantile: float = 0.5
    learning_rate: float = 0.2
    sampling_rate: float
    clients: int

    def __post_init__(self) -> None:
        sampled_gaussian(self.noise_multiplier, self.sampling_rate)  # their ranges
        if not 0 <= self.quantile <= 1:
            raise ParameterError(f"quantile={self.quantile} must be in [0, 1].")
        if not 0 < self.learning_rate <= 1:
            raise ParameterError(
                f"learning_rate={self.learning_rate} must be in (0, 1]."
            )
        if not BOUND_MIN * SPAN <= self.start <= BOUND_MAX / SPAN:
            raise ParameterError(f"start={self.start} must be in [2^-90, 2^90].")
        least, most = self.start / SPAN, self.start * SPAN
        if not least <= self.clip_norm_l2 <= most:
            raise ParameterError(
                f"clip_norm_l2={self.clip_norm_l2} must be in [{least}, {most}], the "
                "public bounds around its start."
            )
        if not self.noise_multiplier / 2 < self.count_noise < math.inf:
            raise ParameterError(
                f"count_noise={self.count_noise} must be above half the noise "
                f"multiplier, {self.noise_multiplier / 2:g}, and finite; less would "
                "spend the whole budget of a round on the count."
            )
        _ = self.joint  # the ranges of the others

    @property
    def update_multiplier(self) -> float:
        """Return z_Delta, the noise on the update over C; a little above z."""
        return float((self.noise_multiplier**-2 - (2 * self.count_noise) ** -2) ** -0.5)

    @property
    def joint(self) -> GaussianSum:
        """Return the mechanism on updates with their bit."""
        longer = self.update_multiplier / self.noise_multiplier
        return GaussianSum(
            clip_norm_l2=self.clip_norm_l2 * longer,
            noise_multiplier=self.noise_multiplier,
            sampling_rate=self.sampling_rate,
            clients=self.clients,
        )

    @property
    def event(self) -> DpEvent:
        """Return what one release spends: the same as with a fixed clip norm."""
        return self.joint.event

    @property
    def denominator(self) -> float:
        """Return the fixed q * n."""
        return self.joint.denominator

    def attach(self, update: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return a clipped update with its bit behind it.

        Guarantee: the result's L2 norm is at most `joint.clip_norm_l2`.

        Args:
            update: (length,), of norm C at most (`clip_l2`).

        Returns:
            (length + 1,) float32.

        Raises:
            ParameterError: the caller's: it is longer than C.
        """
        norm = float(np.linalg.norm(update.astype(np.float64)))
        if norm > self.clip_norm_l2:
            raise ParameterError(
                f"an update is longer than clip_norm_l2={self.clip_norm_l2:g}; clip "
                "it with clip_l2 first."
            )
        below = norm < self.clip_norm_l2 * _TOUCHES
        bit = self._amplitude if below else -self._amplitude
        return np.append(update, np.float32(bit)).astype(np.float32)

    def release(
        self,
        total: Vector | None,
        *,
        length: int,
        sum_error: float,
        seed: bytes | None,
    ) -> tuple[Vector, float]:
        """Return the noisy mean change of one round, and the noised share below C.

        Guarantee, arguments and errors as of `GaussianSum.release`, for sums of what
        `attach` returned.

        Args:
            total: (length + 1,) float64, or None.
            length: of an update, without the bit.
            sum_error: for every coordinate, the bit's too.
            seed: of the noise.

        Returns:
            (length,) float64, and a number in [0, 1].
        """
        noised = self.joint.release(
            total, length=length + 1, sum_error=sum_error, seed=seed
        )
        # Each bit is +-a; half their sum over a q n is the share less one half.
        share = 0.5 + float(noised[-1]) / (2 * self._amplitude)
        return noised[:-1], min(max(share, 0.0), 1.0)

    def after(self, share: float) -> Self:
        """Return the mechanism of the next round.

        Args:
            share: of clients below C, as released, in [0, 1].
        """
        factor = math.exp(-self.learning_rate * (share - self.quantile))
        least, most = self.start / SPAN, self.start * SPAN
        return self.at(min(max(self.clip_norm_l2 * factor, least), most))

    def at(self, clip_norm_l2: float) -> Self:
        """Return the same with another clip norm, within its public bounds."""
        return replace(self, clip_norm_l2=clip_norm_l2)

    @property
    def _amplitude(self) -> float:
        """Return a: C^2 + a^2 is the square of the joint norm, less some room."""
        longer = self.update_multiplier / self.noise_multiplier
        return self.clip_norm_l2 * math.sqrt(longer * longer - 1) * _ROOM
