"""What an adversary is handed comes from the wire, and is what the wire says."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional

from attacks import Adversary, Observation
from fl.config import Config
from fl.federation import Client, Federation
from fl.local import learning_rate_at
from fl.round import Snapshot
from fl.view import Scene, mean_without, of_one_upload, of_sum
from fl.worst_case import Probe, probe
from tests.fl import tiny

BOTH = ("none", "secagg")


def _scene(federation: Federation, settings: Config) -> Scene:
    return Scene(
        federation=federation,
        config=settings,
        protection=tiny.protection("none", settings),
        training=settings.training,
        records=len(federation.train_ids) / len(federation.clients),
    )


def _colluders(federation: Federation, settings: Config) -> tuple[str, ...]:
    return tuple(c.name for c in federation.colluders(settings.federation.corrupt))


def _probe(
    settings: Config, name: str, *, batch: int
) -> tuple[Scene, Probe, Federation]:
    run, fed = tiny.trained(settings, name)
    used = tiny.protection(name, settings)
    done = probe(fed, used, settings, run.final, batch=batch, trial=0, seed=0)
    scene = Scene(
        federation=fed,
        config=settings,
        protection=done.protection,
        training=done.training,
        records=batch,
    )
    return scene, done, fed


def _flat(observation: Observation) -> torch.Tensor:
    assert observation.gradient is not None
    return torch.cat([part.flatten() for part in observation.gradient.values()])


def _autograd(scene: Scene, before: np.ndarray, clients: list[Client]) -> torch.Tensor:
    """The mean gradient over the clients' records, the slow and obvious way."""
    model = scene.model(before)
    x = torch.cat([client.x for client in clients])
    y = torch.cat([client.y for client in clients])
    loss = functional.cross_entropy(model(x), y)
    parts = torch.autograd.grad(loss, list(model.parameters()))
    return torch.cat([part.flatten() for part in parts])


@pytest.mark.parametrize("name", BOTH)
@pytest.mark.parametrize("dropout", [0.0, 0.1])
def test_the_sum_less_the_colluders_is_the_mean_of_the_others(
    name: str, dropout: float
) -> None:
    settings = tiny.config(f"federation.dropout={dropout}", "federation.drop=2")
    run, fed = tiny.trained(settings, name)
    colluders = _colluders(fed, settings)
    for snapshot in run.snapshots:
        found, weight, names = mean_without(snapshot, colluders)
        honest = sorted(snapshot.aggregate.survivors - set(colluders))
        sizes = [snapshot.weights[one] for one in honest]
        wanted = np.average(
            [snapshot.updates[one] for one in honest], axis=0, weights=sizes
        )
        whole = snapshot.aggregate.weight
        assert names == tuple(honest)
        assert weight == sum(sizes)
        bound = snapshot.aggregate.max_error * whole / weight
        assert np.abs(found - wanted).max() <= bound * (1 + 1e-6)


def test_a_colluder_whose_upload_never_came_is_not_taken_off() -> None:
    settings = tiny.config()
    run, fed = tiny.trained(settings, "none")
    snapshot = run.snapshots[0]
    (colluder,) = _colluders(fed, settings)
    aggregate = (
        tiny.protection("none", settings)
        .aggregator(5)
        .aggregate(
            snapshot.updates,
            snapshot.weights,
            context=bytes(32),
            session=b"without the colluder",
            vanish={colluder: "masked_input"},
        )
    )
    found, weight, names = mean_without(
        replace(snapshot, aggregate=aggregate), [colluder]
    )
    np.testing.assert_array_equal(found, aggregate.mean)
    assert weight == aggregate.weight
    assert colluder not in names


def _without_truth(snapshot: Snapshot, keep: tuple[str, ...] = ()) -> Snapshot:
    """The same wire with every update and weight poisoned but those of ``keep``."""
    return replace(
        snapshot,
        updates={
            name: update if name in keep else np.full_like(update, np.nan)
            for name, update in snapshot.updates.items()
        },
        weights={
            name: weight if name in keep else -1
            for name, weight in snapshot.weights.items()
        },
    )


@pytest.mark.parametrize("name", BOTH)
def test_views_depend_on_the_wire_and_on_what_colluders_know_only(name: str) -> None:
    settings = tiny.config()
    run, fed = tiny.trained(settings, name)
    scene, snapshot = _scene(fed, settings), run.snapshots[1]
    victim, colluders = fed.clients[0].name, _colluders(fed, settings)
    blind = _without_truth(snapshot)
    pairs = [
        (
            of_one_upload(scene, snapshot, victim, view="upload"),
            of_one_upload(scene, blind, victim, view="upload"),
        ),
        (of_sum(scene, snapshot), of_sum(scene, blind)),
        (
            of_sum(scene, snapshot, colluders=colluders),
            of_sum(scene, _without_truth(snapshot, colluders), colluders=colluders),
        ),
    ]
    for seen, again in pairs:
        assert torch.equal(_flat(seen), _flat(again))
        for field in ("batch_size", "steps", "clients_summed", "view", "adversary"):
            assert getattr(seen, field) == getattr(again, field)
        assert seen.labels is None


@pytest.mark.parametrize("batch", [1, 4])
def test_an_upload_in_the_clear_shows_the_true_gradient_of_one_step(batch: int) -> None:
    scene, done, fed = _probe(tiny.config(), "none", batch=batch)
    for client in fed.clients:
        seen = of_one_upload(scene, done.snapshot, client.name, view="upload")
        wanted = _autograd(scene, done.snapshot.before, [done.batches[client.name]])
        torch.testing.assert_close(_flat(seen), wanted, rtol=1e-3, atol=1e-5)
        assert (seen.batch_size, seen.steps) == (batch, 1)


def test_a_masked_sum_shows_the_true_gradient_of_the_joined_batch() -> None:
    settings = tiny.config("training.clip_norm_l2=4.0", "training.value_bits=32")
    scene, done, fed = _probe(settings, "secagg", batch=4)
    whole = of_sum(scene, done.snapshot)
    wanted = _autograd(scene, done.snapshot.before, list(done.batches.values()))
    torch.testing.assert_close(_flat(whole), wanted, rtol=1e-3, atol=1e-5)
    colluders = _colluders(fed, settings)
    partial = of_sum(scene, done.snapshot, colluders=colluders)
    honest = [c for name, c in done.batches.items() if name not in colluders]
    wanted = _autograd(scene, done.snapshot.before, honest)
    torch.testing.assert_close(_flat(partial), wanted, rtol=1e-3, atol=1e-5)
    assert (whole.adversary, whole.clients_summed) == (Adversary.SERVER, 5)
    assert (partial.adversary, partial.clients_summed) == (Adversary.SERVER_PLUS, 4)
    assert whole.records == 5 * 4


def test_a_masked_upload_is_unrelated_to_the_update() -> None:
    scene, done, fed = _probe(tiny.config("model.hidden=[64]"), "secagg", batch=4)
    cosines = []
    for client in fed.clients:
        seen = _flat(of_one_upload(scene, done.snapshot, client.name, view="masked"))
        truth = torch.from_numpy(done.snapshot.updates[client.name])
        cosines.append(float(functional.cosine_similarity(seen, truth, dim=0)))
    # Independent directions have cosines of deviation 1 / sqrt(parameters).
    assert max(map(abs, cosines)) < 5 / len(truth) ** 0.5


@pytest.mark.parametrize("name", BOTH)
def test_a_client_with_fewer_records_than_the_batch_is_seen_with_what_it_has(
    name: str,
) -> None:
    settings = tiny.config()
    scene, done, fed = _probe(settings, name, batch=64)
    victim = fed.clients[0]
    # A weight under the mask is hidden; the server knows the mean weight of the sum.
    weight = done.snapshot.aggregate.weight
    known = victim.records if name == "none" else round(weight / len(fed.clients))
    assert victim.records < 64
    seen = of_one_upload(scene, done.snapshot, victim.name, view="upload")
    assert (seen.batch_size, seen.steps) == (known, 1)


def test_the_sums_of_all_and_of_the_others_have_different_names() -> None:
    settings = tiny.config()
    run, fed = tiny.trained(settings, "secagg")
    scene = _scene(fed, settings)
    colluders = _colluders(fed, settings)
    smaller = replace(
        run.snapshots[0],
        aggregate=replace(
            run.snapshots[0].aggregate,
            survivors=frozenset(list(run.snapshots[0].aggregate.survivors)[:4]),
        ),
    )
    one = of_sum(scene, smaller).view
    other = of_sum(scene, run.snapshots[0], colluders=colluders).view
    assert one != other


@pytest.mark.parametrize("momentum", [0.0, 0.5, 0.9])
@pytest.mark.parametrize("steps", [1, 2, 10])
def test_the_rate_undoes_what_momentum_carried_on(momentum: float, steps: int) -> None:
    settings = tiny.config(
        f"training.momentum={momentum}", 'training.schedule="cosine"'
    )
    scene = _scene(tiny.federation(settings), settings)
    for index in range(settings.training.rounds):
        speed = moved = 0.0
        for _ in range(steps):  # along a gradient of one
            speed = momentum * speed + 1.0
            moved += learning_rate_at(settings.training, index) * speed
        assert scene.rate(index, steps) * steps == pytest.approx(moved)


def test_the_rate_of_noisy_steps_is_that_of_their_own_section() -> None:
    settings = tiny.config(
        "training.momentum=0.5",
        "privacy.example.momentum=0.9",
        "privacy.example.learning_rate=0.25",
    )
    noisy = replace(
        _scene(tiny.federation(settings), settings),
        protection=tiny.protection("dp-sgd", settings),
    )
    # Two steps along a gradient of one: 1, then 1.9.
    assert noisy.rate(0, 2) * 2 == pytest.approx(0.25 * 2.9)
