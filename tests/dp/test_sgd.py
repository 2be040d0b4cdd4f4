"""DP-SGD: a hand-written oracle, the noise, and what N may not touch."""

from __future__ import annotations

import math
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from dp import ParameterError, sampled_gaussian
from dp.sgd import _descend, example_event, train_private

SETTINGS: dict[str, Any] = {
    "steps": 3,
    "sampling_rate": 0.5,
    "batch_size": 4.0,
    "clip_norm_l2": 0.5,
    "learning_rate": 0.3,
    "momentum": 0.0,
    "seed": 11,
}
NOISE: dict[str, Any] = {"noise_multiplier": 1.3, "noise_seed": b"noise"}


def mlp() -> nn.Module:
    return seeded(nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3)))


def cnn() -> nn.Module:
    return seeded(
        nn.Sequential(
            nn.Conv2d(1, 4, 3), nn.GroupNorm(2, 4), nn.ReLU(), nn.Flatten(),
            nn.Linear(4 * 4 * 4, 3),
        )
    )  # fmt: skip


def seeded(model: nn.Module) -> nn.Module:
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape) * 0.5)
    return model


def records(n: int, shape: tuple[int, ...] = (6,)) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(5)
    x = torch.randn(n, *shape, generator=generator)
    return x, torch.randint(3, (n,), generator=generator)


def flat(model: nn.Module) -> np.ndarray:
    return torch.cat([p.detach().reshape(-1) for p in model.parameters()]).numpy()


def silent(model: nn.Module, x: Tensor, y: Tensor, **changes: Any) -> np.ndarray:
    """The steps without noise, which the public call refuses."""
    length = sum(p.numel() for p in model.parameters() if p.requires_grad)
    return _descend(
        model, x, y, **{**SETTINGS, **changes}, draw=lambda _: np.zeros(length)
    )


def oracle(model: nn.Module, x: Tensor, y: Tensor, **changes: Any) -> np.ndarray:
    """Abadi et al., Algorithm 1, record by record in float64, without noise."""
    own = {**SETTINGS, **changes}
    model = model.double()
    parameters = list(model.parameters())
    start = flat(model)
    velocity = np.zeros_like(start)
    coins = torch.Generator().manual_seed(own["seed"])
    for _ in range(own["steps"]):
        chosen = torch.rand(len(y), generator=coins, dtype=torch.float64)
        total = np.zeros_like(start)
        for i in range(len(y)):
            if chosen[i] >= own["sampling_rate"]:
                continue
            loss = cross_entropy(model(x[i : i + 1].double()), y[i : i + 1])
            parts = torch.autograd.grad(loss, parameters)
            gradient = torch.cat([p.reshape(-1) for p in parts]).numpy()
            norm = float(np.linalg.norm(gradient))
            total += gradient * min(1.0, own["clip_norm_l2"] / norm)
        velocity = own["momentum"] * velocity + total / own["batch_size"]
        now = torch.from_numpy(flat(model) - own["learning_rate"] * velocity)
        with torch.no_grad():
            for p, part in zip(
                parameters, now.split([p.numel() for p in parameters]), strict=True
            ):
                p.copy_(part.view_as(p))
    return flat(model) - start


@pytest.mark.parametrize("clip", [0.05, 0.5, 50.0])
@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_equals_the_loop_over_records(clip: float, momentum: float) -> None:
    changes = {"clip_norm_l2": clip, "momentum": momentum}
    x, y = records(9)
    got = silent(mlp(), x, y, **changes)
    want = oracle(mlp(), x, y, **changes)
    assert np.linalg.norm(want) > 1e-3
    assert np.allclose(got, want, atol=1e-6, rtol=4e-5)


def test_equals_the_loop_over_records_for_a_convolution() -> None:
    x, y = records(7, (1, 6, 6))
    assert np.allclose(silent(cnn(), x, y), oracle(cnn(), x, y), atol=1e-6, rtol=4e-5)


def test_a_mean_over_the_batch_would_be_noticed() -> None:
    x, y = records(9)
    got = silent(mlp(), x, y, clip_norm_l2=0.05)
    wrong = oracle(mlp(), x, y, clip_norm_l2=0.05, batch_size=9.0)
    assert not np.allclose(got, wrong, atol=1e-6, rtol=4e-5)


def variance_tail(draws: np.ndarray, std: float) -> float:
    return float(stats.chi2.cdf(np.square(draws / std).sum(), draws.size))


def test_noise_has_the_stated_standard_deviation() -> None:
    x, y = records(9)
    one = {**SETTINGS, "steps": 1}
    still = silent(mlp(), x, y, steps=1)
    draws = np.stack(
        [
            train_private(
                mlp(), x, y, **one, noise_multiplier=1.3, noise_seed=bytes([i, 1])
            )
            - still
            for i in range(150)
        ]
    )
    std = 0.3 * 1.3 * 0.5 / 4.0
    assert 0.0005 < variance_tail(draws, std) < 0.9995
    assert variance_tail(draws, std * 0.95) > 0.9995
    assert stats.kstest(draws.ravel() / std, "norm").pvalue > 0.001


def test_every_step_has_its_own_noise() -> None:
    x, y = records(0)
    one = train_private(mlp(), x, y, **{**SETTINGS, "steps": 1}, **NOISE)
    two = train_private(mlp(), x, y, **{**SETTINGS, "steps": 2}, **NOISE)
    second = two - one
    assert abs(np.corrcoef(one, second)[0, 1]) < 0.5
    assert 0.0005 < variance_tail(second, 0.3 * 1.3 * 0.5 / 4.0) < 0.9995


@pytest.mark.parametrize("n", [0, 9])
def test_an_empty_sample_adds_noise(n: int) -> None:
    x, y = records(n)
    changes = {**SETTINGS, "sampling_rate": 1e-12, "steps": 5}
    change = train_private(mlp(), x, y, **changes, **NOISE)
    assert not silent(mlp(), x, y, sampling_rate=1e-12).any()
    std = 0.3 * 1.3 * 0.5 / 4.0 * math.sqrt(5)
    assert 0.0005 < variance_tail(change, std) < 0.9995


@pytest.mark.parametrize("size", [1.0, 1e3, 1e30, math.inf, math.nan])
def test_one_record_moves_a_step_by_the_clip_norm_at_most(size: float) -> None:
    x, y = records(9)
    worst = torch.cat([x, torch.full((1, 6), size)])
    labels = torch.cat([y, torch.tensor([2])])
    all_in = {"sampling_rate": 1.0, "steps": 1}
    gap = silent(mlp(), worst, labels, **all_in) - silent(mlp(), x, y, **all_in)
    # Float32 rounding of the weights comes on top.
    assert np.linalg.norm(gap) <= 0.3 * 0.5 / 4.0 + 1e-6
    noisy = train_private(mlp(), worst, labels, **{**SETTINGS, **all_in}, **NOISE)
    assert np.isfinite(noisy).all()


def test_the_number_of_records_touches_neither_normaliser_nor_noise() -> None:
    never = {**SETTINGS, "sampling_rate": 1e-12}
    changes = [
        train_private(mlp(), *records(n), **never, **NOISE) for n in (0, 1, 9, 500)
    ]
    for change in changes[1:]:
        assert np.array_equal(change, changes[0])
    # With every coin heads, the sum grows with N and the divisor does not.
    x, y = records(1)
    one_step = {"sampling_rate": 1.0, "steps": 1}
    once = silent(mlp(), x, y, **one_step)
    thrice = silent(mlp(), x.repeat(3, 1), y.repeat(3), **one_step)
    assert np.allclose(thrice, 3 * once, atol=1e-6)


def test_seeds_repeat_and_no_seed_does_not() -> None:
    x, y = records(9)
    first = train_private(mlp(), x, y, **SETTINGS, **NOISE)
    assert np.array_equal(first, train_private(mlp(), x, y, **SETTINGS, **NOISE))
    fresh = {**NOISE, "noise_seed": None}
    one = train_private(mlp(), x, y, **SETTINGS, **fresh)
    assert not np.array_equal(one, train_private(mlp(), x, y, **SETTINGS, **fresh))


def test_model_is_left_trained_and_clean_and_torch_as_it_was() -> None:
    x, y = records(9)
    model, start = mlp(), flat(mlp())
    threads, state = torch.get_num_threads(), torch.get_rng_state()
    change = train_private(model, x, y, **SETTINGS, **NOISE)
    assert change.dtype == np.float32
    assert np.array_equal(flat(model) - start, change)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.get_num_threads() == threads
    for parameter in model.parameters():
        assert parameter.grad is None
        assert not vars(parameter)
    for layer in model.modules():
        assert not layer._forward_hooks
        assert not layer._backward_hooks
        assert not hasattr(layer, "activations")
    assert not hasattr(model, "autograd_grad_sample_hooks")
    train_private(model, x, y, **SETTINGS, **NOISE)  # and again


def test_frozen_parameters_stay() -> None:
    model = mlp()
    model[0].weight.requires_grad_(False)  # type: ignore[index, union-attr, operator]
    change = train_private(model, *records(9), **SETTINGS, **NOISE)
    assert not change[:30].any()
    assert change[30:].all()


class Centred(nn.Module):
    """Averages over the batch in a way that no list of layers shows."""

    def __init__(self) -> None:
        super().__init__()
        self.last = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.last(x - x.mean(dim=0))
        return out


class Idle(nn.Module):
    """Has a parameter that no record reaches."""

    def __init__(self) -> None:
        super().__init__()
        self.last, self.idle = nn.Linear(6, 3), nn.Linear(2, 2)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.last(x)
        return out


@pytest.mark.parametrize(
    ("model", "says"),
    [
        (nn.Sequential(nn.Linear(6, 3), nn.BatchNorm1d(3)), "GroupNorm"),
        (
            nn.Sequential(
                nn.Unflatten(1, (3, 2)),
                nn.InstanceNorm1d(3, track_running_stats=True),
                nn.Flatten(),
                nn.Linear(6, 3),
            ),
            "GroupNorm",
        ),
        (Centred(), "depends on the others"),
        (Idle(), "no gradient for each record"),
        (nn.Sequential(nn.Linear(6, 3)).requires_grad_(False), "nothing to train"),
    ],
)
def test_models_that_mix_records_are_refused(model: nn.Module, says: str) -> None:
    before = flat(model).copy()
    with pytest.raises(ParameterError, match=says):
        train_private(model, *records(9), **SETTINGS, **NOISE)
    assert np.array_equal(flat(model), before)
    assert not any(vars(p) for p in model.parameters())
    assert not any("activations" in vars(layer) for layer in model.modules())


def test_dropout_is_not_taken_for_mixing() -> None:
    model = nn.Sequential(nn.Linear(6, 5), nn.Dropout(0.5), nn.Linear(5, 3))
    assert train_private(model, *records(9), **SETTINGS, **NOISE).any()


def test_divergence_is_refused_with_its_cure() -> None:
    wild = {**SETTINGS, **NOISE, "learning_rate": 1e38, "noise_multiplier": 1e3}
    with pytest.raises(ParameterError, match="learning_rate"):
        train_private(mlp(), *records(9), **wild)
    broken = mlp()
    broken[0].weight.data[0, 0] = math.nan  # type: ignore[index, union-attr]
    with pytest.raises(ParameterError, match="NaN"):
        train_private(broken, *records(9), **SETTINGS, **NOISE)


@pytest.mark.parametrize(
    "change",
    [
        {"steps": 0},
        {"sampling_rate": 0.0},
        {"sampling_rate": 1.01},
        {"batch_size": 0.0},
        {"clip_norm_l2": 0.0},
        {"clip_norm_l2": math.nan},
        {"noise_multiplier": 0.0},
        {"noise_multiplier": -1.0},
        {"learning_rate": 0.0},
        {"momentum": 1.0},
        {"noise_seed": b""},
    ],
)
def test_bad_settings_are_refused(change: dict[str, Any]) -> None:
    model, start = mlp(), flat(mlp())
    with pytest.raises(ParameterError):
        train_private(model, *records(9), **{**SETTINGS, **NOISE, **change})
    assert np.array_equal(flat(model), start)


def test_bad_records_are_refused() -> None:
    x, y = records(9)
    for bad in ((x, y[:3]), (x.long(), y), (x, x)):
        with pytest.raises(ParameterError):
            train_private(mlp(), *bad, **SETTINGS, **NOISE)


def test_the_event_is_one_step() -> None:
    assert example_event(0.5, 1.3) == sampled_gaussian(1.3, 0.5)


def test_dp_itself_needs_neither_torch_nor_opacus() -> None:
    code = "import sys, dp; print({'torch', 'opacus'} & set(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "set()"
