"""Training repeats by its seed, survives what is planned, and names the cure else."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

import dp
from fl.config import Config
from fl.errors import UserError
from fl.models import build, load_vector
from fl.round import STEPS, context_of, draw_vanishing, local_updates
from fl.run import train
from fl.stages.setting import KEPT_ROUNDS
from fl.stages.training import kept_rounds
from tests.fl import tiny

BOTH = ("none", "secagg")
# Dropouts that a plan of five clients can survive.
LOSSY = ("federation.dropout=0.15", "federation.drop=2", "training.rounds=6")


@pytest.mark.parametrize("name", BOTH)
def test_one_seed_gives_one_model_and_another_seed_another(name: str) -> None:
    settings = tiny.config()
    first, again = (tiny.trained(settings, name, seed=1)[0] for _ in range(2))
    np.testing.assert_array_equal(first.final, again.final)
    np.testing.assert_array_equal(first.correct, again.correct)
    other = tiny.trained(settings, name, seed=2)[0]
    assert not np.array_equal(first.final, other.final)


def test_both_protections_train_the_same_model_up_to_rounding() -> None:
    settings = tiny.config()
    plain, masked = (tiny.trained(settings, name)[0] for name in BOTH)
    np.testing.assert_array_equal(plain.snapshots[0].before, masked.snapshots[0].before)
    np.testing.assert_allclose(plain.final, masked.final, atol=1e-3)
    moved = np.abs(plain.final - plain.snapshots[0].before).max()
    assert moved > 0.05


def test_a_round_is_the_weighted_mean_of_clipped_updates() -> None:
    settings = tiny.config("training.clip_norm_l2=0.05", "training.rounds=1")
    run, fed = tiny.trained(settings, "none")
    snapshot = run.snapshots[0]
    for update in snapshot.updates.values():
        # The bound is below what any client moves, so all were clipped to it.
        norm = float(np.linalg.norm(update.astype(np.float64)))
        assert 0.0499 < norm <= 0.05
    wanted = snapshot.before + np.average(
        [snapshot.updates[client.name] for client in fed.clients],
        axis=0,
        weights=[client.records for client in fed.clients],
    )
    np.testing.assert_allclose(run.final, wanted, atol=1e-6)


def test_an_update_does_not_depend_on_who_else_trains() -> None:
    settings = tiny.config()
    fed = tiny.federation(settings)
    model = build(settings.model, fed.input_shape, fed.classes, 0)
    before = tiny.trained(settings, "none")[0].snapshots[1].before
    wanted = tiny.trained(settings, "none")[0].snapshots[1].updates
    plain = tiny.protection("none", settings)
    for client in reversed(fed.clients):
        found = local_updates(model, before, [client], plain, settings, seed=0, index=1)
        update = found[client.name]
        # A batch as wide as another client's sums in another order.
        np.testing.assert_allclose(update, wanted[client.name], rtol=0, atol=1e-6)
        bound = dp.clip_l2(update, settings.training.clip_norm_l2)
        assert not bound.was_clipped


@pytest.mark.parametrize("name", BOTH)
def test_dropouts_within_the_plan_still_train(name: str) -> None:
    settings = tiny.config(*LOSSY)
    run, _ = tiny.trained(settings, name)
    survivors = [record.survivors for record in run.rounds]
    assert len(survivors) == 6
    assert min(survivors) < 5
    assert run.rounds[-1].loss < run.rounds[0].loss


def test_the_same_clients_vanish_under_both_protections() -> None:
    settings = tiny.config(*LOSSY)
    plain, masked = (tiny.trained(settings, name)[0] for name in BOTH)
    for one, other in zip(plain.snapshots, masked.snapshots, strict=True):
        assert one.aggregate.survivors == other.aggregate.survivors
    fed = tiny.federation(settings)
    steps = {
        step
        for index in range(200)
        for step in draw_vanishing(fed.clients, settings, seed=0, index=index).values()
    }
    assert steps == set(STEPS)


def test_the_rate_of_dropouts_is_the_configured_one() -> None:
    settings = tiny.config(*LOSSY)
    fed = tiny.federation(settings)
    lost = [
        len(draw_vanishing(fed.clients, settings, seed=1, index=index))
        for index in range(400)
    ]
    # 2000 chances of 0.15, whose deviation is 0.008.
    assert abs(np.mean(lost) / 5 - 0.15) < 0.04


def test_more_dropouts_than_planned_name_the_cure() -> None:
    settings = tiny.config("federation.dropout=0.2", "training.rounds=1")
    unlucky = next(
        seed
        for seed in range(100)
        if len(
            draw_vanishing(
                tiny.federation(settings).clients, settings, seed=seed, index=0
            )
        )
        > settings.federation.drop
    )
    with pytest.raises(UserError) as caught:
        tiny.trained(settings, "secagg", seed=unlucky)
    said = str(caught.value)
    assert "no round under secagg" in said
    assert "federation.drop above 1" in said
    assert "federation.dropout" in said


def test_an_aborted_round_changes_no_model_and_training_goes_on() -> None:
    settings = tiny.config("federation.dropout=0.2", "training.rounds=8")
    fed = tiny.federation(settings)
    lost = {
        seed: [
            index
            for index in range(8)
            if len(draw_vanishing(fed.clients, settings, seed=seed, index=index)) > 1
        ]
        for seed in range(20)
    }
    seed = next(seed for seed, rounds in lost.items() if 0 < len(rounds) < 8)
    run, _ = tiny.trained(settings, "secagg", seed=seed)
    assert [r.index for r in run.rounds if r.aborted] == lost[seed]
    assert {s.index for s in run.snapshots}.isdisjoint(lost[seed])
    for before, after in pairwise(run.rounds):
        if after.aborted:
            assert after.accuracy == before.accuracy
            assert after.loss == before.loss
            assert after.bytes_up == 0


def test_a_kept_round_that_was_aborted_is_made_up_for_by_the_next() -> None:
    settings = tiny.config("federation.dropout=0.2", "training.rounds=8")
    fed = tiny.federation(settings)

    def aborts(seed: int, index: int) -> bool:
        return len(draw_vanishing(fed.clients, settings, seed=seed, index=index)) > 1

    seed = next(s for s in range(100) if aborts(s, 0) and not aborts(s, 1))
    run = train(fed, tiny.protection("secagg", settings), settings, seed=seed, keep={0})
    assert [snapshot.index for snapshot in run.snapshots] == [1]


def _context(settings: Config, before: np.ndarray) -> bytes:
    return context_of(before, settings)


def test_the_context_hashes_the_model_and_how_it_is_trained() -> None:
    before = np.zeros(5, np.float32)
    base = _context(tiny.config(), before)
    assert base == _context(tiny.config("name=other", "repeats=3"), before)
    for change in (
        "training.learning_rate=0.3",
        "training.local_epochs=2",
        "training.clip_norm_l2=1.0",
        "model.hidden=[9]",
    ):
        assert _context(tiny.config(change), before) != base
    other = before.copy()
    other[3] = 1e-7
    assert _context(tiny.config(), other) != base


def test_every_round_is_recorded_and_only_the_asked_ones_are_kept() -> None:
    settings = tiny.config("training.rounds=5")
    fed = tiny.federation(settings)
    run = train(fed, tiny.protection("none", settings), settings, seed=3, keep={0, 4})
    assert [record.index for record in run.rounds] == [0, 1, 2, 3, 4]
    assert (run.protection, run.seed) == ("none", 3)
    assert [snapshot.index for snapshot in run.snapshots] == [0, 4]


def test_the_record_of_who_is_right_is_that_of_the_released_model() -> None:
    settings = tiny.config()
    run, fed = tiny.trained(settings, "none")
    model = build(settings.model, fed.input_shape, fed.classes, 9)
    load_vector(model, run.final)
    np.testing.assert_array_equal(run.correct, fed.held_out.correct(model))
    assert run.correct.mean() == pytest.approx(run.rounds[-1].accuracy)
    wrong = replace(fed.held_out, y=(fed.held_out.y + 1) % fed.classes)
    assert wrong.correct(model).sum() <= (~run.correct).sum()


@pytest.mark.parametrize("rounds", [1, 2, 3, 4, 5, 20, 97])
def test_the_rounds_that_are_kept_span_the_run(rounds: int) -> None:
    kept = sorted(kept_rounds(rounds))
    assert kept[0] == 0
    assert kept[-1] == rounds - 1
    assert len(kept) == min(rounds, KEPT_ROUNDS)
