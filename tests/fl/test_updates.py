"""What clients put in: noise of their own, every round, every probe."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from fl.config import Config
from fl.federation import Federation
from fl.models import build, to_vector
from fl.protection import Protection
from fl.updates import Turn, clipped_changes, local_updates
from fl.worst_case import probe
from tests.fl import tiny

# At an epsilon so small an update is nearly all noise.
NOISE_ALONE = (
    "privacy.epsilon=0.01",
    "training.clip_norm_l2=1e6",
)
STEADY = (
    "training.optimizer='adam'",
    "training.weight_decay=0.5",
    "training.proximal=2.0",
    "training.schedule='cosine'",
    "training.warmup=2",
)


def _noised(*sets: str) -> tuple[Config, Federation, Protection]:
    config = tiny.config(*NOISE_ALONE, *sets)
    return config, tiny.federation(config), tiny.protection("dp-sgd", config)


def _apart(vectors: list[np.ndarray]) -> None:
    """Check that no two share their noise: equal, opposite, or correlated."""
    for one, two in combinations(vectors, 2):
        assert one.any()
        assert abs(np.corrcoef(one, two)[0, 1]) < 6 / np.sqrt(len(one))


def test_every_client_seed_and_round_has_noise_of_its_own() -> None:
    config, federation, protection = _noised("model.hidden=[32]")
    model = build(config.model, federation.input_shape, federation.classes, 0)
    start = to_vector(model)
    found = []
    for seed in (1, 2):
        for index in (0, 1):
            updates = local_updates(
                model,
                start,
                federation.clients[:3],
                protection,
                config,
                seed=seed,
                index=index,
            )
            found += list(updates.values())
    assert len(found) == 12
    _apart(found)
    # The same round comes out again.
    turns = [Turn(client, 0, 2) for client in federation.clients[:3]]
    again = clipped_changes(model, start[None], turns, protection, config, 1)
    assert np.array_equal(again, found[-3:])


def test_every_probe_has_noise_of_its_own() -> None:
    config, federation, protection = _noised("model.hidden=[32]")
    model = build(config.model, federation.input_shape, federation.classes, 0)
    first, second = to_vector(model), to_vector(model) + np.float32(0.01)
    found = []
    for checkpoint, batch, trial in (
        (first, 1, 0),
        (second, 1, 0),
        (first, 4, 0),
        (first, 1, 1),
    ):
        seen = probe(
            federation,
            protection,
            config,
            checkpoint,
            batch=batch,
            trial=trial,
            seed=3,
        )
        found += list(seen.snapshot.updates.values())
    _apart(found)


@pytest.mark.parametrize("trial", [0, 2])
def test_the_worst_case_is_a_plain_step_however_clients_train(trial: int) -> None:
    plain, fancy = tiny.config(), tiny.config(*STEADY)
    federation, protection = tiny.federation(plain), tiny.protection("none", plain)
    model = build(plain.model, federation.input_shape, federation.classes, 0)
    steps = [
        probe(
            federation,
            protection,
            config,
            to_vector(model),
            batch=4,
            trial=trial,
            seed=1,
        ).snapshot.updates
        for config in (plain, fancy)
    ]
    for name, update in steps[0].items():
        assert np.abs(update).max() > 1e-4
        assert np.array_equal(update, steps[1][name])
