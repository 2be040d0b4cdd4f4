"""Local privacy: each client noises its own upload, and trusts nobody.

    noise = LocalGaussian(clip_norm_l2=1.0, noise_multiplier=4.0)
    upload = noise.release(update, seed=None)

The Gaussian mechanism on one vector, in the local model of Dwork and Roth, "The
Algorithmic Foundations of Differential Privacy", section 12.1. Whoever reads the upload
knows whose it is, so the relation is to replace one client's update: two updates of
norm at most S are up to 2 S apart. That the reader also sees who uploads leaves no
sampling to amplify by, and the noise of the others helps nobody: a sum of n such
uploads has n times the variance that a trusted server would need, and four times that
for the relation.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from dp_accounting import DpEvent
from numpy.typing import NDArray

from dp.accounting import sampled_gaussian
from dp.clipping import BOUND_MAX, BOUND_MIN, clip_l2
from dp.errors import ParameterError
from dp.noise import gaussian


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalGaussian:
    """One client's noisy upload, with public constants only.

    Attributes:
        clip_norm_l2: S; updates are clipped to it.
        noise_multiplier: z, standard deviation over the sensitivity 2 S, > 0.
    """

    clip_norm_l2: float
    noise_multiplier: float

    def __post_init__(self) -> None:
        sampled_gaussian(self.noise_multiplier, 1.0)  # its range
        if not BOUND_MIN <= self.clip_norm_l2 <= BOUND_MAX:
            raise ParameterError(
                f"clip_norm_l2={self.clip_norm_l2} must be in [2^-100, 2^100]."
            )

    @property
    def event(self) -> DpEvent:
        """Return what one upload spends, for a ledger under "replace one"."""
        return sampled_gaussian(self.noise_multiplier, 1.0)

    @property
    def std(self) -> float:
        """Return the standard deviation of the noise in each coordinate."""
        return self.noise_multiplier * 2 * self.clip_norm_l2

    def release(
        self, update: NDArray[np.floating], *, seed: bytes | None
    ) -> NDArray[np.float32]:
        """Clip an update and add noise to it.

        Guarantee: for real-valued noise, the result is `event` for replacing the update
        by any other; what is done with it afterwards costs nothing more.

        Args:
            update: (length,) floats, finite.
            seed: of the noise; None in deployment. See `gaussian`.

        Returns:
            (length,) float32.

        Raises:
            ValueError: the caller's: an update that is not finite or not of floats.
        """
        clipped = clip_l2(update, self.clip_norm_l2).vector.astype(np.float64)
        noise = gaussian(len(clipped), self.std, seed=seed)
        return (clipped + noise).astype(np.float32)
