"""Example-level DP-SGD on one client, with Opacus' gradients and optimiser.

Abadi et al., "Deep learning with differential privacy", CCS 2016, arXiv:1607.00133,
Algorithm 1: each step draws a Poisson sample of the records, clips each record's
gradient to an L2 norm of C, sums, adds N(0, (sigma C)^2 I), divides by a constant.

    change = train_private(model, x, y, steps=20, sampling_rate=0.1, batch_size=6.0,
                           clip_norm_l2=1.0, noise_multiplier=1.1, learning_rate=0.5,
                           seed=7, noise_seed=None)

Of Opacus, GradSampleModule and DPOptimizer are used, but not PrivacyEngine: that takes
the sampling rate and the normaliser from the number of records, which is itself private
(Opacus issues 571 and 819), so that one record more can halve the step. Here both are
public constants of the caller, and the records say only who can be sampled. Noise is
`dp.noise.gaussian`, in the place of DPOptimizer's `torch.normal`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from dp_accounting import DpEvent
from numpy.typing import NDArray
from torch import Tensor, nn

from dp.accounting import sampled_gaussian
from dp.clipping import BOUND_MAX, BOUND_MIN
from dp.errors import ParameterError
from dp.gradients import Draw, PublicOptimizer, fill_gradients, per_example, quiet
from dp.independence import check_independent
from dp.noise import gaussian


def example_event(sampling_rate: float, noise_multiplier: float) -> DpEvent:
    """Return what one step of `train_private` spends about one client's records."""
    return sampled_gaussian(noise_multiplier, sampling_rate)


def train_private(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    *,
    steps: int,
    sampling_rate: float,
    batch_size: float,
    clip_norm_l2: float,
    noise_multiplier: float,
    learning_rate: float,
    momentum: float = 0.0,
    seed: int,
    noise_seed: bytes | None,
) -> NDArray[np.float32]:
    """Train the model in place on one client's records; return the noisy change.

    Guarantee: for real-valued noise, the change (and all that is made of it) is
    `example_event` composed `steps` times, for adding or removing one record, if the
    model, the settings and both seeds do not depend on the records. A step whose sample
    is empty adds noise all the same and counts. A record with a gradient that is not
    finite counts with zeros in those places, so that it cannot stop the run.

    Equal arguments give the same change, bit for bit, on the same kind of machine.
    Torch's global generator and number of threads are left as they were.

    Args:
        model: in its released state; left in the trained state, in training mode,
            without hooks. All its operations must keep records apart.
        x: (N, *input_shape) float32; N >= 0 is private and shapes nothing else.
        y: (N,) int64.
        steps: noisy steps, >= 1; public.
        sampling_rate: each record's chance to be in a step, in (0, 1]; public.
        batch_size: what each noisy sum is divided by, > 0; public. Use the sampling
            rate times a public guess of N, never the number of this client's records.
        clip_norm_l2: C, on each record's whole gradient.
        noise_multiplier: sigma, > 0.
        learning_rate: > 0.
        momentum: in [0, 1), as torch.optim.SGD; starts from zero and is not kept.
        seed: of the coins and of dropout. The coins must stay as secret as the records.
        noise_seed: of this call's noise and no other's; None in deployment.

    Returns:
        (parameters,) float32, trained less released, in the order of `parameters()`.

    Raises:
        ParameterError: the caller's: a number out of range, a model with layers that
            mix records (BatchNorm) or unused parameters, or a training that diverged.
    """
    sampled_gaussian(noise_multiplier, sampling_rate)  # checks their ranges
    std = noise_multiplier * clip_norm_l2
    length = sum(p.numel() for p in model.parameters() if p.requires_grad)

    def draw(step: int) -> NDArray[np.float64]:
        own = None if noise_seed is None else _step_seed(noise_seed, step)
        return gaussian(length, std, seed=own)

    return _descend(
        model,
        x,
        y,
        steps=steps,
        sampling_rate=sampling_rate,
        batch_size=batch_size,
        clip_norm_l2=clip_norm_l2,
        learning_rate=learning_rate,
        momentum=momentum,
        seed=seed,
        draw=draw,
    )


def _descend(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    *,
    steps: int,
    sampling_rate: float,
    batch_size: float,
    clip_norm_l2: float,
    learning_rate: float,
    momentum: float,
    seed: int,
    draw: Draw,
) -> NDArray[np.float32]:
    """Run the steps with whatever noise is given; the tests give none."""
    _check_numbers(steps, batch_size, clip_norm_l2, learning_rate, momentum)
    _check_records(x, y)
    coins = torch.Generator().manual_seed(seed)
    trained = [p for p in model.parameters() if p.requires_grad]
    if not trained:
        raise ParameterError("The model has nothing to train; unfreeze a parameter.")
    before = _flat(model)
    if not np.isfinite(before).all():
        raise ParameterError("The model to train holds NaN or infinity; reload it.")
    model.train()
    with _one_thread(), torch.random.fork_rng(devices=[]), quiet():
        # The CPU's generator alone; torch.manual_seed also visits every device.
        torch.default_generator.manual_seed(seed)
        check_independent(model, x.shape[1:])
        with per_example(model) as wrapped:
            optimizer = PublicOptimizer(
                torch.optim.SGD(trained, lr=learning_rate, momentum=momentum),
                draw=draw,
                clip_norm_l2=clip_norm_l2,
                batch_size=batch_size,
            )
            for _ in range(steps):
                # float64: the chance of u < q is q to 53 bits, not 24.
                chosen = torch.rand(len(y), generator=coins, dtype=torch.float64)
                rows = (chosen < sampling_rate).nonzero()[:, 0]
                fill_gradients(wrapped, trained, x[rows], y[rows])
                optimizer.step()
                optimizer.zero_grad(set_to_none=True)
    change = _flat(model) - before
    if not np.isfinite(change).all():
        raise ParameterError(
            f"DP-SGD diverged at learning_rate={learning_rate}; lower it, or the noise."
        )
    return change


def _step_seed(noise_seed: bytes, step: int) -> bytes:
    if not noise_seed:
        raise ParameterError("noise_seed is empty; give bytes, or None.")
    return noise_seed + b"/step/" + step.to_bytes(8, "little")


def _check_numbers(
    steps: int,
    batch_size: float,
    clip_norm_l2: float,
    learning_rate: float,
    momentum: float,
) -> None:
    if steps < 1:
        raise ParameterError(f"steps={steps} must be at least 1.")
    if not BOUND_MIN <= clip_norm_l2 <= BOUND_MAX:
        raise ParameterError(f"clip_norm_l2={clip_norm_l2} must be in [2^-100, 2^100].")
    if not 0 < batch_size < math.inf:
        raise ParameterError(
            f"batch_size={batch_size} must be positive; it is a public constant, the "
            "sampling rate times a guess of the number of records."
        )
    if not 0 < learning_rate < math.inf:
        raise ParameterError(f"learning_rate={learning_rate} must be positive.")
    if not 0 <= momentum < 1:
        raise ParameterError(f"momentum={momentum} must be in [0, 1).")


def _check_records(x: Tensor, y: Tensor) -> None:
    if not x.is_floating_point():
        raise ParameterError(f"x is {x.dtype}; give float32 records.")
    if x.ndim < 2 or y.ndim != 1 or len(x) != len(y):
        raise ParameterError(
            f"x of shape {tuple(x.shape)} and y of shape {tuple(y.shape)} must be "
            "(N, *input_shape) and (N,)."
        )


def _flat(model: nn.Module) -> NDArray[np.float32]:
    parts = [p.detach().reshape(-1) for p in model.parameters()]
    flat: NDArray[np.float32] = torch.cat(parts).to(torch.float32).cpu().numpy()
    return flat


@contextmanager
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
