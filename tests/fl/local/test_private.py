"""Stacked DP-SGD against Opacus and against a loop over records."""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from opacus import GradSampleModule
from opacus.optimizers import DPOptimizer
from scipy import stats
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from dp.sgd import DpSgd
from fl.errors import ModelError
from fl.local import Member, PrivateRecipe, Rule, engine_for, train_private
from fl.local.batches import draw_coins
from fl.local.engine import examples_of
from fl.local.stack import Layout, cut
from fl.local.thread import side_by_side
from fl.models import to_vector
from tests.fl.local import oracle
from tests.fl.local.some import (
    CLASSES,
    MODELS,
    Mixing,
    Pure,
    dropping,
    grouped,
    members,
    model_of,
    repeated,
)

CLIP, RATE, SIZE, SIGMA = 0.5, 0.5, 4.0, 1.3


def recipe(steps: int = 3, rule: Rule | None = None, **keys: float) -> PrivateRecipe:
    given = {
        "sampling_rate": RATE,
        "batch_size": SIZE,
        "clip_norm_l2": CLIP,
        "noise_multiplier": SIGMA,
    }
    return PrivateRecipe(
        steps=steps,
        mechanism=DpSgd(**(given | keys)),
        rule=rule or Rule(learning_rate=0.3),
    )


def nothing(clients: int, length: int) -> Iterator[np.ndarray]:
    return itertools.repeat(np.zeros((clients, length), dtype=np.float32))


@pytest.fixture
def silent(monkeypatch: pytest.MonkeyPatch) -> None:
    """No noise, which no public call allows."""
    monkeypatch.setattr(
        DpSgd, "noises", lambda _, length, seeds: nothing(len(seeds), length)
    )


def run(model: nn.Module, clients: Sequence[Member], **keys: Any) -> np.ndarray:
    seeds = [b"%d" % i for i in range(len(clients))]
    return train_private(model, clients, recipe(**keys), noise_seeds=seeds)


def loop(
    model: nn.Module,
    client: Member,
    *,
    steps: int = 3,
    momentum: float = 0.0,
    **keys: float,
) -> np.ndarray:
    """Abadi et al., Algorithm 1, record by record in float64, without noise."""
    rate, clip = keys.get("sampling_rate", RATE), keys.get("clip_norm_l2", CLIP)
    model = copy.deepcopy(model).double()
    parameters = list(model.parameters())
    start = oracle.flat(model).copy()
    velocity = np.zeros_like(start)
    for step in range(steps):
        total = np.zeros_like(start)
        for i in range(len(client.y)):
            coin = (oracle.word(client.key, 1, step, i) >> 11) / 2**53
            if coin >= rate:
                continue
            x, y = client.x[i : i + 1].double(), client.y[i : i + 1]
            parts = torch.autograd.grad(cross_entropy(model(x), y), parameters)
            gradient = torch.cat([p.reshape(-1) for p in parts]).numpy()
            total += gradient * min(1.0, clip / float(np.linalg.norm(gradient)))
        velocity = momentum * velocity + total / keys.get("batch_size", SIZE)
        now = torch.from_numpy(oracle.flat(model) - 0.3 * velocity)
        with torch.no_grad():
            parts = now.split([p.numel() for p in parameters])
            for parameter, part in zip(parameters, parts, strict=True):
                parameter.copy_(part.view_as(parameter))
    return oracle.flat(model) - start


class Frank(Pure):
    """Stacked by neither hand nor vmap, and yet it keeps records apart."""

    def forward(self, x: Tensor) -> Tensor:
        if float(x[0, 0]) == 12345.0:  # no stack can look
            raise ValueError
        return super().forward(x)


KINDS: dict[str, Callable[[], tuple[nn.Module, tuple[int, ...]]]] = {
    **{kind: (lambda kind=kind: model_of(kind)) for kind in MODELS},
    "vmap": lambda: (Pure(), (6,)),
    "groups": lambda: (grouped(), (2, 8, 8)),
    "opacus": lambda: (Frank(), (6,)),
}
ENGINES = {"vmap": "vmap", "groups": "vmap", "opacus": "loop"}


@pytest.mark.parametrize("clip", [0.05, 0.5, 50.0])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.usefixtures("silent")
def test_equals_the_loop_over_records(kind: str, clip: float) -> None:
    torch.manual_seed(3)
    model, shape = KINDS[kind]()
    assert engine_for(model, shape).name == ENGINES.get(kind, "by hand")
    clients = members([9, 4, 1, 0, 12], shape)
    before = to_vector(model)
    found = run(model, clients, clip_norm_l2=clip)
    wanted = np.stack([loop(model, one, clip_norm_l2=clip) for one in clients])
    assert np.linalg.norm(wanted) > 1e-3
    assert np.allclose(found, wanted, atol=1e-6, rtol=4e-5)
    assert np.array_equal(to_vector(model), before)


@pytest.mark.usefixtures("silent")
def test_momentum_works_on_the_released_gradients() -> None:
    model, _ = model_of("mlp")
    clients = members([9, 4])
    rule = Rule(learning_rate=0.3, momentum=0.9)
    wanted = np.stack([loop(model, one, momentum=0.9) for one in clients])
    assert np.allclose(run(model, clients, rule=rule), wanted, atol=1e-6, rtol=4e-5)


@pytest.mark.usefixtures("silent")
def test_a_mean_over_the_sample_would_be_noticed() -> None:
    model, _ = model_of("mlp")
    clients = members([9])
    found = run(model, clients, clip_norm_l2=0.05)
    wrong = loop(model, clients[0], clip_norm_l2=0.05, batch_size=9.0)
    assert not np.allclose(found[0], wrong, atol=1e-6, rtol=4e-5)


def opacus(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """Each record's gradient by Opacus' hooks, (records, parameters)."""
    wrapped = GradSampleModule(copy.deepcopy(model), loss_reduction="sum")
    cross_entropy(wrapped(x), y, reduction="sum").backward()
    return torch.cat([p.grad_sample.flatten(1) for p in wrapped.parameters()], dim=1)


@pytest.mark.filterwarnings("ignore:Full backward hook is firing")
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "opacus"])
def test_per_example_gradients_equal_opacus(kind: str) -> None:
    torch.manual_seed(4)
    model, shape = KINDS[kind]()
    other = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.mul_(1.1)
    engine = engine_for(model, shape)
    layout = Layout([p.shape for p in model.parameters()], engine.images)
    vectors = np.stack([to_vector(model), to_vector(other)])
    stack = layout.arranged(torch.from_numpy(vectors))
    x, y = torch.randn(2, 5, *shape), torch.randint(CLASSES, (2, 5))
    found = examples_of(model, engine)(stack, x.clone(), y)
    for client, own in enumerate((model, other)):
        wanted = opacus(own, x[client], y[client])
        norms = found.norms()[client].float()
        assert torch.allclose(norms, wanted.norm(dim=1), rtol=1e-6, atol=1e-6)
        for record in range(5):
            one_hot = torch.zeros(2, 5, dtype=torch.float64)
            one_hot[client, record] = 1.0
            arranged = found.weighted_sums(one_hot)
            sums = torch.empty_like(arranged)
            layout.put(cut(arranged, [one.shape[1:] for one in stack]), sums)
            assert torch.allclose(sums[client], wanted[record], rtol=1e-6, atol=1e-6)
            assert not sums[1 - client].any()


@pytest.mark.filterwarnings("ignore:Full backward hook is firing")
@pytest.mark.usefixtures("silent")
@pytest.mark.parametrize("kind", ["mlp", "cnn"])
def test_a_step_equals_opacus_optimiser(kind: str) -> None:
    model, shape = model_of(kind)
    (client,) = members([9], shape)
    theirs = copy.deepcopy(model)
    wrapped = GradSampleModule(theirs, loss_reduction="sum")
    optimiser = DPOptimizer(
        torch.optim.SGD(theirs.parameters(), lr=0.3),
        noise_multiplier=0.0,
        max_grad_norm=CLIP,
        expected_batch_size=SIZE,
    )
    cross_entropy(wrapped(client.x), client.y, reduction="sum").backward()
    optimiser.step()
    (found,) = run(model, [client], steps=1, sampling_rate=1.0)
    # Opacus divides by the norm plus 1e-6; we aim a 2^-16th lower.
    wanted = to_vector(theirs) - to_vector(model)
    assert np.allclose(found, wanted, atol=1e-6, rtol=3e-5)


RULES = {
    "sgd": Rule(learning_rate=0.3),
    "momentum": Rule(learning_rate=0.3, momentum=0.9),
    "adam": Rule(learning_rate=0.01, optimizer="adam"),
}


def by_opacus(
    model: nn.Module, client: Member, rule: Rule, *, steps: int = 3, noise: float = 0.0
) -> np.ndarray:
    """Opacus' own module and optimiser on the samples that our coins draw."""
    theirs = copy.deepcopy(model)
    wrapped = GradSampleModule(theirs, loss_reduction="sum")
    plain = (
        torch.optim.Adam(theirs.parameters(), lr=rule.learning_rate)
        if rule.optimizer == "adam"
        else torch.optim.SGD(theirs.parameters(), rule.learning_rate, rule.momentum)
    )
    optimiser = DPOptimizer(
        plain, noise_multiplier=noise, max_grad_norm=CLIP, expected_batch_size=SIZE
    )
    (coins,) = draw_coins([client.records], [client.key], steps=steps, rate=RATE)
    for up in torch.from_numpy(coins):
        optimiser.zero_grad()
        outputs = wrapped(client.x[up])
        cross_entropy(outputs, client.y[up], reduction="sum").backward()
        optimiser.step()
    return to_vector(theirs) - to_vector(model)


@pytest.mark.filterwarnings("ignore:Full backward hook is firing")
@pytest.mark.usefixtures("silent")
@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("kind", ["mlp", "cnn"])
def test_a_round_equals_opacus_with_every_optimiser(kind: str, rule: str) -> None:
    model, shape = model_of(kind)
    clients = members([9, 1, 4, 2], shape)
    sizes, keys = [one.records for one in clients], [one.key for one in clients]
    coins = draw_coins(sizes, keys, steps=3, rate=RATE)
    empty = sum(int((one.sum(axis=1) == 0).sum()) for one in coins)
    assert empty > 1, "samples are to be empty, too"
    found = run(model, clients, rule=RULES[rule])
    wanted = np.stack([by_opacus(model, one, RULES[rule]) for one in clients])
    assert np.linalg.norm(wanted) > 1e-3
    # Opacus divides by the norm plus 1e-6; we aim a 2^-16th lower.
    np.testing.assert_allclose(found, wanted, atol=1e-6, rtol=4e-5)


@pytest.mark.filterwarnings("ignore:Full backward hook is firing")
def test_noisy_steps_are_distributed_as_opacus_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model, _ = model_of("mlp")
    clients, rule = members([9] * 25), RULES["sgd"]
    noisy = run(model, clients, rule=rule, steps=1)
    torch.manual_seed(11)
    theirs = np.stack(
        [by_opacus(model, one, rule, steps=1, noise=SIGMA) for one in clients]
    )
    monkeypatch.setattr(
        DpSgd, "noises", lambda _, length, seeds: nothing(len(seeds), length)
    )
    still = run(model, clients, rule=rule, steps=1)
    ours, theirs = (noisy - still).ravel(), (theirs - still).ravel()
    assert stats.ks_2samp(ours, theirs).pvalue > 0.001
    ratio = ours.var() / theirs.var()
    assert 0.0005 < stats.f.cdf(ratio, ours.size, theirs.size) < 0.9995
    assert stats.f.cdf(ratio * 1.2, ours.size, theirs.size) > 0.9995


def variance_tail(draws: np.ndarray, std: float) -> float:
    return float(stats.chi2.cdf(np.square(draws / std).sum(), draws.size))


def test_every_client_and_step_has_noise_of_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model, _ = model_of("mlp")
    clients = members([9] * 40)
    noisy = run(model, clients, steps=1)
    twice = run(model, clients, steps=2, sampling_rate=1e-12)
    once = run(model, clients, steps=1, sampling_rate=1e-12)
    with monkeypatch.context() as patch:
        patch.setattr(DpSgd, "noises", lambda _, length, seeds: nothing(40, length))
        still = run(model, clients, steps=1)
    std = 0.3 * SIGMA * CLIP / SIZE
    for draws in (noisy - still, once, twice - once):
        assert 0.0005 < variance_tail(draws, std) < 0.9995
        assert variance_tail(draws, std * 0.95) > 0.9995
        assert stats.kstest(draws.ravel() / std, "norm").pvalue > 0.001
        between = np.corrcoef(draws)[np.triu_indices(40, 1)]
        assert np.abs(between).max() < 6 / math.sqrt(draws.shape[1])
    step_by_step = np.corrcoef(once.ravel(), (twice - once).ravel())[0, 1]
    assert abs(step_by_step) < 5 / math.sqrt(once.size)


@pytest.mark.parametrize("kind", ["logreg", "mlp", "cnn", "vmap", "opacus"])
@pytest.mark.parametrize("size", [1.0, 1e3, 1e15, 1e30, math.inf, math.nan])
@pytest.mark.usefixtures("silent")
def test_one_record_moves_a_step_by_the_clip_norm_at_most(
    kind: str, size: float
) -> None:
    torch.manual_seed(5)
    model, shape = KINDS[kind]()
    with_it, neighbour = members([9, 9], shape)
    worst = with_it._replace(
        x=torch.cat([with_it.x, torch.full((1, *shape), size)]),
        y=torch.cat([with_it.y, torch.tensor([2])]),
    )
    all_in = {"sampling_rate": 1.0, "steps": 1}
    one = run(model, [worst, neighbour], **all_in)
    two = run(model, [with_it, neighbour], **all_in)
    # Float32 rounding of the weights comes on top.
    assert np.linalg.norm(one[0] - two[0]) <= 0.3 * CLIP / SIZE + 1e-6
    np.testing.assert_allclose(one[1], two[1], atol=1e-7)


def test_the_number_of_records_touches_neither_normaliser_nor_noise() -> None:
    model, _ = model_of("mlp")
    clients = [one._replace(key=7) for one in members([0, 1, 9, 500])]
    changes = [
        train_private(model, [one], recipe(sampling_rate=1e-12), noise_seeds=[b"s"])
        for one in clients
    ]
    assert changes[0].any()
    for change in changes[1:]:
        assert np.array_equal(change, changes[0])


@pytest.mark.usefixtures("silent")
def test_the_sum_grows_with_the_records_and_the_divisor_does_not() -> None:
    model, _ = model_of("mlp")
    (one,) = members([1])
    thrice = one._replace(x=one.x.repeat(3, 1), y=one.y.repeat(3))
    all_in = {"sampling_rate": 1.0, "steps": 1}
    once, three = run(model, [one], **all_in), run(model, [thrice], **all_in)
    assert np.allclose(three, 3 * once, atol=1e-6)


def test_seeds_repeat_and_no_seed_does_not() -> None:
    model, _ = model_of("mlp")
    clients = members([9, 4])
    assert np.array_equal(run(model, clients), run(model, clients))
    fresh = [
        train_private(model, clients, recipe(), noise_seeds=[None, None])
        for _ in range(2)
    ]
    assert not np.isclose(*fresh).any(axis=1).all()


def test_a_client_does_not_depend_on_who_else_trains() -> None:
    for kind in ("mlp", "cnn", "opacus"):
        model, shape = KINDS[kind]()
        clients = members([9, 4, 0, 7], shape)
        seeds = [b"a", b"b", b"c", b"d"]
        whole = train_private(model, clients, recipe(), noise_seeds=seeds)
        chunks = train_private(model, clients, recipe(), noise_seeds=seeds, limit=1)
        np.testing.assert_allclose(chunks, whole, atol=1e-6)
        for one, seed, row in zip(clients, seeds, whole, strict=True):
            (alone,) = train_private(model, [one], recipe(), noise_seeds=[seed])
            np.testing.assert_allclose(alone, row, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_the_model_is_left_clean_and_torch_as_it_was(kind: str) -> None:
    model, shape = KINDS[kind]()
    before, threads = to_vector(model), torch.get_num_threads()
    state = torch.get_rng_state()
    change = run(model, members([9, 3], shape))
    assert change.dtype == np.float32
    assert np.array_equal(to_vector(model), before)
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


class ByLength(Pure):
    """Turns around with every further record."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * (1 if len(x) % 2 else -1)


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
        (Mixing(), "depends on the others"),
        (ByLength(), "depends on the others"),
    ],
)
def test_models_that_mix_records_are_refused(model: nn.Module, says: str) -> None:
    before = to_vector(model)
    with pytest.raises(ModelError, match=says):
        run(model, members([9]))
    assert np.array_equal(to_vector(model), before)
    assert not any(vars(p) for p in model.parameters())
    assert not any("activations" in vars(layer) for layer in model.modules())


@pytest.mark.parametrize("make", [lambda: dropping(0.5), repeated, Frank])
def test_what_cannot_be_stacked_goes_through_opacus(
    make: Callable[[], nn.Module],
) -> None:
    model = make()
    assert engine_for(model, (6,)).name == "loop"
    found = run(model, members([9, 4]))
    assert found.any(axis=1).all()
    assert np.array_equal(found, run(model, members([9, 4])))


@pytest.mark.usefixtures("silent")
def test_a_parameter_that_no_record_reaches_does_not_move() -> None:
    (change,) = run(Idle(), members([9]))
    assert change[:21].all()
    assert not change[21:].any()


@pytest.mark.parametrize("seeds", [[b"s", b"s"], [b"s"], [b"s", b"t", b"u"]])
def test_noise_that_clients_would_share_is_refused(seeds: list[bytes]) -> None:
    model, _ = model_of("mlp")
    with pytest.raises(ModelError, match="a seed of its own"):
        train_private(model, members([9, 4]), recipe(), noise_seeds=seeds)


@pytest.mark.parametrize("kind", ["vmap", "groups", "mlp", "cnn"])
def test_chunks_slices_and_threads_change_rounding_at_most(kind: str) -> None:
    torch.manual_seed(6)
    model, shape = KINDS[kind]()
    clients, before = members([9, 4, 0, 7, 12, 3], shape), to_vector(model)
    seeds = [b"%d" % i for i in range(6)]
    whole = train_private(model, clients, recipe(), noise_seeds=seeds)
    for limit in (1, 50_000):
        found = []
        for workers in (1, 2, 4):
            with side_by_side(workers):
                found.append(
                    train_private(
                        model, clients, recipe(), noise_seeds=seeds, limit=limit
                    )
                )
        assert np.array_equal(found[0], found[1])
        assert np.array_equal(found[0], found[2])
        np.testing.assert_allclose(found[0], whole, atol=1e-6)
        assert np.array_equal(to_vector(model), before)


@pytest.mark.parametrize("clip", [1.0, 2.0**-30, 2.0**-60])
@pytest.mark.parametrize("size", [1e17, 2.0**59, 2.0**61])
@pytest.mark.parametrize("kind", ["logreg", "mlp", "cnn", "vmap"])
@pytest.mark.usefixtures("silent")
def test_no_corner_of_float32_lets_a_record_exceed_its_norm(
    kind: str, size: float, clip: float
) -> None:
    torch.manual_seed(7)
    model, shape = KINDS[kind]()
    engine = engine_for(model, shape)
    mechanism = recipe(clip_norm_l2=clip).mechanism
    layout = Layout([p.shape for p in model.parameters()], engine.images)
    stack = layout.arranged(torch.from_numpy(to_vector(model))[None])
    x = torch.full((1, 1, *shape), size)
    for label in range(CLASSES):
        found = examples_of(model, engine)(stack, x.clone(), torch.tensor([[label]]))
        sums = mechanism.clipped_sums(found, torch.ones(1, 1).bool())
        assert float(sums.double().norm()) <= clip


def test_divergence_and_empty_seeds_are_refused() -> None:
    model, _ = model_of("mlp")
    wild = Rule(learning_rate=1e38)
    with pytest.raises(ModelError, match="lower it"):
        run(model, members([9]), rule=wild, noise_multiplier=1e3)
    with pytest.raises(ModelError, match="noise_seed is empty"):
        train_private(model, members([9]), recipe(), noise_seeds=[b""])
