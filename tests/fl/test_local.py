"""Local training against torch.optim.SGD, its determinism, and evaluation."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from fl.config import load_config
from fl.data import Dataset, load
from fl.errors import ModelError
from fl.local import evaluate, predict_logits, train_local
from fl.models import build, load_vector, to_vector
from fl.partition import partition, split
from fl.seeds import seed_for
from fl.settings import ModelConfig


def records(n: int = 50) -> tuple[Tensor, Tensor]:
    rng = torch.Generator().manual_seed(0)
    x = torch.randn(n, 6, generator=rng)
    return x, (x[:, 0] > 0).long() + (x[:, 1] > 0).long()


def oracle(
    model: nn.Module, x: Tensor, y: Tensor, epochs: int, batch: int, momentum: float
) -> np.ndarray:
    """The same training with torch's own optimiser and loss."""
    before = to_vector(model)
    sgd = torch.optim.SGD(model.parameters(), lr=0.1, momentum=momentum)
    order = torch.Generator().manual_seed(3)
    for _ in range(epochs):
        everyone = torch.randperm(len(y), generator=order)
        for start in range(0, len(y), batch):
            rows = everyone[start : start + batch]
            sgd.zero_grad()
            nn.CrossEntropyLoss()(model(x[rows]), y[rows]).backward()
            sgd.step()
    return to_vector(model) - before


def train(model: nn.Module, x: Tensor, y: Tensor, **keys: float) -> np.ndarray:
    given = {"epochs": 2, "batch_size": 8, "momentum": 0.0, "seed": 3} | keys
    return train_local(
        model,
        x,
        y,
        epochs=int(given["epochs"]),
        batch_size=int(given["batch_size"]),
        learning_rate=keys.get("learning_rate", 0.1),
        momentum=given["momentum"],
        seed=int(given["seed"]),
    )


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("batch", [1, 7, 50, 1000])
@pytest.mark.parametrize("hidden", [(), (9,), (9, 5)])
def test_training_equals_torch_sgd(
    momentum: float, batch: int, hidden: tuple[int, ...]
) -> None:
    x, y = records()
    config = ModelConfig(hidden=hidden)
    ours = train(
        build(config, (6,), 3, 0), x, y, momentum=momentum, batch_size=batch, epochs=3
    )
    theirs = oracle(build(config, (6,), 3, 0), x, y, 3, batch, momentum)
    # float32 sums in another order; 3 epochs of up to 50 steps of size 0.1.
    assert np.abs(ours - theirs).max() < 1e-4
    assert np.abs(ours).max() > 1e-3


def test_equal_seeds_train_equally_bit_for_bit() -> None:
    x, y = records()
    config = ModelConfig(hidden=(9,))
    first, again = (train(build(config, (6,), 3, 0), x, y) for _ in range(2))
    other = train(build(config, (6,), 3, 0), x, y, seed=4)
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_change_is_trained_less_released_parameters() -> None:
    x, y = records()
    model = build(ModelConfig(hidden=(9,)), (6,), 3, 0)
    before = to_vector(model)
    change = train(model, x, y)
    assert np.array_equal(to_vector(model) - before, change)


def test_dropout_layers_follow_the_seed_and_spare_the_global_generator() -> None:
    x, y = records()

    def once() -> np.ndarray:
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(6, 8), nn.Dropout(0.5), nn.Linear(8, 3))
        return train(model, x, y)

    first = once()
    after = torch.rand(3)
    assert np.array_equal(first, once())
    torch.manual_seed(0)
    nn.Sequential(nn.Linear(6, 8), nn.Dropout(0.5), nn.Linear(8, 3))
    assert torch.equal(torch.rand(3), after)


def test_the_number_of_threads_changes_nothing_and_is_left_alone() -> None:
    x, y = records()
    changes = []
    threads = torch.get_num_threads()
    try:
        for count in (1, 2):
            torch.set_num_threads(count)
            model = build(ModelConfig(hidden=(9,)), (6,), 3, 0)
            changes.append(train(model, x, y))
            evaluate(model, x, y)
            assert torch.get_num_threads() == count
    finally:
        torch.set_num_threads(threads)
    assert np.array_equal(changes[0], changes[1])


def test_divergence_is_refused_with_the_cure() -> None:
    x, y = records()
    model = build(ModelConfig(hidden=(9,)), (6,), 3, 0)
    with pytest.raises(ModelError, match="lower it"):
        train(model, x * 1e6, y, learning_rate=1e30, epochs=5)


def test_evaluation_matches_the_definition_across_chunks() -> None:
    x, y = records(5000)
    model = build(ModelConfig(hidden=(9,)), (6,), 3, 0)
    accuracy, losses = evaluate(model, x, y)
    logits = predict_logits(model, x).astype(np.float64)
    exact = np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(5000), y.numpy()]
    assert losses.shape == (5000,)
    assert np.allclose(losses, exact, atol=1e-5)
    assert accuracy == (logits.argmax(axis=1) == y.numpy()).mean()


@pytest.mark.parametrize("training", [True, False])
def test_evaluation_leaves_the_model_as_it_was(training: bool) -> None:
    x, y = records()
    model = nn.Sequential(nn.Linear(6, 8), nn.Dropout(0.5), nn.Linear(8, 3))
    model.train(training)
    before = to_vector(model)
    assert np.array_equal(predict_logits(model, x), predict_logits(model, x))
    evaluate(model, x, y)
    assert model.training is training
    assert np.array_equal(to_vector(model), before)


def test_the_default_clients_learn_digits_together() -> None:
    config = load_config(None)
    raw = load(config.data, 0)
    assert isinstance(raw, Dataset)
    rows, held_out = split(raw, config.data.test_fraction, 0)
    clients, kind = config.federation.clients, config.federation.partition
    shares = partition(raw, rows, clients=clients, kind=kind, alpha=1.0, seed=0)
    x, y = torch.from_numpy(raw.features), torch.from_numpy(raw.labels)
    model = build(config.model, raw.input_shape, raw.classes, 0)
    released = to_vector(model)
    training = config.training
    for round_number in range(training.rounds):
        total = np.zeros_like(released)
        for client, share in enumerate(shares):
            load_vector(model, released)
            change = train_local(
                model,
                x[share],
                y[share],
                epochs=training.local_epochs,
                batch_size=training.batch_size,
                learning_rate=training.learning_rate,
                momentum=training.momentum,
                seed=seed_for(0, round_number, client),
            )
            assert np.linalg.norm(change) < training.clip_norm_l2
            total += change * np.float32(len(share) / len(rows))
        released = released + total
    load_vector(model, released)
    accuracy, _ = evaluate(model, x[held_out], y[held_out])
    assert accuracy >= 0.92
