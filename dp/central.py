"""Client-level noise at the server: the Gaussian mechanism on the clients' sum.

DP-FedAvg (McMahan, Ramage, Talwar, Zhang: "Learning differentially private recurrent
language models", ICLR 2018, arXiv:1710.06963, Algorithm 1, with the fixed-denominator
estimator): every client takes part in a round by its own coin, its update is clipped
to an L2 norm of S, the updates are summed without weights, and what is released is

    (sum + N(0, (z * sensitivity)^2 I)) / (q * n)

The denominator is public and the same whoever came. The unit is the client, the
relation is to add or remove one client with all its data, and the server is trusted:
it sees the sum before the noise.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from dp_accounting import DpEvent
from numpy.typing import NDArray

from dp.accounting import sampled_gaussian
from dp.clipping import BOUND_MAX, BOUND_MIN
from dp.errors import ParameterError
from dp.noise import gaussian


@dataclass(frozen=True, slots=True, kw_only=True)
class GaussianSum:
    """A noisy mean of clipped updates, with public constants only.

    Attributes:
        clip_norm_l2: S, in units of the update; every update summed is this long at
            most (`clip_l2`), and its weight is 1.
        noise_multiplier: z, standard deviation over sensitivity, > 0.
        sampling_rate: q, each client's chance to take part in a round, in (0, 1], by
            independent coins. A cohort of fixed size is another mechanism.
        clients: n, a public constant, >= 1. It is no secret here, and must not be
            recomputed from who came.
    """

    clip_norm_l2: float
    noise_multiplier: float
    sampling_rate: float
    clients: int

    def __post_init__(self) -> None:
        sampled_gaussian(self.noise_multiplier, self.sampling_rate)  # their ranges
        checked_clip(self.clip_norm_l2, self.clients)

    @property
    def event(self) -> DpEvent:
        """Return what one release spends."""
        return sampled_gaussian(self.noise_multiplier, self.sampling_rate)

    @property
    def denominator(self) -> float:
        """Return the fixed q * n by which every released sum is divided."""
        return self.sampling_rate * self.clients

    def sensitivity(self, length: int, sum_error: float) -> float:
        """Return how far one client can move the sum that is noised, in L2.

        The exact sums of neighbouring cohorts are at most S apart, and each computed
        sum is at most sqrt(length) * sum_error from its exact one, so by the triangle
        inequality S + 2 sqrt(length) sum_error bounds the distance.

        Args:
            length: of the vector, >= 1.
            sum_error: public bound, for every coordinate, on |computed sum - exact sum
                of the clipped updates|: the rounding of encoder and floats. It must
                hold for any data and any cohort; 0 for exact sums.

        Raises:
            ParameterError: the caller's: a number out of range.
        """
        return moved(self.clip_norm_l2, length, sum_error)

    def release(
        self,
        total: NDArray[np.float64] | None,
        *,
        length: int,
        sum_error: float,
        seed: bytes | None,
    ) -> NDArray[np.float64]:
        """Return the noisy mean change of one round.

        Guarantee: for real-valued noise, this release is `event` for every client, if
        clients took part by their coins and `sum_error` holds; what happens to the
        result afterwards costs nothing more. Spend `event` first.

        `total` is None when no sum could be formed, and noise alone is released. That
        hides the failure of a round, but only a failure that does not hang on one
        client is covered: if a round is given up because too few came, one more client
        may turn nothing into the whole sum, further than the sensitivity. Let those
        whose coin says no send zeros, so that a cohort's size says nothing, or add the
        chance of such a failure to delta.

        Args:
            total: (length,) float64, sum of the survivors' clipped updates, or None.
            length: of the vector.
            sum_error: see `sensitivity`.
            seed: of the noise; None in deployment. See `gaussian`.

        Returns:
            (length,) float64.

        Raises:
            ParameterError: the caller's: a sum of another shape, not finite, or longer
                than that of n clipped updates, so that something was not clipped.
        """
        sensitivity = self.sensitivity(length, sum_error)
        noise = gaussian(length, self.noise_multiplier * sensitivity, seed=seed)
        return add_noise(
            total,
            noise,
            most=self.clients * sensitivity,
            denominator=self.denominator,
        )


def checked_clip(clip_norm_l2: float, clients: int) -> None:
    """Check the public constants of a sum.

    Raises:
        ParameterError: the caller's: a clip norm or number of clients out of range.
    """
    if not BOUND_MIN <= clip_norm_l2 <= BOUND_MAX:
        raise ParameterError(f"clip_norm_l2={clip_norm_l2} must be in [2^-100, 2^100].")
    if clients < 1:
        raise ParameterError(f"clients={clients} must be at least 1.")


def moved(clip_norm_l2: float, length: int, sum_error: float) -> float:
    """Return how far one client can move one computed sum; `GaussianSum.sensitivity`.

    Raises:
        ParameterError: the caller's: a number out of range.
    """
    if length < 1:
        raise ParameterError(f"length={length} must be at least 1.")
    if not 0 <= sum_error < math.inf:
        raise ParameterError(
            f"sum_error={sum_error} must be finite and not negative; take it from "
            "the encoder."
        )
    return clip_norm_l2 + 2 * math.sqrt(length) * sum_error


def add_noise(
    total: NDArray[np.float64] | None,
    noise: NDArray[np.float64],
    *,
    most: float,
    denominator: float,
) -> NDArray[np.float64]:
    """Return (total + noise) / denominator, having checked that all was clipped.

    Args:
        total: (length,) float64, or None for noise alone.
        noise: (length,) float64.
        most: bound on the norm of a sum of clipped updates.
        denominator: public, > 0.

    Raises:
        ParameterError: the caller's: a sum of another shape, not finite, or too long.
    """
    if total is None:
        return noise / denominator
    if total.shape != noise.shape or not np.isfinite(total).all():
        raise ParameterError(
            f"total has shape {total.shape} or is not finite; want {noise.shape} "
            "finite numbers, or None if there is no sum."
        )
    exact = total.astype(np.float64)
    # A little above, for the float arithmetic of the norm itself.
    if np.linalg.norm(exact) > most * (1 + 2.0**-20):
        raise ParameterError(
            f"total is longer than the {most:g} that so many clipped updates can come "
            "to; clip every update with clip_l2 and sum with weight 1."
        )
    released: NDArray[np.float64] = (exact + noise) / denominator
    return released
