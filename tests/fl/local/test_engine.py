"""Which models are stacked how, and layers by hand against torch's own."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from fl.local import Recipe, Rule, engine_for, train_stacked
from fl.local.byhand import slopes
from fl.local.stack import Layout
from fl.local.translate import images_of, layers_of
from fl.models import build
from fl.settings import ModelConfig
from tests.fl.local import oracle
from tests.fl.local.some import (
    CLASSES,
    Branching,
    Mixing,
    Noisy,
    Pure,
    dropping,
    grouped,
    hooked,
    members,
    model_of,
    repeated,
)

RECIPE = Recipe(epochs=2, batch_size=4, rule=Rule(learning_rate=0.1, momentum=0.5))
sgd = partial(torch.optim.SGD, lr=0.1, momentum=0.5)


def normalised() -> nn.Module:
    return nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Linear(8, CLASSES))


def replaced() -> nn.Module:
    model = nn.Sequential(nn.Flatten(), nn.Linear(6, CLASSES))
    own = model[1].forward
    model[1].forward = lambda x: 2 * own(x)  # type: ignore[method-assign]
    return model


def watched() -> nn.Module:
    model = nn.Sequential(nn.Flatten(), nn.Linear(6, CLASSES))
    model[1].weight.register_hook(lambda slope: 0 * slope)
    return model


def table(*layers: nn.Module) -> nn.Module:
    return nn.Sequential(*layers)


IMAGES = (2, 6, 5)


def image_net(*layers: nn.Module, features: int) -> nn.Module:
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(features, CLASSES))


CHOICES = [
    (lambda: table(nn.Flatten(), nn.Linear(6, 3)), "by hand", "by hand"),
    (lambda: table(nn.Flatten(), nn.Linear(6, 3, bias=False)), "by hand", "by hand"),
    (lambda: table(table(nn.Flatten(), nn.Linear(6, 3))), "by hand", "by hand"),
    (
        lambda: table(nn.Flatten(), nn.ReLU(), nn.ReLU(), nn.Linear(6, 3), nn.ReLU()),
        "by hand",
        "by hand",
    ),
    (
        lambda: table(nn.ReLU(), nn.Flatten(), nn.Flatten(), nn.Linear(6, 3)),
        "by hand",
        "by hand",
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
    (replaced, "loop", "put in its place"),
    (watched, "loop", "hooks"),
]


@pytest.mark.parametrize(("make", "name", "why"), CHOICES)
def test_every_model_is_stacked_as_it_can_be_and_equals_torch(
    make: Callable[[], nn.Module], name: str, why: str
) -> None:
    torch.manual_seed(0)
    model = make()
    engine = engine_for(model, (6,))
    assert engine.name == name
    assert why in engine.why
    # No batch of one record, which has no variance to normalise by.
    clients = members([6, 2, 12, 7])
    state = torch.random.get_rng_state()
    found = train_stacked(model, clients, RECIPE)
    assert torch.equal(torch.random.get_rng_state(), state)
    if make is normalised:
        return  # its statistics go from client to client
    for client, change in zip(clients, found, strict=True):
        if make not in (replaced, watched):  # a copy would call the original's
            wanted = oracle.train(model, *client[:3], sgd)
            assert np.abs(change - wanted).max() < 1e-5
    if make is watched:
        assert not found[:, :18].any()


NETS: dict[str, Callable[[], nn.Module]] = {
    "padded": lambda: image_net(nn.Conv2d(2, 4, 3, padding=1), features=120),
    "bare": lambda: image_net(nn.Conv2d(2, 4, (3, 2)), features=64),
    "without bias": lambda: image_net(
        nn.Conv2d(2, 4, 3, bias=False), nn.ReLU(), features=48
    ),
    "two": lambda: image_net(
        nn.Conv2d(2, 4, 3, padding=(0, 1)), nn.ReLU(), nn.Conv2d(4, 3, 2), features=36
    ),
    "pooled": lambda: image_net(
        nn.Conv2d(2, 4, 3, padding=1),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(2),
        nn.Conv2d(4, 3, 3, padding=1),
        nn.MaxPool2d((1, 2)),
        features=9,
    ),
    "pooled oddly": lambda: image_net(nn.MaxPool2d((2,), stride=(2,)), features=12),
    "pooled first": lambda: image_net(nn.MaxPool2d(2), nn.ReLU(), features=12),
    "flat": lambda: nn.Sequential(
        nn.Flatten(), nn.Linear(60, 5), nn.ReLU(), nn.Linear(5, CLASSES)
    ),
    "deep": lambda: nn.Sequential(
        nn.Conv2d(2, 3, 3),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(36, 7),
        nn.ReLU(),
        nn.Linear(7, CLASSES),
    ),
}


def flat(tensors: Iterable[Tensor]) -> Tensor:
    return torch.cat([one.detach().reshape(-1) for one in tensors])


def weighted_loss(model: nn.Module, x: Tensor, y: Tensor, w: Tensor) -> Tensor:
    loss: Tensor = nn.functional.cross_entropy(model(x), y, reduction="none")
    return (loss * w).sum()


@pytest.mark.parametrize("name", NETS)
def test_the_gradient_by_hand_is_torchs(name: str) -> None:
    torch.manual_seed(1)
    alone = [NETS[name]().double() for _ in range(3)]
    layers = layers_of(alone[0])
    assert layers is not None
    assert engine_for(alone[0].float(), IMAGES).name == "by hand"
    alone[0].double()
    x = torch.randn(3, 4, *IMAGES, dtype=torch.float64)
    y = torch.randint(CLASSES, (3, 4))
    weights = torch.rand(3, 4, dtype=torch.float64)
    weights[0, 2:] = 0.0
    layout = Layout([p.shape for p in alone[0].parameters()], images_of(layers, IMAGES))
    vectors = torch.stack([flat(model.parameters()) for model in alone])
    stack = layout.arranged(vectors)
    found = slopes(layers, stack, x.clone(), y, weights)
    made = torch.empty_like(vectors)
    layout.put([slope.dense() for slope in found], made)
    for client, model in enumerate(alone):
        loss = weighted_loss(model, x[client], y[client], weights[client])
        wanted = flat(torch.autograd.grad(loss, list(model.parameters())))
        assert torch.allclose(made[client], wanted, atol=1e-10)
    # To step along a slope is to subtract it.
    for slope, parameter in zip(found, stack, strict=True):
        moved = parameter.clone()
        slope.descend(moved, 0.3)
        assert torch.allclose(moved, parameter - 0.3 * slope.dense(), atol=1e-10)


UNKNOWN = [
    nn.Sequential(nn.Linear(6, CLASSES)),
    nn.Sequential(nn.Flatten(0), nn.Linear(6, CLASSES)),
    image_net(nn.Conv2d(2, 4, 3, stride=2), features=8),
    image_net(nn.Conv2d(2, 4, 3, dilation=2), features=8),
    image_net(nn.Conv2d(2, 4, 3, groups=2), features=8),
    image_net(nn.Conv2d(2, 4, 3, padding=3), features=8),
    image_net(nn.Conv2d(2, 4, 3, padding="same"), features=8),
    image_net(nn.Conv2d(2, 4, 3, padding=1, padding_mode="circular"), features=8),
    image_net(nn.MaxPool2d(3, stride=1), features=8),
    image_net(nn.MaxPool2d(2, padding=1), features=8),
    image_net(nn.MaxPool2d(2, ceil_mode=True), features=8),
    image_net(nn.MaxPool2d(2, dilation=2), features=8),
    nn.Sequential(nn.Flatten(), nn.ReLU()),
    grouped(),
    Pure(),
]


@pytest.mark.parametrize("place", range(len(UNKNOWN)))
def test_what_is_not_known_by_hand_is_not_taken(place: int) -> None:
    assert layers_of(UNKNOWN[place]) is None


def test_rows_of_a_table_are_no_images() -> None:
    model = nn.Sequential(nn.MaxPool2d(2), nn.Flatten(), nn.Linear(6, CLASSES))
    assert engine_for(model, (1, 4, 6)).name == "by hand"
    assert engine_for(model, (4, 6)).name != "by hand"


def test_a_relu_at_zero_passes_no_gradient_on() -> None:
    model = build(ModelConfig(hidden=(9, 5)), (6,), CLASSES, 0)
    with torch.no_grad():
        for layer in (model[1], model[3]):
            layer.bias.zero_()
    clients = [one._replace(x=torch.zeros_like(one.x)) for one in members([5, 8])]
    found = train_stacked(model, clients, RECIPE)
    for client, change in zip(clients, found, strict=True):
        assert np.abs(change - oracle.train(model, *client[:3], sgd)).max() < 1e-5
        assert np.abs(change).max() > 1e-3


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
        train_stacked(model, members([4, 5]), RECIPE)
    finally:
        torch.set_num_threads(threads)
    assert model.seen == {1}


def test_a_step_too_large_to_gain_is_left_to_the_loop() -> None:
    model = nn.Sequential(nn.Linear(4096, 4096), nn.Tanh(), nn.Linear(4096, 3))
    assert engine_for(model, (4096,), batch_size=8).name == "vmap"
    large = engine_for(model, (4096,), batch_size=64)
    assert large.name == "loop"
    assert "slow" in large.why


def test_the_choice_looks_at_the_model_and_leaves_it_alone() -> None:
    model, shape = model_of("cnn")
    before, state = oracle.flat(model).copy(), torch.random.get_rng_state()
    assert engine_for(model, shape) == engine_for(model, shape)
    assert np.array_equal(oracle.flat(model), before)
    assert torch.equal(torch.random.get_rng_state(), state)
