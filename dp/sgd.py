"""DP-SGD: what happens to the gradients of one step's records.

Abadi et al., "Deep learning with differential privacy", CCS 2016, arXiv:1607.00133,
Algorithm 1: each step draws a Poisson sample of the records, clips each record's
gradient to an L2 norm of C, sums, adds N(0, (sigma C)^2 I), divides by a constant.

That is for the unit "example", one record. For the unit "subject" a person takes the
record's place: one coin, and the gradients of all the person's records are summed
*before* the sum is clipped to C. Clipped one by one, five records would add up to 5 C.
Here a record is a unit of either kind; who fills `PerExampleGradients` says which.

    mechanism = DpSgd(sampling_rate=0.1, batch_size=6.0, clip_norm_l2=1.0,
                      noise_multiplier=1.1)
    sums = mechanism.clipped_sums(found, sampled)        # found: PerExampleGradients
    gradient = mechanism.release(sums, mechanism.noise(length, seeds, step))

or, for who takes all steps in a row and adds up gradients and noise in one place,

    noises = mechanism.noises(length, seeds)
    gradient = next(noises) + found.weighted_sums(mechanism.shares(norms, sampled))

Who computes the gradients, and walks along them, is the caller's business: any engine
that fills `PerExampleGradients` serves, for one client or for a stack of them.

The sampling rate and the normaliser are public constants. Opacus' PrivacyEngine takes
both from the number of records, which is itself private (Opacus issues 571 and 819), so
that one record more can halve the step. Noise is `dp.noise32.gaussian32`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from dp_accounting import DpEvent
from numpy.typing import NDArray
from torch import Tensor

from dp.accounting import sampled_gaussian
from dp.clipping import BOUND_MAX
from dp.errors import ParameterError
from dp.noise32 import gaussians32

# With a smaller clip norm, large gradients scaled down to it leave float32's range.
CLIP_MIN = 2.0**-60
# Sums are taken in float32; aiming this much lower keeps each exact norm within C.
MARGIN = 1.0 - 2.0**-16


class PerExampleGradients(Protocol):
    """The gradients of the records in one step, in whatever form is cheapest.

    Guarantee of who fills it: a record's norm and share depend on that record and the
    parameters alone. A record whose gradient is not finite has norm 0 and no share, so
    that it can neither stop a run nor be seen in it.
    """

    def norms(self) -> Tensor:
        """Return the L2 norm of each record's whole gradient, (clients, width)."""

    def weighted_sums(self, factors: Tensor) -> Tensor:
        """Return each client's sum of gradients times factors.

        Args:
            factors: (clients, width) float64.

        Returns:
            (clients, parameters) float32.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class DpSgd:
    """One noisy step, the same for every client.

    Guarantee: for real-valued noise, what `release` returns is `event` for adding or
    removing one record, if each record was sampled by a coin of its own that comes up
    with `sampling_rate`, and the parameters, these constants and the coins do not
    depend on the records otherwise. Steps compose.

    Attributes:
        sampling_rate: each record's chance to be in a step, in (0, 1]; public.
        batch_size: what each noisy sum is divided by, > 0; public. Use the sampling
            rate times a public guess of N, never the number of a client's records.
        clip_norm_l2: C, on each record's whole gradient.
        noise_multiplier: sigma, > 0.

    Raises:
        ParameterError: the caller's: a number out of range.
    """

    sampling_rate: float
    batch_size: float
    clip_norm_l2: float
    noise_multiplier: float

    def __post_init__(self) -> None:
        sampled_gaussian(self.noise_multiplier, self.sampling_rate)  # checks both
        if not CLIP_MIN <= self.clip_norm_l2 <= BOUND_MAX:
            raise ParameterError(
                f"clip_norm_l2={self.clip_norm_l2} must be in [2^-60, 2^100]."
            )
        if not 0 < self.batch_size < math.inf:
            raise ParameterError(
                f"batch_size={self.batch_size} must be positive; it is a public "
                "constant, the sampling rate times a guess of the number of records."
            )

    @property
    def event(self) -> DpEvent:
        """Return what one step spends about one client's records."""
        return sampled_gaussian(self.noise_multiplier, self.sampling_rate)

    def noises(
        self, length: int, seeds: Sequence[bytes | None]
    ) -> Iterator[NDArray[np.float32]]:
        """Draw what is added to each client's `shares`, step after step.

        That is the noise of a step, already divided by the batch size; one key draws it
        for all steps.

        Args:
            length: number of parameters.
            seeds: one per client, used for this training and no other; None in
                deployment, which takes the operating system's bytes.

        Returns:
            of (clients, length) float32, one for each step, without end.

        Raises:
            ParameterError: a seed is empty.
        """
        std = self.noise_multiplier * self.clip_norm_l2 / self.batch_size
        named = [_with(seed, b"/steps") for seed in seeds]
        return gaussians32(length, std, seeds=named)

    def noise(
        self, length: int, seeds: Sequence[bytes | None], step: int
    ) -> NDArray[np.float32]:
        """Draw one step's noise for each client, for who keeps nothing between steps.

        It is not that of `noises`; a training takes the one or the other.

        Args:
            length: as in `noises`.
            seeds: as in `noises`.
            step: number of the step, from 0.

        Returns:
            (clients, length) float32.

        Raises:
            ParameterError: a seed is empty.
        """
        number = b"/step/" + step.to_bytes(8, "little")
        std = self.noise_multiplier * self.clip_norm_l2
        named = [_with(seed, number) for seed in seeds]
        return next(gaussians32(length, std, seeds=named))

    def clipped_sums(self, found: PerExampleGradients, sampled: Tensor) -> Tensor:
        """Return each client's sum of clipped gradients; not to be released.

        The records of a step may come in several parts, whose sums are added.

        Args:
            found: of the step's records, or some of them.
            sampled: (clients, width) bool, the records that are in their client's
                sample; the others only fill up the stack.

        Returns:
            (clients, parameters) float32.

        Raises:
            ParameterError: ``found`` breaks its guarantee: a norm is not finite.
        """
        return found.weighted_sums(self.clip_factors(found.norms(), sampled))

    def clip_factors(self, norms: Tensor, sampled: Tensor) -> Tensor:
        """Return what each record's gradient counts for, (clients, width) float64.

        Guarantee: at most 1, and a gradient of that norm times its factor is no longer
        than C; 0 for a record that is in no sample.

        Args:
            norms: of the gradients, (clients, width) float64.
            sampled: as for `clipped_sums`.

        Raises:
            ParameterError: a norm is not finite.
        """
        if not bool(torch.isfinite(norms).all()):
            raise ParameterError(
                "a record's gradient norm is not finite, so it cannot be clipped; "
                "an engine must give such a record norm 0 and no share."
            )
        # A norm of 0 divides to infinity, and is then left as it is.
        return (self.clip_norm_l2 * MARGIN / norms).clamp_(max=1.0).mul_(sampled)

    def shares(self, norms: Tensor, sampled: Tensor) -> Tensor:
        """Return `clip_factors` divided by the batch size.

        Guarantee: the gradients times these, summed, and one step's array of `noises`
        are what `release` would return of the clipped sums and noise of that size.
        """
        return self.clip_factors(norms, sampled).div_(self.batch_size)

    def release(self, sums: Tensor, noise: Tensor) -> Tensor:
        """Return the noisy gradient that each client may step along.

        Args:
            sums: (clients, parameters) float32 from `clipped_sums`, or the same part
                of all or some of them; zeros where a sample is empty. Overwritten.
            noise: the same shape, from `noise`.
        """
        return sums.add_(noise).div_(self.batch_size)


def _with(seed: bytes | None, purpose: bytes) -> bytes | None:
    if seed is None:
        return None
    if not seed:
        raise ParameterError("noise_seed is empty; give bytes, or None.")
    return seed + purpose
