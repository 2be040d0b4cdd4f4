"""Federations trained in step are trained as each would be alone."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

import fl.ensemble
import fl.round
from fl.ensemble import train_ensemble
from fl.errors import UserError
from fl.federation import Client
from fl.protection import in_the_clear
from fl.run import train
from fl.seeds import seed_for
from fl.updates import Turn
from tests.fl import tiny

SETTINGS = ("federation.participation=0.8", "privacy.epsilon=4.0")


@pytest.mark.parametrize("name", ["none", "secagg", "dp-sgd", "central-dp"])
@pytest.mark.parametrize(
    "sets",
    [
        (),
        ("federation.dropout=0.15",),
        ("training.proximal=0.5", 'training.schedule="cosine"'),
        ("privacy.example.rounds=2",),
    ],
)
def test_a_member_is_trained_as_it_would_be_alone(
    name: str, sets: Sequence[str]
) -> None:
    config = tiny.config(*SETTINGS, *sets)
    protection = in_the_clear(tiny.protection(name, config))
    whole, seeds = tiny.federation(config), [11, 12, 13]
    rows = [np.arange(start, 120, 2) for start in (0, 1, 0)]
    federations = [
        whole.redealt(some, config, seed_for(seed, "partition"))
        for some, seed in zip(rows, seeds, strict=True)
    ]
    found = train_ensemble(federations, protection, config, seeds=seeds)
    for federation, seed, final in zip(federations, seeds, found, strict=True):
        alone = train(federation, protection, config, seed=seed, keep=())
        np.testing.assert_allclose(final, alone.final, atol=2e-6)
    assert np.abs(found[0] - found[2]).max() > 1e-3


def test_all_clients_of_a_round_are_one_stack(monkeypatch: pytest.MonkeyPatch) -> None:
    stacks = []
    real = fl.ensemble.clipped_changes

    def counting(*given: object) -> list[np.ndarray]:
        stacks.append(given[2])
        return real(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(fl.ensemble, "clipped_changes", counting)
    config = tiny.config()
    protection = in_the_clear(tiny.protection("none", config))
    federation = tiny.federation(config)
    train_ensemble([federation] * 3, protection, config, seeds=[1, 2, 3])
    assert len(stacks) == config.training.rounds
    for turns in stacks:
        assert all(isinstance(one, Turn) for one in turns)  # type: ignore[attr-defined]
        assert [one.start for one in turns] == [0] * 5 + [1] * 5 + [2] * 5  # type: ignore[attr-defined]


def test_a_federation_that_finishes_no_round_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = tiny.config()

    def all_vanish(
        cohort: Sequence[Client], *_: object, **__: object
    ) -> dict[str, str]:
        return {client.name: "masked_input" for client in cohort}

    monkeypatch.setattr(fl.round, "draw_vanishing", all_vanish)
    protection = in_the_clear(tiny.protection("none", config))
    with pytest.raises(UserError, match="no round of 2 of 2"):
        train_ensemble([tiny.federation(config)] * 2, protection, config, seeds=[1, 2])
