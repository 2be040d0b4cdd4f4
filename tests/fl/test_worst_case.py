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

        def aggregate(self, *given: object, **named: object) -> secagg.Aggregate:
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
