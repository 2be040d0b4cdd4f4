"""Shares of noise through the real protocol: what is left after dropouts and collusion.

The worst case that a plan allows: D clients vanish, and A of the others tell the server
what noise they added. What remains must be at least what accounting counted on.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TypeAlias

import numpy as np
import pytest
from numpy.typing import NDArray

import secagg
from dp.discrete import DiscreteGaussian, Skellam
from dp.distributed import DistributedSum
from dp.integers import rounded
from dp.sizing import noise_for
from secagg.encoder import Encoder
from secagg.noise import Noise
from secagg.prg import Rng
from secagg.round import run_round

CLIENTS, CORRUPT, DROP, LENGTH, SEED = 10, 2, 3, 8000, 71
# Four standard errors of a variance from so many nearly Gaussian coordinates.
INTERVAL = 4 * math.sqrt(2 / LENGTH)
DELTA, ROUNDS, EPSILON = 1e-5, 5, 4.0
Kind: TypeAlias = type[DiscreteGaussian] | type[Skellam]
Tamper: TypeAlias = Callable[[int, NDArray[np.int64]], NDArray[np.int64]]


def _plans(kind: Kind) -> tuple[secagg.Plan, DistributedSum]:
    """Size noise and ring together: clip, scale, honest inputs, noise, bits."""
    silent = Encoder(clip_norm_l2=1.0, value_bits=10, weight_max=1)
    plan = secagg.plan(clients=CLIENTS, corrupt=CORRUPT, drop=DROP, encoder=silent)
    numbers = silent.at(LENGTH)
    total = noise_for(
        EPSILON,
        DELTA,
        rounds=ROUNDS,
        honest=plan.honest_min,
        integers=rounded(
            norm=numbers.l2_bound - math.sqrt(LENGTH),
            linf_bound=numbers.linf_bound,
            length=LENGTH,
        ),
        mechanism=kind,
    )
    noise_bits = total.noise.bound.bit_length() + 1
    noisy = Encoder(
        clip_norm_l2=1.0, value_bits=10, weight_max=1, noise_bits=noise_bits
    )
    return secagg.plan(
        clients=CLIENTS, corrupt=CORRUPT, drop=DROP, encoder=noisy
    ), total


def _left(kind: Kind, tamper: Tamper = lambda i, share: share) -> tuple[float, float]:
    """Return the variance left in a decoded sum in the worst case, and the claimed."""
    plan, total = _plans(kind)
    shares: list[NDArray[np.int64]] = []

    def noise(length: int, rng: Rng) -> NDArray[np.int64]:
        shares.append(tamper(len(shares), total.noise.draw(length, rng)))
        return shares[-1]

    drawn: Noise = noise
    updates = {f"c{i}": np.zeros(LENGTH, dtype=np.float32) for i in range(CLIENTS)}
    steps = ("share_keys", "masked_input", "masked_input")
    vanish = dict(zip(("c2", "c5", "c8"), steps, strict=True))
    result = run_round(plan, updates, seed=SEED, noise=drawn, vanish=vanish)
    assert result.survivors == frozenset(updates) - frozenset(vanish)
    decoded = result.mean.astype(np.float64) * result.weight * plan.encoder.scale
    summed = np.rint(decoded).astype(np.int64)
    assert np.abs(decoded - summed).max() < 0.01
    colluders = shares[0] + shares[9]
    remaining = summed - colluders
    return float(np.mean(remaining.astype(np.float64) ** 2)), float(
        total.honest * total.noise.variance
    )


@pytest.mark.parametrize("kind", [DiscreteGaussian, Skellam])
def test_what_is_left_in_the_worst_case_is_the_noise_that_was_claimed(
    kind: Kind,
) -> None:
    left, claimed = _left(kind)
    # All D vanish and all A collude, so exactly h honest shares remain.
    assert abs(left / claimed - 1) < INTERVAL


def _half(i: int, share: NDArray[np.int64]) -> NDArray[np.int64]:
    return share // 2


def _dropped(i: int, share: NDArray[np.int64]) -> NDArray[np.int64]:
    return share * (i != 4)


def _for_all(i: int, share: NDArray[np.int64]) -> NDArray[np.int64]:
    # As if all n shares counted: smaller by sqrt(h / n).
    smaller: NDArray[np.int64] = np.rint(share * math.sqrt(0.5)).astype(np.int64)
    return smaller


@pytest.mark.parametrize("bug", [_half, _dropped, _for_all])
def test_too_little_noise_would_be_noticed(bug: Tamper) -> None:
    left, claimed = _left(DiscreteGaussian, bug)
    assert left / claimed < 1 - INTERVAL


def test_a_sum_of_all_clients_has_the_noise_of_all() -> None:
    plan, total = _plans(DiscreteGaussian)
    updates = {f"c{i}": np.zeros(LENGTH, dtype=np.float32) for i in range(CLIENTS)}
    result = run_round(plan, updates, seed=SEED, noise=total.noise.draw)
    steps = result.mean.astype(np.float64) * result.weight * plan.encoder.scale
    everybody = CLIENTS * total.noise.variance
    assert abs(np.mean(steps**2) / everybody - 1) < INTERVAL
    assert total.epsilon(DELTA, rounds=ROUNDS) <= EPSILON
    assert plan.honest_min == total.honest == CLIENTS - DROP - CORRUPT
    # The exact room of the noise fits the room of whole bits that was agreed on.
    assert plan.encoder.ring_bits(CLIENTS) >= total.ring_bits(CLIENTS)


def test_the_mean_with_noise_is_the_mean_plus_the_noise() -> None:
    plan, total = _plans(DiscreteGaussian)
    rng = np.random.default_rng(1)
    updates = {}
    for i in range(CLIENTS):
        vector = rng.normal(size=LENGTH)
        updates[f"c{i}"] = (vector / np.linalg.norm(vector)).astype(np.float32)
    result = run_round(plan, updates, seed=SEED, noise=total.noise.draw)
    off = result.mean - np.mean(list(updates.values()), axis=0)
    # Rounding adds at most a quarter of a step squared for each client.
    scaled = off.astype(np.float64) * CLIENTS * plan.encoder.scale
    variance = CLIENTS * total.noise.variance
    assert np.mean(scaled**2) <= (variance + CLIENTS / 4) * (1 + INTERVAL)
    assert np.mean(scaled**2) >= variance * (1 - INTERVAL)
    assert np.abs(off).max() <= result.max_error
