"""What a model says of records, and that the default clients learn together."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from fl.config import load_config
from fl.data import Dataset, load
from fl.local import Member, evaluate, predict_logits, recipe_for, train_stacked
from fl.models import build, load_vector, to_vector
from fl.partition import partition, split
from fl.seeds import seed_for
from fl.settings import ModelConfig


def records(n: int = 50) -> tuple[Tensor, Tensor]:
    rng = torch.Generator().manual_seed(0)
    x = torch.randn(n, 6, generator=rng)
    return x, (x[:, 0] > 0).long() + (x[:, 1] > 0).long()


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
    sizes = np.array([len(share) for share in shares], dtype=np.float32)
    for index in range(training.rounds):
        load_vector(model, released)
        members = [
            Member(x[share], y[share], seed_for(0, index, client))
            for client, share in enumerate(shares)
        ]
        changes = train_stacked(model, members, recipe_for(training, index))
        assert np.linalg.norm(changes, axis=1).max() < training.clip_norm_l2
        released = released + sizes @ changes / sizes.sum()
    load_vector(model, released)
    accuracy, _ = evaluate(model, x[held_out], y[held_out])
    assert accuracy >= 0.92
