"""Adaptive clipping: its split of the noise, its sensitivity, and where it settles."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import dp
from dp.adaptive import SPAN, AdaptiveSum
from dp.errors import ParameterError


def mechanism(**changes):
    values = {
        "clip_norm_l2": 1.0,
        "start": 1.0,
        "noise_multiplier": 1.0,
        "count_noise": 5.0,
        "sampling_rate": 1.0,
        "clients": 100,
    }
    return AdaptiveSum(**(values | changes))


@pytest.mark.parametrize(
    ("z", "clients", "wanted"),
    [(1.0, 100, 1.005038), (0.5, 100, 0.500626), (1.0, 1000, 1.000050)],
)
def test_noise_is_split_as_published(z, clients, wanted):
    # arXiv:1905.03871, theorem 1, with sigma_b of a twentieth of the cohort.
    one = mechanism(noise_multiplier=z, count_noise=clients / 20, clients=clients)
    assert one.update_multiplier == pytest.approx(wanted, abs=1e-6)


def test_a_round_costs_what_it_costs_with_a_fixed_clip_norm():
    one = mechanism(noise_multiplier=1.3, sampling_rate=0.25)
    assert one.event == dp.sampled_gaussian(1.3, 0.25)
    assert one.after(0.9).event == one.event


@settings(max_examples=30, deadline=None)
@given(
    norms=st.lists(st.floats(0, 3), min_size=1, max_size=6),
    clip=st.floats(1e-2, 1e2),
    z=st.floats(0.1, 9),
    over=st.floats(1.01, 50),
)
def test_one_client_moves_the_sum_by_no_more_than_is_noised(norms, clip, z, over):
    one = mechanism(
        clip_norm_l2=clip, noise_multiplier=z, count_noise=z / 2 * over, start=clip
    )
    rng = np.random.default_rng(0)
    for norm in norms:
        raw = rng.normal(size=4)
        update = dp.clip_l2(raw / np.linalg.norm(raw) * norm * clip, clip).vector
        sent = one.attach(update).astype(np.float64)
        assert np.linalg.norm(sent) <= one.joint.clip_norm_l2
        # Half of what a full bit counts: the count's sensitivity is 1/2.
        count = abs(sent[-1]) / (2 * one._amplitude)
        assert count == pytest.approx(0.5, rel=1e-6)
        if not 1 - 2**-14 < norm < 1:  # so close below C it counts as clipped
            assert (sent[-1] > 0) == (norm < 1)


def test_the_count_s_noise_is_what_was_asked_for():
    one, length = mechanism(noise_multiplier=2.0, sampling_rate=0.5), 3
    total = np.zeros(length + 1)
    shares, changes = [], []
    for index in range(800):
        change, share = one.release(
            total, length=length, sum_error=0.0, seed=b"n%d" % index
        )
        shares.append(share)
        changes.append(change)
    # 5 standard errors of 1 / sqrt(2 n); of a count of 50 that is expected.
    assert np.std(shares) * 50 == pytest.approx(5.0, rel=5 / 1600**0.5)
    wanted = one.update_multiplier / 50
    assert np.std(changes) == pytest.approx(wanted, rel=5 / 4800**0.5)
    assert np.mean(shares) == pytest.approx(0.5, abs=5 * 0.1 / 800**0.5)


def test_count_noise_that_is_forgotten_would_be_noticed():
    """Planted: the noise of the count left out, and of the update kept as it is."""
    fixed = mechanism(noise_multiplier=2.0).joint
    honest = fixed.release(None, length=4, sum_error=0.0, seed=b"x")
    _, share = mechanism(noise_multiplier=2.0).release(
        None, length=3, sum_error=0.0, seed=b"x"
    )
    assert share != 0.5  # without noise it is exactly that where nobody came
    amplitude = mechanism(noise_multiplier=2.0)._amplitude
    assert share == pytest.approx(0.5 + honest[-1] / (2 * amplitude))


@pytest.mark.parametrize("quantile", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("start", [0.01, 1.0, 100.0])
def test_without_noise_the_clip_norm_settles_at_the_quantile(quantile, start):
    norms = np.random.default_rng(1).lognormal(0, 0.5, size=999)
    one = mechanism(clip_norm_l2=start, start=start, quantile=quantile)
    for _ in range(800):
        one = one.after(float((norms < one.clip_norm_l2).mean()))
    assert (norms < one.clip_norm_l2).mean() == pytest.approx(quantile, abs=0.01)


def test_the_clip_norm_stays_within_public_bounds():
    up = down = mechanism()
    for _ in range(100):
        up, down = up.after(0.0), down.after(1.0)
    assert (up.clip_norm_l2, down.clip_norm_l2) == (SPAN, 1 / SPAN)
    with pytest.raises(ParameterError, match="public bounds"):
        mechanism(clip_norm_l2=2 * SPAN)


def test_nobody_below_or_everybody_is_a_step_of_the_learning_rate():
    one = mechanism(quantile=1.0)
    assert one.after(1.0) == one
    assert one.after(0.0).clip_norm_l2 == pytest.approx(np.exp(0.2))


def test_updates_that_were_not_clipped_are_refused():
    with pytest.raises(ParameterError, match="longer"):
        mechanism().attach(np.array([1.0, 0.1], dtype=np.float32))


@pytest.mark.parametrize(
    "bad",
    [
        {"quantile": 1.1},
        {"quantile": -0.1},
        {"learning_rate": 0.0},
        {"count_noise": 0.5},  # half of z: nothing would be left for the update
        {"count_noise": np.inf},
        {"start": 0.0},
        {"noise_multiplier": 0.0},
        {"sampling_rate": 1.5},
        {"clients": 0},
    ],
)
def test_constants_out_of_range_are_refused(bad):
    with pytest.raises(ParameterError):
        mechanism(**bad)
