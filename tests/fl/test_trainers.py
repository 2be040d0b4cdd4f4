"""Shadow models that are not federated: the stack's own, and anybody's trainer."""

from __future__ import annotations

from dataclasses import replace

import joblib
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn.functional import cross_entropy

import fl.trainers
from attacks import balanced_memberships
from fl.local import Recipe, Rule
from fl.local.batches import draw
from fl.models import to_vector
from fl.parallel import WORKERS, WORTH_STARTING
from fl.trainers import EachAlone, StackedTrainer

RECORDS, SHADOWS = 24, 5


def net(seed: int) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3))


def stacked() -> StackedTrainer:
    rng = torch.Generator().manual_seed(0)
    return StackedTrainer(
        build=net,
        x=torch.rand(RECORDS, 4, generator=rng),
        y=torch.randint(3, (RECORDS,), generator=rng),
        recipe=Recipe(epochs=3, batch_size=5, rule=Rule(learning_rate=0.3)),
    )


def test_a_stack_of_shadows_is_a_plain_loop_over_them() -> None:
    trainer, members = stacked(), balanced_memberships(SHADOWS, RECORDS, 0.4, 1)
    found, logits = trainer.train(members, seed=7), trainer.logits(members, seed=7)
    for number, row in enumerate(members):
        model, own = net(trainer.seed(number, 7)), np.flatnonzero(row)
        key = trainer.key(number, 7)
        batches = draw([len(own)], [key], epochs=3, batch_size=5)
        optimiser = torch.optim.SGD(model.parameters(), lr=0.3)
        for rows, count in zip(batches.rows[0], batches.counts[0], strict=True):
            some = own[rows[:count]]
            optimiser.zero_grad()
            cross_entropy(model(trainer.x[some]), trainer.y[some]).backward()
            optimiser.step()
        np.testing.assert_allclose(found[number], to_vector(model), atol=1e-6)
        with torch.no_grad():
            np.testing.assert_allclose(logits[number], model(trainer.x), atol=1e-5)
    assert len({row.tobytes() for row in found}) == SHADOWS


def test_a_shadow_learns_nothing_from_records_it_is_without() -> None:
    trainer, members = stacked(), balanced_memberships(SHADOWS, RECORDS, 0.4, 1)
    found = trainer.train(members, seed=7)
    without = members[0]
    moved = trainer.x.clone()
    moved[torch.from_numpy(~without)] += 1.0
    again = replace(trainer, x=moved).train(members, seed=7)
    np.testing.assert_array_equal(again[0], found[0])
    assert np.abs(again - found).max(axis=1)[1:].min() > 1e-3


def test_shadows_are_the_same_in_one_stack_and_in_several(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    trainer, members = stacked(), balanced_memberships(SHADOWS, RECORDS, 0.4, 1)
    whole = trainer.logits(members, seed=7)
    monkeypatch.setattr(fl.trainers, "TOGETHER", 2)
    np.testing.assert_allclose(trainer.logits(members, seed=7), whole, atol=1e-5)
    assert np.abs(whole - trainer.logits(members, seed=8)).max() > 1e-2


class Own:
    """Somebody's trainer: what it returns says what it was given."""

    def logits(self, members: NDArray[np.bool_], *, seed: int) -> NDArray[np.float32]:
        draws = np.random.default_rng(seed).random((*members.shape, 2))
        return (draws + members[:, :, None]).astype(np.float32)


def test_anybodys_trainer_trains_the_same_models_however_the_work_is_shared(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    members = balanced_memberships(WORTH_STARTING, RECORDS, 0.5, 1)
    monkeypatch.setenv(WORKERS, "1")
    alone = EachAlone(Own()).logits(members, seed=3)
    monkeypatch.delenv(WORKERS)
    # Threads, which start at once; processes are tried in test_parallel.
    with joblib.parallel_config(backend="threading", n_jobs=2):
        beside = EachAlone(Own()).logits(members, seed=3)
    np.testing.assert_array_equal(alone, beside)
    assert alone.shape == (WORTH_STARTING, RECORDS, 2)
    np.testing.assert_array_equal(alone.min(axis=2) >= 1, members)
