"""The worst case is one honest step, through the real protocol, on stated records."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional

import secagg
from fl.config import Config
from fl.federation import Federation
from fl.models import build, load_vector, to_vector
from fl.worst_case import Probe, probe
from secagg.aggregator import Aggregate
from tests.fl import tiny


def _checkpoint(settings: Config, fed: Federation) -> np.ndarray:
    return to_vector(build(settings.model, fed.input_shape, fed.classes, 3))


def _done(settings: Config, name: str, *, batch: int = 4, trial: int = 0) -> Probe:
    fed = tiny.federation(settings, name)
    return probe(
        fed,
        tiny.protection(name, settings),
        settings,
        _checkpoint(settings, fed),
        batch=batch,
        trial=trial,
        seed=0,
    )


@pytest.mark.parametrize("batch", [1, 4])
def test_an_update_is_exactly_one_gradient_step(batch: int) -> None:
    # Epochs and momentum of the run must not leak into the one step.
    settings = tiny.config("training.local_epochs=3", "training.momentum=0.9")
    done = _done(settings, "none", batch=batch)
    fed = tiny.federation(settings)
    for name, client in done.batches.items():
        assert client.records == batch
        model = build(settings.model, fed.input_shape, fed.classes, 0)
        load_vector(model, done.snapshot.before)
        loss = functional.cross_entropy(model(client.x), client.y)
        parts = torch.autograd.grad(loss, list(model.parameters()))
        gradient = torch.cat([part.flatten() for part in parts]).numpy()
        wanted = -settings.training.learning_rate * gradient
        np.testing.assert_allclose(
            done.snapshot.updates[name], wanted, rtol=1e-4, atol=1e-7
        )


def test_batches_are_the_same_under_both_protections() -> None:
    settings = tiny.config()
    plain, masked = (_done(settings, name) for name in ("none", "secagg"))
    for name, client in plain.batches.items():
        np.testing.assert_array_equal(client.ids, masked.batches[name].ids)
        np.testing.assert_array_equal(
            plain.snapshot.updates[name], masked.snapshot.updates[name]
        )


def test_batches_hold_records_of_their_client_and_change_with_the_trial() -> None:
    settings = tiny.config()
    fed = tiny.federation(settings)
    first, second = (_done(settings, "none", trial=trial) for trial in (0, 1))
    for client in fed.clients:
        drawn = first.batches[client.name].ids
        assert len(set(drawn.tolist())) == 4
        assert set(drawn.tolist()) <= set(client.ids.tolist())
    assert any(
        set(client.ids.tolist()) != set(second.batches[name].ids.tolist())
        for name, client in first.batches.items()
    )


def test_a_large_batch_takes_all_that_a_client_has() -> None:
    settings = tiny.config()
    fed = tiny.federation(settings)
    done = _done(settings, "none", batch=64)
    for client in fed.clients:
        np.testing.assert_array_equal(done.batches[client.name].ids, client.ids)
        assert done.snapshot.weights[client.name] == client.records


def test_the_masks_are_bound_to_the_step_that_was_taken() -> None:
    class Notes:
        name = "none"

        def __init__(self) -> None:
            self.contexts: list[bytes] = []

        def aggregate(self, *given: object, **named: object) -> Aggregate:
            context = named["context"]
            assert isinstance(context, bytes)
            self.contexts.append(context)
            return secagg.PlainSum().aggregate(*given, **named)  # type: ignore[arg-type]

    settings, notes = tiny.config(), Notes()
    noting = replace(tiny.protection("none", settings), aggregator=lambda _: notes)
    fed = tiny.federation(settings)
    checkpoint = _checkpoint(settings, fed)
    for batch in (1, 4):
        probe(fed, noting, settings, checkpoint, batch=batch, trial=0, seed=0)
    assert notes.contexts[0] != notes.contexts[1]


def test_nothing_of_the_checkpoint_is_changed() -> None:
    settings = tiny.config()
    fed = tiny.federation(settings)
    checkpoint = _checkpoint(settings, fed)
    kept = checkpoint.copy()
    plain = tiny.protection("none", settings)
    probe(fed, plain, settings, checkpoint, batch=1, trial=0, seed=0)
    np.testing.assert_array_equal(checkpoint, kept)


MIXED = (
    "federation.clients=8",
    "federation.participation=0.75",
    "federation.corrupt=2",
)


def _cohort(settings: Config, *, trial: int, dropouts: int = 0) -> Probe:
    fed = tiny.federation(settings)
    return probe(
        fed,
        tiny.protection("secagg", settings),
        settings,
        _checkpoint(settings, fed),
        batch=1,
        trial=trial,
        seed=0,
        dropouts=dropouts,
    )


def test_the_cohort_is_as_large_as_usual_and_holds_all_colluders() -> None:
    settings = tiny.config(*MIXED)
    colluders = {c.name for c in tiny.federation(settings).colluders(2)}
    honest = set()
    for trial in range(6):
        inside = set(_cohort(settings, trial=trial).batches)
        assert len(inside) == settings.federation.cohort == 6
        assert colluders < inside
        honest |= inside - colluders
    assert len(honest) == 6, "the honest ones take turns"


def test_none_but_honest_clients_vanish_for_a_smaller_crowd() -> None:
    settings = tiny.config(*MIXED)
    colluders = {c.name for c in tiny.federation(settings).colluders(2)}
    for trial in range(4):
        done = _cohort(settings, trial=trial, dropouts=1)
        gone = set(done.batches) - done.snapshot.aggregate.survivors
        assert len(gone) == 1
        assert not gone & colluders


@pytest.mark.parametrize("batch", [1, 4])
def test_one_noised_step_has_the_noise_of_the_run_on_just_this_batch(
    batch: int,
) -> None:
    settings = tiny.config(
        "model.hidden=[400]",
        "privacy.example.steps=3",
        "privacy.example.clip_norm_l2=0.01",
        "privacy.example.learning_rate=0.7",
        "privacy.example.optimizer='adam'",  # of the run, not of the one step
    )
    fed = tiny.federation(settings)
    run = tiny.protection("dp-sgd", settings)
    start = _checkpoint(settings, fed)
    done = probe(fed, run, settings, start, batch=batch, trial=0, seed=0)
    assert run.example is not None and done.protection.example is not None
    used = done.protection.example
    assert used.noise_multiplier == run.example.noise_multiplier
    assert (used.settings.steps, used.settings.sampling_rate) == (1, 1.0)
    wanted = 0.7 / batch * run.example.noise_multiplier * 0.01
    for update in done.snapshot.updates.values():
        # Clipped gradients are so short that nearly all of it is noise.
        assert update.std() == pytest.approx(wanted, rel=0.1)
    assert set(done.snapshot.weights.values()) == {1}
