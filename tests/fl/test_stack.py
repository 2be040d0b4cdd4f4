"""Stacked training against the plain loop, and which models are stacked how."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from fl.errors import ModelError
from fl.local import Member, engine_for, train_local, train_stacked
from fl.local.linear import gradients as by_hand
from fl.local.linear import layers_of
from fl.models import build, load_vector, to_vector
from fl.settings import ModelConfig

CLASSES = 3


def members(
    sizes: Sequence[int], shape: tuple[int, ...] = (6,), seed: int = 0
) -> list[Member]:
    rng = torch.Generator().manual_seed(seed)
    found = []
    for client, size in enumerate(sizes):
        x = torch.rand(size, *shape, generator=rng)
        y = torch.randint(CLASSES, (size,), generator=rng)
        found.append((x, y, 100 + client))
    return found


def one_by_one(
    model: nn.Module,
    clients: Sequence[Member],
    *,
    epochs: int = 2,
    batch_size: int = 4,
    learning_rate: float = 0.1,
    momentum: float = 0.0,
) -> np.ndarray:
    """The oracle: the loop, whose own oracle is torch.optim.SGD."""
    before, changes = to_vector(model), []
    for x, y, seed in clients:
        load_vector(model, before)
        changes.append(
            train_local(
                model,
                x,
                y,
                epochs=epochs,
                batch_size=batch_size,
                learning_rate=learning_rate,
                momentum=momentum,
                seed=seed,
            )
        )
    load_vector(model, before)
    return np.stack(changes)


def stacked(
    model: nn.Module,
    clients: Sequence[Member],
    *,
    epochs: int = 2,
    batch_size: int = 4,
    learning_rate: float = 0.1,
    momentum: float = 0.0,
    **more: int,
) -> np.ndarray:
    return train_stacked(
        model,
        clients,
        epochs=epochs,
        batch_size=batch_size,
        learning_rate=learning_rate,
        momentum=momentum,
        **more,
    )


MODELS = {
    "logreg": (ModelConfig(kind="logreg"), (6,)),
    "mlp": (ModelConfig(hidden=(9, 5)), (6,)),
    "images": (ModelConfig(hidden=(7,)), (1, 4, 4)),
    "cnn": (ModelConfig(kind="cnn"), (1, 8, 8)),
}


@pytest.mark.parametrize("kind", MODELS)
@given(
    sizes=st.lists(st.integers(1, 13), min_size=1, max_size=6),
    epochs=st.integers(1, 3),
    batch_size=st.integers(1, 16),
    momentum=st.sampled_from([0.0, 0.5, 0.9]),
    seed=st.integers(0, 1000),
)
@settings(max_examples=25, deadline=None, derandomize=True)
def test_a_stack_equals_the_loop(
    kind: str,
    sizes: list[int],
    epochs: int,
    batch_size: int,
    momentum: float,
    seed: int,
) -> None:
    config, shape = MODELS[kind]
    model = build(config, shape, CLASSES, seed)
    clients = members(sizes, shape, seed)
    keys = {"epochs": epochs, "batch_size": batch_size}
    wanted = one_by_one(model, clients, momentum=momentum, **keys)
    found = stacked(model, clients, momentum=momentum, **keys)
    assert found.dtype == np.float32
    assert found.shape == wanted.shape
    assert np.abs(found - wanted).max() < 1e-5
    assert np.abs(wanted).max(axis=1).min() > 1e-4


class Pure(nn.Module):
    """A forward of its own that treats every record alone."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(6, 6)
        self.out = nn.Linear(6, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(x + torch.tanh(self.inner(x)))


class Branching(Pure):
    """Looks at the values, which vmap cannot do for all clients at once."""

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.inner(x) if float(x.sum()) > 1 else x)


class Mixing(Pure):
    """Centres a batch, so that a record's output depends on the others'."""

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.inner(x - x.mean(dim=0)))


class Noisy(Pure):
    """Draws in its forward, without a layer that says so."""

    def forward(self, x: Tensor) -> Tensor:
        return self.out(nn.functional.dropout(self.inner(x), 0.5, self.training))


def hooked() -> nn.Module:
    model = nn.Sequential(nn.Flatten(), nn.Linear(6, CLASSES))
    model[1].register_forward_hook(lambda _module, _given, out: 2 * out)
    return model


def repeated() -> nn.Module:
    layer = nn.Linear(6, 6)
    return nn.Sequential(nn.Flatten(), layer, nn.ReLU(), layer, nn.Linear(6, CLASSES))


def normalised() -> nn.Module:
    return nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Linear(8, CLASSES))


def dropping(p: float) -> nn.Module:
    return nn.Sequential(nn.Linear(6, 8), nn.Dropout(p), nn.Linear(8, CLASSES))


def table(*layers: nn.Module) -> nn.Module:
    return nn.Sequential(*layers)


CHOICES = [
    (lambda: table(nn.Flatten(), nn.Linear(6, 3)), "linear", "Linear"),
    (lambda: table(nn.Flatten(), nn.Linear(6, 3, bias=False)), "linear", "Linear"),
    (lambda: table(table(nn.Flatten(), nn.Linear(6, 3))), "linear", "Linear"),
    (
        lambda: table(nn.Flatten(), nn.ReLU(), nn.ReLU(), nn.Linear(6, 3), nn.ReLU()),
        "linear",
        "Linear",
    ),
    (lambda: table(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3)), "vmap", "known"),
    (Pure, "vmap", "tried"),
    (lambda: dropping(0.0), "vmap", "tried"),
    (lambda: dropping(0.5), "loop", "1 is dropout"),
    (Branching, "loop", "vmap cannot run it"),
    (Mixing, "loop", "mixes the records"),
    (Noisy, "loop", "vmap cannot run it"),
    (hooked, "loop", "hooks"),
    (repeated, "loop", "several places"),
    (normalised, "loop", "buffers"),
]


@pytest.mark.parametrize(("make", "name", "why"), CHOICES)
def test_every_model_is_stacked_as_it_can_be_and_equals_the_loop(
    make: object, name: str, why: str
) -> None:
    torch.manual_seed(0)
    model = make()  # type: ignore[operator]
    engine = engine_for(model, (6,))
    assert engine.name == name
    assert why in engine.why
    # No batch of one record, which has no variance to normalise by.
    clients = members([6, 2, 12, 7])
    state = torch.random.get_rng_state()
    found = stacked(model, clients, momentum=0.5)
    assert torch.equal(torch.random.get_rng_state(), state)
    if make is normalised:
        return  # the loop carries its statistics from client to client
    assert np.abs(found - one_by_one(model, clients, momentum=0.5)).max() < 1e-5


def weighted_loss(
    parameters: Sequence[np.ndarray], x: np.ndarray, y: np.ndarray, w: np.ndarray
) -> float:
    """Two hidden layers with ReLU and cross-entropy, written out for one client."""
    first, one, second, two, third, three = parameters
    hidden = np.maximum(x @ first.T + one, 0)
    hidden = np.maximum(hidden @ second.T + two, 0)
    logits = hidden @ third.T + three
    logs = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    return -float((w * logs[np.arange(len(y)), y]).sum())


def test_the_gradient_by_hand_is_the_derivative() -> None:
    model = build(ModelConfig(hidden=(5, 4)), (6,), CLASSES, 0).double()
    layers = layers_of(model)
    assert layers is not None
    x = torch.rand(2, 3, 6, dtype=torch.float64)
    y = torch.tensor([[0, 2, 1], [1, 1, 0]])
    weights = torch.tensor([[0.5, 0.5, 0.0], [1.0, 0.25, 3.0]], dtype=torch.float64)
    stack = [torch.stack([p.detach(), 2 * p.detach()]) for p in model.parameters()]
    found = by_hand(layers, stack, x, y, weights)
    assert [one.shape for one in found] == [one.shape for one in stack]
    for client in range(2):
        own = [p[client].numpy().copy() for p in stack]
        given = (x[client].numpy(), y[client].numpy(), weights[client].numpy())
        for parameter, slope in zip(own, found, strict=True):
            for place in np.ndindex(parameter.shape):
                parameter[place] += 1e-6
                up = weighted_loss(own, *given)
                parameter[place] -= 2e-6
                down = weighted_loss(own, *given)
                parameter[place] += 1e-6
                steep = (up - down) / 2e-6
                assert steep == pytest.approx(float(slope[client][place]), abs=1e-6)


def test_a_relu_at_zero_passes_no_gradient_on() -> None:
    model = build(ModelConfig(hidden=(9, 5)), (6,), CLASSES, 0)
    with torch.no_grad():
        for layer in (model[1], model[3]):
            layer.bias.zero_()
    clients = [(torch.zeros_like(x), y, seed) for x, y, seed in members([5, 8])]
    found = stacked(model, clients)
    assert np.abs(found - one_by_one(model, clients)).max() < 1e-5
    assert np.abs(found).max() > 1e-3


def test_small_chunks_change_nothing() -> None:
    for kind in ("mlp", "cnn"):
        config, shape = MODELS[kind]
        model = build(config, shape, CLASSES, 0)
        clients = members([3, 9, 1, 9, 5], shape)
        whole = stacked(model, clients)
        for limit in (1, 20_000, 100_000):
            cut = stacked(model, clients, limit=limit)
            np.testing.assert_allclose(cut, whole, atol=1e-6)


def test_equal_arguments_train_equally_whatever_the_threads() -> None:
    threads = torch.get_num_threads()
    for kind in ("mlp", "cnn"):
        config, shape = MODELS[kind]
        model = build(config, shape, CLASSES, 0)
        clients = members([30, 20, 10, 30], shape)
        changes = []
        try:
            for count in (1, 2, 2):
                torch.set_num_threads(count)
                changes.append(stacked(model, clients, momentum=0.9))
                assert torch.get_num_threads() == count
        finally:
            torch.set_num_threads(threads)
        assert np.array_equal(changes[0], changes[1])
        assert np.array_equal(changes[1], changes[2])


class Counting(Pure):
    """Notes how many threads its forward may use."""

    seen: set[int]

    def forward(self, x: Tensor) -> Tensor:
        self.seen.add(torch.get_num_threads())
        return super().forward(x)


def test_training_takes_one_thread() -> None:
    model = Counting()
    model.seen = set()
    assert engine_for(model, (6,)).name == "vmap"
    threads = torch.get_num_threads()
    model.seen.clear()
    try:
        torch.set_num_threads(2)
        stacked(model, members([4, 5]))
    finally:
        torch.set_num_threads(threads)
    assert model.seen == {1}


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("make", [Pure, lambda: dropping(0.5)])
def test_the_model_and_the_global_generator_are_left_as_they_were(
    make: object, training: bool
) -> None:
    torch.manual_seed(0)
    model = make()  # type: ignore[operator]
    model.train(training)
    before, state = to_vector(model), torch.random.get_rng_state()
    stacked(model, members([4, 5]))
    assert np.array_equal(to_vector(model), before)
    assert model.training is training
    assert torch.equal(torch.random.get_rng_state(), state)
    assert all(p.grad is None for p in model.parameters())


@pytest.mark.parametrize("make", [lambda: build(ModelConfig(), (6,), 3, 0), Pure])
def test_one_client_that_diverges_is_refused_with_the_cure(make: object) -> None:
    model = make()  # type: ignore[operator]
    clients = members([4, 9, 5])
    x, y, seed = clients[1]
    clients[1] = (x * 1e6, y, seed)
    with pytest.raises(ModelError, match="lower it"):
        stacked(model, clients, learning_rate=1e30, epochs=5)


@pytest.mark.parametrize("sizes", [[0], [3, 0, 9, 0]])
@pytest.mark.parametrize("kind", MODELS)
def test_a_client_without_records_changes_nothing(kind: str, sizes: list[int]) -> None:
    config, shape = MODELS[kind]
    model = build(config, shape, CLASSES, 0)
    clients = members(sizes, shape)
    found = stacked(model, clients)
    assert np.abs(found - one_by_one(model, clients)).max() < 1e-5
    assert not found[np.array(sizes) == 0].any()


def test_a_step_too_large_to_gain_is_left_to_the_loop() -> None:
    model = build(ModelConfig(kind="cnn"), (1, 28, 28), CLASSES, 0)
    assert engine_for(model, (1, 28, 28), batch_size=8).name == "vmap"
    large = engine_for(model, (1, 28, 28), batch_size=64)
    assert large.name == "loop"
    assert "slow" in large.why


def test_no_clients_have_no_changes() -> None:
    model = build(ModelConfig(hidden=(9,)), (6,), CLASSES, 0)
    assert stacked(model, []).shape == (0, len(to_vector(model)))
