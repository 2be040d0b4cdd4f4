"""make_private: Opacus' objects against a loop over records, and what they refuse."""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from opacus import GradSampleModule
from opacus.data_loader import DPDataLoader
from opacus.optimizers import DPOptimizer
from opacus.schedulers import LambdaNoise
from opacus.utils.batch_memory_manager import BatchMemoryManager
from scipy import stats
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, TensorDataset, WeightedRandomSampler

import dp
from dp.private_loader import Coins
from dp.sgd import DpSgd

pytestmark = pytest.mark.filterwarnings("ignore:Full backward hook is firing")

CLIP, SIZE = 0.4, 3.0
GIVEN: dict[str, Any] = {
    "target_epsilon": 3.0,
    "delta": 1e-5,
    "sampling_rate": 0.25,
    "expected_batch_size": SIZE,
    "clip_norm_l2": CLIP,
    "steps": 4,  # an epoch
    "seed": b"test",
}
Optimiser = Callable[[Any], torch.optim.Optimizer]
OPTIMISERS: dict[str, Optimiser] = {
    "sgd": lambda parameters: torch.optim.SGD(parameters, lr=0.3),
    "momentum": lambda parameters: torch.optim.SGD(parameters, lr=0.3, momentum=0.9),
    "adam": lambda parameters: torch.optim.Adam(parameters, lr=0.05),
}


def net(kind: str = "mlp", width: int = 5) -> nn.Sequential:
    torch.manual_seed(2)
    if kind == "mlp":
        return nn.Sequential(nn.Linear(6, width), nn.ReLU(), nn.Linear(width, 3))
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.GroupNorm(2, 4), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(16, 3),
    )  # fmt: skip


def records(count: int, shape: tuple[int, ...] = (6,)) -> TensorDataset:
    rng = torch.Generator().manual_seed(3)
    x = torch.randn(count, *shape, generator=rng)
    return TensorDataset(x, torch.arange(count) % 3)


def private(
    model: nn.Module,
    data: TensorDataset,
    optimiser: str = "sgd",
    *,
    shuffle: bool = True,
    **keys: Any,
) -> tuple[nn.Module, Any, Any]:
    return dp.make_private(
        model,
        OPTIMISERS[optimiser](model.parameters()),
        DataLoader(data, batch_size=3, shuffle=shuffle),
        **(GIVEN | keys),
    )


def train(wrapped: nn.Module, optimizer: Any, loader: Any) -> list[tuple[Tensor, ...]]:
    """Take an epoch, and return its batches."""
    batches = []
    for x, y in loader:
        optimizer.zero_grad()
        cross_entropy(wrapped(x), y).backward()
        optimizer.step()
        batches.append((x, y))
    return batches


def flat(model: nn.Module) -> np.ndarray:
    return torch.cat([p.detach().reshape(-1) for p in model.parameters()]).numpy()


def by_hand(model: nn.Module, batches: list[Any], optimiser: Optimiser) -> np.ndarray:
    """Abadi et al., Algorithm 1, record by record in float64, without noise."""
    model = copy.deepcopy(model).double()
    parameters = list(model.parameters())
    steps = optimiser(parameters)
    for x, y in batches:
        sums = [torch.zeros_like(one) for one in parameters]
        for one, label in zip(x.double(), y, strict=True):
            loss = cross_entropy(model(one[None]), label[None])
            parts = torch.autograd.grad(loss, parameters)
            norm = math.sqrt(sum(float(part.square().sum()) for part in parts))
            for total, part in zip(sums, parts, strict=True):
                total += part * min(1.0, CLIP / norm)
        for parameter, total in zip(parameters, sums, strict=True):
            parameter.grad = total / SIZE
        steps.step()
    return flat(model)


@pytest.fixture
def silent(monkeypatch: pytest.MonkeyPatch) -> None:
    """No noise, which no public call allows."""

    def nothing(_: DpSgd, length: int, seeds: list[bytes], step: int) -> np.ndarray:
        return np.zeros((len(seeds), length), dtype=np.float32)

    monkeypatch.setattr(DpSgd, "noise", nothing)


@pytest.mark.parametrize("kind", ["mlp", "conv"])
@pytest.mark.parametrize("optimiser", OPTIMISERS)
@pytest.mark.usefixtures("silent")
def test_equals_the_loop_over_records_without_noise(kind: str, optimiser: str) -> None:
    model, data = net(kind), records(6, (6,) if kind == "mlp" else (1, 6, 6))
    before = copy.deepcopy(model)
    wrapped, optimizer, loader = private(model, data, optimiser, seed=b"14")
    assert isinstance(wrapped, GradSampleModule)
    assert isinstance(optimizer, DPOptimizer)
    assert isinstance(loader, DPDataLoader)
    batches = train(wrapped, optimizer, loader)
    sizes = [len(y) for _, y in batches]
    assert len(sizes) == 4 and 0 in sizes and max(sizes) > 1
    wanted = by_hand(before, batches, OPTIMISERS[optimiser])
    assert np.abs(wanted - flat(before)).max() > 1e-2
    # Adam divides by a size of 1e-2 and below; our sums aim 2^-16 below the clip norm.
    np.testing.assert_allclose(flat(model), wanted, atol=1e-6, rtol=2e-5)


@pytest.mark.usefixtures("silent")
def test_parts_of_a_batch_are_one_step() -> None:
    one, two = net(), net()
    whole = train(*private(one, records(12), seed=b"parts", steps=None, epochs=1))
    assert max(len(y) for _, y in whole) > 2
    wrapped, optimizer, loader = private(
        two, records(12), seed=b"parts", steps=None, epochs=1
    )
    with BatchMemoryManager(
        data_loader=loader, max_physical_batch_size=2, optimizer=optimizer
    ) as pieces:
        assert len(train(wrapped, optimizer, pieces)) > len(whole)
    np.testing.assert_allclose(flat(one), flat(two), atol=1e-6)
    assert optimizer.purse.taken == len(whole)


@pytest.mark.usefixtures("silent")
def test_what_is_left_of_a_batch_is_in_no_later_step() -> None:
    model = net()
    wrapped, optimizer, loader = private(
        model, records(4), sampling_rate=1.0, steps=3, seed=b"left"
    )
    before = flat(model)
    for parts in (3, 4):  # of four; the first batch is given up before its step
        with BatchMemoryManager(
            data_loader=loader, max_physical_batch_size=1, optimizer=optimizer
        ) as pieces:
            train(wrapped, optimizer, itertools.islice(pieces, parts))
    other = net()
    train(*private(other, records(4), sampling_rate=1.0, steps=1, seed=b"left"))
    assert optimizer.purse.taken == 1
    assert np.abs(flat(model) - before).max() > 1e-3
    np.testing.assert_allclose(flat(model), flat(other), atol=1e-6)


def test_a_second_step_about_one_batch_is_refused_and_costs_nothing() -> None:
    model = net()
    wrapped, optimizer, loader = private(model, records(6))
    x, y = next(iter(loader))
    train(wrapped, optimizer, [(x, y)])
    after = flat(model)
    with pytest.raises(dp.ParameterError, match="had its step"):
        train(wrapped, optimizer, [(x, y)])
    assert np.array_equal(flat(model), after)
    assert optimizer.purse.taken == 1


@pytest.mark.usefixtures("silent")
def test_a_record_that_is_not_finite_counts_as_none() -> None:
    data, model, other = records(5), net(), net()
    data.tensors[0][4] = math.inf
    drawn = train(*private(model, data, seed=b"80"))
    assert any(not torch.isfinite(x).all() for x, _ in drawn)
    train(*private(other, TensorDataset(*data[:4]), seed=b"80"))
    np.testing.assert_allclose(flat(model), flat(other), atol=1e-6)


def noise_of(seed: bytes | None, steps: int = 1) -> tuple[list[np.ndarray], Any]:
    """Train on no record at all; return the moves, over the learning rate."""
    model = net(width=400)
    wrapped, optimizer, loader = private(model, records(3), seed=seed)
    moves = []
    for _ in range(steps):
        before = flat(model)
        next(iter(loader))  # a batch whose records nobody looks at
        x, y = loader.collate_fn([])
        optimizer.zero_grad()
        cross_entropy(wrapped(x), y).backward()
        optimizer.step()
        moves.append((before - flat(model)) / 0.3)
    return moves, optimizer


def test_the_noise_of_an_empty_batch_is_normal_and_as_large_as_planned() -> None:
    for seed in (b"noise", None):
        (draws,), optimizer = noise_of(seed)
        std = optimizer.noise_multiplier * CLIP / SIZE
        # Without a seed the draws are new in every run: once in ten million is enough.
        assert 1e-7 < stats.chi2.cdf(np.square(draws / std).sum(), 4003) < 1 - 1e-7
        assert stats.kstest(draws / std, "norm").pvalue > 1e-7
        less = np.square(draws / (0.9 * std)).sum()
        assert stats.chi2.cdf(less, 4003) > 1 - 1e-7


def test_two_steps_have_noise_of_their_own_and_seeds_repeat() -> None:
    one, two, other = (noise_of(seed, 2)[0] for seed in (b"a", b"a", b"b"))
    assert np.array_equal(one, two)
    for left, right in ((one[0], one[1]), (one[0], other[0])):
        assert abs(np.corrcoef(left, right)[0, 1]) < 5 / math.sqrt(len(left))


def test_the_number_of_records_touches_nothing() -> None:
    made = []
    for count in (1, 2, 8):
        wrapped, optimizer, loader = private(net(), records(count), seed=b"2")
        x, y = next(iter(loader))
        assert len(y) == 0, "another seed: none of eight is to be drawn"
        cross_entropy(wrapped(x), y).backward()
        optimizer.step()
        public = (optimizer.noise_multiplier, optimizer.expected_batch_size)
        made.append((*public, loader.sample_rate, len(loader), *flat(wrapped)))
    assert made[0] == made[1] == made[2]


def test_the_step_that_would_break_the_target_is_never_taken() -> None:
    model = net()
    wrapped, optimizer, loader = private(model, records(9))
    train(wrapped, optimizer, loader)
    assert 2.99 < optimizer.epsilon <= 3.0
    before, state = flat(model), copy.deepcopy(optimizer.state_dict())
    with pytest.raises(dp.BudgetExceeded, match="these records"):
        train(wrapped, optimizer, loader)
    assert np.array_equal(flat(model), before)
    assert optimizer.state_dict() == state
    assert optimizer.purse.taken == 4


@pytest.mark.slow
def test_softer_noise_is_accounted_as_what_it_is() -> None:
    wrapped, optimizer, loader = private(net(), records(9))
    LambdaNoise(optimizer, noise_lambda=lambda _: 0.5).step()
    with pytest.raises(dp.BudgetExceeded):
        train(wrapped, optimizer, loader)
    assert optimizer.purse.taken < 4
    assert optimizer.epsilon <= 3.0
    optimizer.noise_multiplier = 0.0
    with pytest.raises(dp.ParameterError, match="noise"):
        train(wrapped, optimizer, loader)


def test_a_ledger_outlasts_the_training_and_refuses_the_next(tmp_path: Path) -> None:
    budget = dp.Budget(epsilon=3.5, delta=1e-5)
    model, second = net(), net()
    with dp.Ledger(budget, unit="example", path=tmp_path / "l.db") as ledger:
        train(*private(model, records(9), ledger=ledger, party="clinic"))
        found = ledger.entries()
        assert [one.count for one in found] == [1] * 4
        assert all(one.committed and one.party == "clinic" for one in found)
        assert 2.99 < ledger.epsilon("clinic") <= 3.0
    before = flat(second)
    with dp.Ledger(budget, unit="example", path=tmp_path / "l.db") as ledger:
        again = private(second, records(9), ledger=ledger, party="clinic")
        with pytest.raises(dp.BudgetExceeded, match="clinic"):
            train(*again)
        assert ledger.epsilon("clinic") <= 3.5
        assert again[1].purse.taken < 4
    assert again[1].purse.taken or np.array_equal(flat(second), before)


def test_steps_reserved_together_are_committed_when_all_are_taken() -> None:
    budget = dp.Budget(epsilon=3.5, delta=1e-5)
    ledger = dp.Ledger(budget, unit="example")
    made = private(net(), records(9), ledger=ledger, reserve_at_once=3)
    train(*made)
    assert [one.count for one in ledger.entries()] == [3, 1]
    assert all(one.committed for one in ledger.entries())
    half = dp.Ledger(budget, unit="example")
    wrapped, optimizer, loader = private(
        net(), records(9), ledger=half, reserve_at_once=3
    )
    x, y = next(iter(loader))
    cross_entropy(wrapped(x), y).backward()
    optimizer.step()
    assert [(one.count, one.committed) for one in half.entries()] == [(3, False)]


def test_the_ledger_is_asked_before_the_model_moves(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = net()
    ledger = dp.Ledger(dp.Budget(epsilon=9.0, delta=1e-5), unit="example")
    seen: list[bool] = []
    real = dp.Ledger.reserve

    def reserve(self: dp.Ledger, *given: Any, **keys: Any) -> None:
        seen.append(np.array_equal(flat(model), before))
        real(self, *given, **keys)

    monkeypatch.setattr(dp.Ledger, "reserve", reserve)
    wrapped, optimizer, loader = private(model, records(9), ledger=ledger)
    for x, y in loader:
        before = flat(model)
        cross_entropy(wrapped(x), y).backward()
        optimizer.step()
        assert not np.array_equal(flat(model), before)
    assert seen == [True] * 4


def test_coins_are_independent_and_come_up_at_the_rate() -> None:
    drawn = np.zeros((40, 500), dtype=bool)
    coins = Coins(500, 0.05, b"seed")
    for epoch in range(2):
        for batch, rows in enumerate(coins):
            drawn[20 * epoch + batch, rows] = True
    assert 0.001 < stats.binom.cdf(drawn.sum(), drawn.size, 0.05) < 0.999
    sizes = drawn.sum(axis=1)
    spread = np.square(sizes - 25).sum() / (500 * 0.05 * 0.95)
    assert 0.001 < stats.chi2.cdf(spread, 40) < 0.999
    assert not np.array_equal(drawn[:20], drawn[20:])
    fresh = [next(iter(Coins(500, 0.5, None))) for _ in range(2)]
    assert fresh[0] != fresh[1]
    assert len(Coins(7, 1.0, None)) == 1
    assert next(iter(Coins(7, 1.0, None))) == list(range(7))


def with_sampler() -> DataLoader[Any]:
    weights = WeightedRandomSampler([1.0] * 6, 6)
    return DataLoader(records(6), batch_size=3, sampler=weights)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"target_epsilon": 0.0}, "epsilon"),
        ({"delta": 1.0}, "delta"),
        ({"sampling_rate": 0.0}, "sampling_rate"),
        ({"sampling_rate": 1.5}, "sampling_rate"),
        ({"expected_batch_size": 0.0}, "public constant"),
        ({"clip_norm_l2": 0.0}, "clip_norm_l2"),
        ({"steps": 0}, "at least 1"),
        ({"steps": None}, "either epochs or steps"),
        ({"reserve_at_once": 0}, "reserve_at_once"),
        ({"seed": b""}, "seed is empty"),
        (
            {"ledger": dp.Ledger(dp.Budget(epsilon=1.0, delta=1e-5), unit="client")},
            "one client",
        ),
        (
            {"ledger": dp.Ledger(dp.Budget(epsilon=1.0, delta=1e-6), unit="example")},
            "that of the ledger",
        ),
    ],
)
def test_bad_settings_are_refused(change: dict[str, Any], says: str) -> None:
    with pytest.raises(dp.ParameterError, match=says):
        private(net(), records(6), **change)


@pytest.mark.parametrize(
    ("model", "says"),
    [
        (nn.Sequential(nn.Linear(6, 3), nn.BatchNorm1d(3)), "GroupNorm"),
        (net().eval(), "model.train"),
        (net().double(), "model.float"),
    ],
)
def test_models_that_cannot_be_private_are_refused(model: nn.Module, says: str) -> None:
    before = flat(model).copy()
    with pytest.raises(dp.ParameterError, match=says):
        private(model, records(6))
    assert np.array_equal(flat(model), before)
    assert not hasattr(model, "autograd_grad_sample_hooks")


def test_a_loader_that_draws_in_its_own_way_is_refused() -> None:
    model = net()
    for loader, says in (
        (with_sampler(), "own sampler"),
        (DataLoader(records(6), batch_sampler=[[0]]), "own sampler"),
        (DataLoader(records(0), batch_size=3), "no record"),
        (private(net(), records(6))[2], "samples already"),
    ):
        with pytest.raises(dp.ParameterError, match=says):
            dp.make_private(
                model, OPTIMISERS["sgd"](model.parameters()), loader, **GIVEN
            )


def test_an_optimiser_of_other_parameters_is_refused() -> None:
    model, data = net(), DataLoader(records(6), batch_size=3)
    some = torch.optim.SGD(model[0].parameters(), lr=0.1)
    with pytest.raises(dp.ParameterError, match=r"lacks '2.weight'"):
        dp.make_private(model, some, data, **GIVEN)
    model[2].requires_grad_(False)
    wrapped, optimizer, loader = dp.make_private(model, some, data, **GIVEN)
    train(wrapped, optimizer, [next(iter(loader))])


def test_a_step_without_gradients_is_refused_and_costs_nothing() -> None:
    wrapped, optimizer, loader = private(net(), records(6))
    with pytest.raises(dp.ParameterError, match="backward"):
        optimizer.step()
    train(wrapped, optimizer, [next(iter(loader))])
    with pytest.raises(dp.ParameterError, match="backward"):
        optimizer.step()  # the same batch a second time
    assert optimizer.purse.taken == 1
