"""DP-SGD's step: clipping, noise, divisor, and what it refuses."""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from dp import ParameterError, sampled_gaussian
from dp.gradients import per_example
from dp.independence import check_independent
from dp.noise32 import gaussian32
from dp.sgd import DpSgd

STEP = DpSgd(sampling_rate=0.5, batch_size=4.0, clip_norm_l2=0.5, noise_multiplier=1.3)


PARTS = (slice(0, 2), slice(2, None))


@dataclass(frozen=True)
class Given:
    """Gradients as they are: (clients, width, parameters)."""

    gradients: Tensor

    def norms(self) -> Tensor:
        return self.gradients.double().norm(dim=2)

    def weighted_sums(self, factors: Tensor) -> Tensor:
        return (self.gradients * factors.unsqueeze(2)).sum(dim=1).float()


def clipped_sums(gradients: np.ndarray, sampled: np.ndarray, clip: float) -> np.ndarray:
    """The oracle: every record on its own."""
    sums = np.zeros((gradients.shape[0], gradients.shape[2]))
    for client, records in enumerate(gradients):
        for record, gradient in enumerate(records):
            if sampled[client, record]:
                norm = math.sqrt(float((gradient**2).sum()))
                sums[client] += gradient * min(1.0, clip / norm) if norm else 0.0
    return sums


def test_a_step_is_the_noisy_sum_of_clipped_gradients_over_a_constant() -> None:
    rng = np.random.default_rng(0)
    gradients = rng.normal(size=(3, 5, 7)) * rng.choice([0.0, 0.01, 1, 1e6], (3, 5, 1))
    sampled = rng.random((3, 5)) < 0.6
    noise = rng.normal(size=(3, 7))
    given, up = torch.from_numpy(gradients), torch.from_numpy(sampled)
    sums = STEP.clipped_sums(Given(given), up)
    parts = [STEP.clipped_sums(Given(given[:, at]), up[:, at]) for at in PARTS]
    assert torch.allclose(sums, parts[0] + parts[1], atol=1e-6)
    found = STEP.release(sums, torch.from_numpy(noise).float())
    wanted = (clipped_sums(gradients, sampled, 0.5) + noise) / 4.0
    assert np.allclose(found.numpy(), wanted, atol=2e-5)
    # A divisor that counts the sample would be noticed.
    counted = (clipped_sums(gradients, sampled, 0.5) + noise) / sampled.sum(1)[:, None]
    assert not np.allclose(found.numpy(), counted, atol=2e-5)


@pytest.mark.parametrize("size", [0.0, 1e-30, 0.4, 0.5, 0.6, 1e20])
def test_no_record_counts_for_more_than_the_clip_norm(size: float) -> None:
    direction = np.random.default_rng(1).normal(size=(1, 1, 9))
    one = torch.from_numpy(direction / np.linalg.norm(direction) * size)
    found = STEP.clipped_sums(Given(one), torch.ones(1, 1).bool())
    assert float(found.double().norm()) <= 0.5
    assert float(found.double().norm()) >= min(size, 0.5) * (1 - 1e-4)


def test_an_empty_sample_releases_noise_alone() -> None:
    noise, nobody = torch.randn(2, 6), torch.zeros(2, 3).bool()
    sums = STEP.clipped_sums(Given(torch.randn(2, 3, 6)), nobody)
    assert torch.equal(STEP.release(sums, noise), noise / 4.0)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_an_engine_that_breaks_its_promise_is_refused(bad: float) -> None:
    broken = Given(torch.full((1, 2, 3), bad))
    with pytest.raises(ParameterError, match="not finite"):
        STEP.clipped_sums(broken, torch.ones(1, 2).bool())


def test_noise_has_the_stated_standard_deviation_and_is_each_ones_own() -> None:
    draws = [STEP.noise(400, [b"one", b"two"], step) for step in range(10)]
    flat = np.stack(draws).ravel() / (1.3 * 0.5)
    assert 0.0005 < stats.chi2.cdf(np.square(flat).sum(), flat.size) < 0.9995
    assert stats.chi2.cdf(np.square(flat / 0.93).sum(), flat.size) > 0.9995
    assert stats.kstest(flat, "norm").pvalue > 0.001
    assert (
        np.abs(np.corrcoef(np.concatenate(draws))[np.triu_indices(20, 1)]).max() < 0.3
    )
    assert np.array_equal(STEP.noise(400, [b"two"], 3)[0], draws[3][1])
    fresh = STEP.noise(400, [None, None], 0)
    assert not np.isclose(fresh[0], fresh[1]).all()
    wanted = gaussian32(5, 1.3 * 0.5, seed=b"one/step/" + (7).to_bytes(8, "little"))
    assert np.array_equal(STEP.noise(5, [b"one"], 7)[0], wanted)


def test_the_noise_of_a_training_is_each_steps_and_each_ones_own() -> None:
    noises = STEP.noises(400, [b"one", b"two"])
    draws = [next(noises) for _ in range(10)]
    flat = np.stack(draws).ravel() / (1.3 * 0.5 / 4.0)
    assert 0.0005 < stats.chi2.cdf(np.square(flat).sum(), flat.size) < 0.9995
    assert stats.chi2.cdf(np.square(flat / 0.93).sum(), flat.size) > 0.9995
    assert stats.kstest(flat, "norm").pvalue > 0.001
    assert (
        np.abs(np.corrcoef(np.concatenate(draws))[np.triu_indices(20, 1)]).max() < 0.3
    )
    again = STEP.noises(400, [b"two"])
    assert all(np.array_equal(next(again)[0], one[1]) for one in draws)
    assert not np.isclose(STEP.noise(400, [b"two"], 0), 4.0 * draws[0][1]).any()
    fresh = next(STEP.noises(400, [None, None]))
    assert not np.isclose(fresh[0], fresh[1]).all()


def test_shares_and_noise_make_what_is_released() -> None:
    draws = np.random.default_rng(4)
    found = Given(torch.from_numpy(draws.normal(size=(2, 5, 9))))
    sampled = torch.from_numpy(draws.random((2, 5)) < 0.5)
    noise = torch.from_numpy(draws.normal(size=(2, 9))).float()
    wanted = STEP.release(STEP.clipped_sums(found, sampled), noise)
    sums = found.weighted_sums(STEP.shares(found.norms(), sampled))
    assert torch.allclose(sums + noise / 4.0, wanted, atol=1e-6)


@pytest.mark.parametrize(
    "change",
    [
        {"sampling_rate": 0.0},
        {"sampling_rate": 1.01},
        {"batch_size": 0.0},
        {"batch_size": math.inf},
        {"clip_norm_l2": 0.0},
        {"clip_norm_l2": math.nan},
        {"clip_norm_l2": 2.0**-61},
        {"noise_multiplier": 0.0},
        {"noise_multiplier": -1.0},
    ],
)
def test_bad_settings_are_refused(change: dict[str, float]) -> None:
    given = {
        "sampling_rate": 0.5,
        "batch_size": 4.0,
        "clip_norm_l2": 0.5,
        "noise_multiplier": 1.3,
    }
    with pytest.raises(ParameterError):
        DpSgd(**(given | change))


def test_an_empty_seed_is_refused() -> None:
    with pytest.raises(ParameterError, match="empty"):
        STEP.noise(4, [b"one", b""], 0)
    with pytest.raises(ParameterError, match="empty"):
        STEP.noises(4, [b"one", b""])


def test_the_event_is_one_step() -> None:
    assert STEP.event == sampled_gaussian(1.3, 0.5)


def net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.GroupNorm(2, 4), nn.ReLU(), nn.Flatten(),
        nn.Linear(4 * 4 * 4, 3),
    )  # fmt: skip


def test_opacus_gradients_are_each_records_own() -> None:
    model, x, y = net(), torch.randn(5, 1, 6, 6), torch.tensor([0, 1, 2, 1, 0])
    parameters = list(model.parameters())
    with per_example(model) as gradients:
        first, found = gradients(x[:2], y[:2]), gradients(x, y)
    assert first.norms().shape == (1, 2)
    assert found.norms().shape == (1, 5)
    for record in range(5):
        loss = cross_entropy(model(x[record : record + 1]), y[record : record + 1])
        parts = torch.autograd.grad(loss, parameters)
        wanted = torch.cat([part.reshape(-1) for part in parts])
        one_hot = torch.zeros(1, 5, dtype=torch.float64)
        one_hot[0, record] = 2.0
        assert torch.allclose(found.weighted_sums(one_hot)[0], 2 * wanted, atol=1e-6)
        assert float(found.norms()[0, record]) == pytest.approx(float(wanted.norm()))
    assert not any(vars(parameter) for parameter in parameters)
    assert not any("activations" in vars(layer) for layer in model.modules())


def test_a_gradient_that_is_not_finite_counts_for_nothing() -> None:
    model, x, y = net(), torch.randn(3, 1, 6, 6), torch.tensor([0, 1, 2])
    x[1] = math.inf
    with per_example(model) as gradients:
        found = gradients(x, y)
        alone = gradients(x[::2], y[::2])
    assert found.norms()[0, 1] == 0
    sums = found.weighted_sums(torch.ones(1, 3, dtype=torch.float64))
    wanted = alone.weighted_sums(torch.ones(1, 2, dtype=torch.float64))
    assert torch.allclose(sums, wanted, atol=1e-6)


@pytest.mark.parametrize("clip", [1.0, 2.0**-22, 2.0**-60])
@pytest.mark.parametrize("size", [1e3, 2.0**57, 2.0**61, 2.0**100, 3e38])
def test_a_huge_gradient_is_scaled_to_the_clip_norm_or_dropped(
    clip: float, size: float
) -> None:
    model = nn.Sequential(nn.Linear(6, 3))
    step = DpSgd(
        sampling_rate=1.0, batch_size=1.0, clip_norm_l2=clip, noise_multiplier=1.0
    )
    x = torch.full((1, 6), size)
    least = model(x).argmin(dim=1)  # far off, so that there is a gradient
    with per_example(model) as gradients:
        sums = step.clipped_sums(gradients(x, least), torch.ones(1, 1).bool())
    found = float(sums.double().norm())
    assert found <= clip
    assert found >= clip * (1 - 1e-4) or size > 2.0**57


class Idle(nn.Module):
    """Has a parameter that no record reaches."""

    def __init__(self) -> None:
        super().__init__()
        self.last, self.idle = nn.Linear(6, 3), nn.Linear(2, 2)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.last(x)
        return out


def test_an_idle_parameter_is_refused_and_nothing_is_left_behind() -> None:
    model = Idle()
    with (
        pytest.raises(ParameterError, match="no gradient for each record"),
        per_example(model) as gradients,
    ):
        gradients(torch.randn(4, 6), torch.zeros(4, dtype=torch.int64))
    assert not any(vars(parameter) for parameter in model.parameters())
    assert not hasattr(model, "autograd_grad_sample_hooks")


class Centred(nn.Module):
    """Averages over the batch in a way that no list of layers shows."""

    def __init__(self) -> None:
        super().__init__()
        self.last = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.last(x - x.mean(dim=0))
        return out


class Dropping(nn.Module):
    """Draws in its forward pass, without a layer that says so."""

    def __init__(self, always: bool = False) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(6, 5), nn.Linear(5, 3)
        self.always = always

    def forward(self, x: Tensor) -> Tensor:
        some = nn.functional.dropout(self.first(x), 0.5, self.training or self.always)
        out: Tensor = self.last(some)
        return out


class Counting(nn.Module):
    """Looks at how many records come together, and at nothing else of them."""

    def __init__(self, weight: Callable[[int], float]) -> None:
        super().__init__()
        self.last, self.weight = nn.Linear(6, 3), weight

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.last(x) * self.weight(len(x))
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
        (Counting(lambda n: 1.0 if n % 2 else -1.0), "depends on the others"),
        (Counting(lambda n: 1.0 / n), "depends on the others"),
        (Counting(lambda n: float(n > 2)), "depends on the others"),
        (Counting(lambda n: float(n > 4)), "depends on the others"),
        (Dropping(always=True), "in evaluation mode, too"),
    ],
)
def test_models_that_mix_records_are_refused(model: nn.Module, says: str) -> None:
    with pytest.raises(ParameterError, match=says):
        check_independent(model, (6,))


@pytest.mark.parametrize(
    "model",
    [nn.Sequential(nn.Linear(6, 5), nn.Dropout(0.5), nn.Linear(5, 3)), Dropping()],
)
def test_dropout_is_not_taken_for_mixing(model: nn.Module) -> None:
    model.train()
    check_independent(model, (6,))
    assert all(layer.training for layer in model.modules())


def test_dropout_does_not_hide_mixing() -> None:
    model = nn.Sequential(Counting(lambda n: 1.0 / n), nn.Dropout(0.5))
    with pytest.raises(ParameterError, match="depends on the others"):
        check_independent(model.train(), (6,))


def test_dp_itself_needs_neither_torch_nor_opacus() -> None:
    code = "import sys, dp; print({'torch', 'opacus'} & set(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "set()"
