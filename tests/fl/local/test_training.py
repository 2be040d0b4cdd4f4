"""Stacked training against torch.optim, client by client."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from dp import clip_l2
from fl.errors import ModelError
from fl.local import Member, Recipe, Rule, engine_for, learning_rate_at, train_stacked
from fl.local.thread import side_by_side
from fl.models import build, to_vector
from fl.settings import ModelConfig, TrainingConfig
from tests.fl.local import oracle
from tests.fl.local.some import (
    MODELS,
    Branching,
    Pure,
    dropping,
    grouped,
    members,
    model_of,
)

SGD = Rule(learning_rate=0.1)


def recipe(rule: Rule = SGD, **keys: Any) -> Recipe:
    return Recipe(**({"epochs": 2, "batch_size": 4, "rule": rule} | keys))


def one_by_one(
    model: nn.Module, clients: list[Member], rule: Rule = SGD, **keys: Any
) -> np.ndarray:
    """What torch makes of every client alone."""

    def make(parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
        lr, decay = rule.learning_rate, rule.weight_decay
        if rule.optimizer == "adam":
            return torch.optim.Adam(parameters, lr=lr, weight_decay=decay)
        momentum = rule.momentum
        return torch.optim.SGD(parameters, lr=lr, momentum=momentum, weight_decay=decay)

    return np.stack(
        [oracle.train(model, one.x, one.y, one.key, make, **keys) for one in clients]
    )


@pytest.mark.parametrize("kind", MODELS)
@given(
    sizes=st.lists(st.integers(1, 13), min_size=1, max_size=6),
    epochs=st.integers(1, 3),
    batch=st.integers(1, 16),
    momentum=st.sampled_from([0.0, 0.5, 0.9]),
    seed=st.integers(0, 1000),
)
@settings(max_examples=15, deadline=None, derandomize=True)
def test_a_stack_equals_torch_sgd(
    kind: str,
    sizes: list[int],
    epochs: int,
    batch: int,
    momentum: float,
    seed: int,
) -> None:
    model, shape = model_of(kind, seed)
    clients = members(sizes, shape, seed)
    rule = Rule(learning_rate=0.1, momentum=momentum)
    wanted = one_by_one(model, clients, rule, epochs=epochs, batch=batch)
    found = train_stacked(model, clients, recipe(rule, epochs=epochs, batch_size=batch))
    assert found.dtype == np.float32
    assert found.shape == wanted.shape
    assert np.abs(found - wanted).max() < 1e-5
    assert np.abs(wanted).max(axis=1).min() > 1e-4


RULES = {
    "decay": Rule(learning_rate=0.1, weight_decay=0.3),
    "momentum and decay": Rule(learning_rate=0.1, weight_decay=0.3, momentum=0.8),
    "adam": Rule(learning_rate=0.01, optimizer="adam"),
    "adam and decay": Rule(learning_rate=0.01, optimizer="adam", weight_decay=0.3),
}


@pytest.mark.parametrize("make", [lambda: model_of("mlp")[0], Pure, dropping])
@pytest.mark.parametrize("name", RULES)
def test_every_rule_equals_torchs(make: Callable[..., nn.Module], name: str) -> None:
    model = make(0.5) if make is dropping else make()
    clients, rule = members([9, 4, 1, 13]), RULES[name]
    wanted = one_by_one(model, clients, rule)
    found = train_stacked(model, clients, recipe(rule))
    assert np.abs(found - wanted).max() < 1e-5
    plain = train_stacked(model, clients, recipe(Rule(learning_rate=0.1)))
    assert np.abs(found - plain).max() > 1e-3


@pytest.mark.parametrize("rule", [SGD, RULES["adam"], RULES["momentum and decay"]])
def test_the_terms_are_the_gradients_of_what_they_stand_for(rule: Rule) -> None:
    model, _ = model_of("mlp")
    clients = members([9, 4, 1, 13])
    drift = np.random.default_rng(0).normal(size=(4, len(to_vector(model))))
    constants = (0.3 * drift).astype(np.float32)
    wanted = np.concatenate(
        [
            one_by_one(model, [one], rule, proximal=0.7, correction=constant)
            for one, constant in zip(clients, constants, strict=True)
        ]
    )
    found = train_stacked(
        model, clients, recipe(rule, proximal=0.7), control_variates=constants
    )
    assert np.abs(found - wanted).max() < 1e-5
    # Each of the two is seen.
    for keys in ({"control_variates": constants}, {}):
        less = recipe(rule, proximal=0.0 if keys else 0.7)
        other = train_stacked(model, clients, less, **keys)
        assert np.abs(found - other).max() > 1e-3


def test_members_start_from_models_of_their_own() -> None:
    model, _ = model_of("mlp")
    starts = np.stack([to_vector(model_of("mlp", seed)[0]) for seed in (3, 4, 5)])
    clients = [
        one._replace(start=start)
        for one, start in zip(members([4, 9, 9, 2, 9]), (2, 0, 1, 1, 2), strict=True)
    ]
    found = train_stacked(model, clients, recipe(proximal=0.5), starts=starts)
    for client, change in zip(clients, found, strict=True):
        own = model_of("mlp", 3 + client.start)[0]
        (wanted,) = one_by_one(own, [client], proximal=0.5)
        assert np.abs(change - wanted).max() < 1e-5


NETS: dict[str, Callable[[], tuple[nn.Module, tuple[int, ...]]]] = {
    "mlp": lambda: model_of("mlp"),
    "cnn": lambda: model_of("cnn"),
    "vmap": lambda: (Pure(), (6,)),
    "groups": lambda: (grouped(), (2, 8, 8)),
}


@pytest.mark.parametrize("kind", NETS)
def test_chunks_change_rounding_at_most_and_threads_nothing(kind: str) -> None:
    model, shape = NETS[kind]()
    clients, before = members([3, 9, 1, 9, 5, 8, 2, 9], shape), to_vector(model)
    whole = train_stacked(model, clients, recipe())
    for limit in (1, 20_000, 100_000):
        small = train_stacked(model, clients, recipe(), limit=limit)
        np.testing.assert_allclose(small, whole, atol=1e-6)
        for workers in (1, 2, 4):
            with side_by_side(workers):
                again = train_stacked(model, clients, recipe(), limit=limit)
            assert np.array_equal(again, small)
            assert np.array_equal(to_vector(model), before)


def test_who_else_trains_moves_a_change_by_rounding_at_most() -> None:
    model, _ = model_of("mlp")
    clients = members([3, 9, 1, 9, 5])
    whole = train_stacked(model, clients, recipe())
    for place, client in enumerate(clients):
        (alone,) = train_stacked(model, [client], recipe())
        np.testing.assert_allclose(alone, whole[place], atol=1e-6)


def test_equal_arguments_train_equally_whatever_torchs_threads() -> None:
    threads = torch.get_num_threads()
    model, _ = model_of("mlp")
    clients = members([30, 20, 10, 30])
    changes = []
    try:
        for count in (1, 2, 2):
            torch.set_num_threads(count)
            changes.append(train_stacked(model, clients, recipe()))
            assert torch.get_num_threads() == count
    finally:
        torch.set_num_threads(threads)
    assert np.array_equal(changes[0], changes[1])
    assert np.array_equal(changes[1], changes[2])


def test_other_keys_train_otherwise() -> None:
    model, _ = model_of("mlp")
    (one,) = members([20])
    first, other = (
        train_stacked(model, [one._replace(key=key)], recipe()) for key in (1, 2)
    )
    assert np.abs(first - other).max() > 1e-5


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("make", [Pure, lambda: dropping(0.5)])
def test_the_model_and_the_global_generator_are_left_as_they_were(
    make: Callable[[], nn.Module], training: bool
) -> None:
    torch.manual_seed(0)
    model = make()
    model.train(training)
    before, state = to_vector(model), torch.random.get_rng_state()
    train_stacked(model, members([4, 5]), recipe())
    assert np.array_equal(to_vector(model), before)
    assert model.training is training
    assert torch.equal(torch.random.get_rng_state(), state)
    assert all(p.grad is None for p in model.parameters())


def test_users_records_are_left_as_they_were() -> None:
    model = nn.Sequential(nn.Flatten(), nn.ReLU(), nn.Linear(6, 3))
    (one,) = members([5])
    one.x.sub_(0.5)
    before = one.x.clone()
    train_stacked(model, [one], recipe())
    assert torch.equal(one.x, before)


@pytest.mark.parametrize("make", [lambda: model_of("mlp")[0], Pure])
def test_one_client_that_diverges_is_refused_with_the_cure(
    make: Callable[[], nn.Module],
) -> None:
    clients = members([4, 9, 5])
    clients[1] = clients[1]._replace(x=clients[1].x * 1e6)
    with pytest.raises(ModelError, match="lower it"):
        train_stacked(make(), clients, recipe(Rule(learning_rate=1e30), epochs=5))


@pytest.mark.parametrize("sizes", [[0], [3, 0, 9, 0]])
@pytest.mark.parametrize("kind", MODELS)
def test_a_client_without_records_changes_nothing(kind: str, sizes: list[int]) -> None:
    model, shape = model_of(kind)
    found = train_stacked(model, members(sizes, shape), recipe())
    assert not found[np.array(sizes) == 0].any()
    assert found[np.array(sizes) > 0].any(axis=1).all()


def test_what_a_clients_values_do_not_reach_does_not_stop_its_training() -> None:
    model = Branching()
    clients = [one._replace(x=one.x * 0.01) for one in members([5, 3])]
    found = train_stacked(model, clients, recipe())
    idle = sum(p.numel() for p in model.inner.parameters())
    assert not found[:, :idle].any()
    assert found[:, idle:].any(axis=1).all()


def test_dropout_draws_in_training_whatever_the_models_mode() -> None:
    model = dropping(0.5)
    training = train_stacked(model.train(), members([9]), recipe())
    evaluated = train_stacked(model.eval(), members([9]), recipe())
    assert np.array_equal(training, evaluated)
    still = dropping(0.0)
    still.load_state_dict(model.state_dict())
    assert not np.allclose(training, train_stacked(still, members([9]), recipe()))


def test_no_clients_have_no_changes() -> None:
    model = build(ModelConfig(hidden=(9,)), (6,), 3, 0)
    found = train_stacked(model, [], recipe())
    assert found.shape == (0, len(to_vector(model)))


def test_changes_are_one_block_that_an_encoder_can_read_in_place() -> None:
    model, _ = model_of("mlp")
    found = train_stacked(model, members([4, 4, 4]), recipe())
    assert found.flags.c_contiguous
    for row in found:
        assert np.shares_memory(clip_l2(row, 100.0).vector, found)
        assert not np.shares_memory(clip_l2(row, 1e-9).vector, found)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("kind", MODELS)
def test_a_gpu_computes_the_same(kind: str) -> None:
    model, shape = model_of(kind)
    assert engine_for(model, shape).name == "by hand"
    clients = members([9, 4, 1, 13], shape)
    here = train_stacked(model, clients, recipe())
    there = train_stacked(model, clients, recipe(), device=torch.device("cuda"))
    assert np.abs(here - there).max() < 1e-4


def rates(**keys: Any) -> list[float]:
    training = TrainingConfig(rounds=9, learning_rate=0.8, **keys)
    return [learning_rate_at(training, index) for index in range(9)]


def test_schedules_go_where_they_say() -> None:
    assert rates() == [0.8] * 9
    cosine = rates(schedule="cosine")
    assert cosine[0] == 0.8
    assert cosine[4] == pytest.approx(0.8 * 0.505)
    assert cosine[8] == pytest.approx(0.008)
    assert cosine == sorted(cosine, reverse=True)
    assert rates(schedule="step") == [0.8] * 2 + [0.4] * 2 + [0.2] * 2 + [0.1] * 3
    warm = rates(warmup=3)
    assert warm == pytest.approx([0.2, 0.4, 0.6] + [0.8] * 6)
    assert rates(schedule="cosine", warmup=3)[3] == 0.8
    assert rates(schedule="cosine", warmup=3)[8] == pytest.approx(0.008)
