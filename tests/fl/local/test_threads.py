"""A round of the usual size gives the same bits on any number of cores."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

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
    thread,
    train_private,
    train_stacked,
)
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
        with thread.side_by_side(cores):
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
        with thread.side_by_side(cores):
            found.append(
                train_private(model, clients, recipe, noise_seeds=seeds, limit=LIMIT)
            )
    for other in found[1:]:
        assert np.array_equal(found[0], other)


@pytest.fixture(autouse=True)
def _idle(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(thread, "free_cores", lambda: 64)


def test_every_thread_has_clients_of_its_own() -> None:
    before = torch.get_num_threads()
    with thread.side_by_side(3):
        for clients in (1, thread.CLIENTS, 2 * thread.CLIENTS, 100):
            with thread.threads_for(clients):
                wanted = min(3, max(1, clients // thread.CLIENTS))
                assert torch.get_num_threads() == wanted
    assert torch.get_num_threads() == before


@pytest.mark.parametrize(
    ("said", "free"),
    [("1/200", 4), ("2/200", 3), ("4/200", 1), ("9/200", 1), ("?", 1), ("", 1)],
)
def test_who_else_wants_a_core_gets_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, said: str, free: int
) -> None:
    monkeypatch.undo()
    load = tmp_path / "loadavg"
    load.write_text(f"0.50 0.40 0.30 {said} 4711\n" if said else "")
    monkeypatch.setattr(thread, "LOAD", load)
    monkeypatch.setattr(thread, "SPIN_S", 0.0)
    monkeypatch.setattr("os.cpu_count", lambda: 4)
    assert thread.free_cores() == free
    monkeypatch.setattr(thread, "LOAD", tmp_path / "nothing")
    assert thread.free_cores() == 1


def test_our_own_helpers_are_not_taken_for_others(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.undo()
    monkeypatch.setattr("os.cpu_count", lambda: 4)
    monkeypatch.setattr(thread, "LOAD", tmp_path / "loadavg")
    monkeypatch.setattr(thread, "SPIN_S", 60.0)
    thread.LOAD.write_text("0.50 0.40 0.30 1/200 4711\n")
    with thread.side_by_side(4), thread.threads_for(100):
        assert torch.get_num_threads() == 4
    thread.LOAD.write_text("0.50 0.40 0.30 4/200 4711\n")  # this one and three
    assert thread.free_cores() == 4
    thread.LOAD.write_text("0.50 0.40 0.30 6/200 4711\n")
    assert thread.free_cores() == 2
    monkeypatch.setattr(thread, "SPIN_S", 0.0)
    assert thread.free_cores() == 1
