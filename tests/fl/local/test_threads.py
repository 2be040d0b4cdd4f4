"""A round of the usual size gives the same bits on any number of cores."""

from __future__ import annotations

import threading
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn

from dp.sgd import DpSgd
from fl.local import (
    Member,
    PrivateRecipe,
    Recipe,
    Rule,
    train_private,
    train_stacked,
)
from fl.local.thread import each_chunk, side_by_side
from fl.models import build
from fl.settings import ModelConfig

SHAPE, CLASSES = (1, 8, 8), 10
LIMIT = 2**20  # so that there are several chunks
NETS: dict[str, Callable[[], nn.Module]] = {
    "logreg": lambda: build(ModelConfig(kind="logreg"), SHAPE, CLASSES, 0),
    "mlp": lambda: build(ModelConfig(hidden=(64,)), SHAPE, CLASSES, 0),
    "cnn": lambda: build(ModelConfig(kind="cnn"), SHAPE, CLASSES, 0),
    "vmap": lambda: nn.Sequential(
        nn.Conv2d(1, 8, 3), nn.GroupNorm(2, 8), nn.Tanh(), nn.Flatten(),
        nn.Linear(8 * 36, CLASSES),
    ),
}  # fmt: skip
RULES = [Rule(learning_rate=0.1), Rule(learning_rate=0.01, optimizer="adam")]


def crowd(clients: int) -> list[Member]:
    rng = torch.Generator().manual_seed(0)
    return [
        Member(
            torch.rand(12 + key % 5, *SHAPE, generator=rng),
            torch.randint(CLASSES, (12 + key % 5,), generator=rng),
            key,
        )
        for key in range(clients)
    ]


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("net", NETS)
def test_training_gives_the_same_bits_on_1_2_and_4_cores(net: str, rule: Rule) -> None:
    torch.manual_seed(0)
    model, clients = NETS[net](), crowd(60)
    recipe = Recipe(epochs=2, batch_size=8, rule=rule)
    found = []
    for cores in (1, 2, 4, 16):
        with side_by_side(cores):
            found.append(train_stacked(model, clients, recipe, limit=LIMIT))
    assert found[0].any(axis=1).all()
    for other in found[1:]:
        assert np.array_equal(found[0], other)


@pytest.mark.parametrize("net", NETS)
def test_private_training_gives_the_same_bits_on_1_2_and_4_cores(net: str) -> None:
    torch.manual_seed(0)
    model, clients = NETS[net](), crowd(60)
    mechanism = DpSgd(
        sampling_rate=0.5, batch_size=8.0, clip_norm_l2=1.0, noise_multiplier=1.0
    )
    recipe = PrivateRecipe(steps=2, mechanism=mechanism, rule=RULES[0])
    seeds = [b"%d" % place for place in range(60)]
    found = []
    for cores in (1, 2, 4, 16):
        with side_by_side(cores):
            found.append(
                train_private(model, clients, recipe, noise_seeds=seeds, limit=LIMIT)
            )
    for other in found[1:]:
        assert np.array_equal(found[0], other)


def test_chunks_run_side_by_side_and_raise_what_they_raise() -> None:
    met = threading.Barrier(2, timeout=30)

    def meet(_: int) -> None:
        met.wait()  # nobody passes alone

    with side_by_side(2):
        each_chunk(meet, range(2))

    def fail(chunk: int) -> None:
        if chunk:
            raise ValueError("the second")

    for threads in (1, 2):
        with side_by_side(threads), pytest.raises(ValueError, match="the second"):
            each_chunk(fail, range(3))
