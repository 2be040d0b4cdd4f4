"""Canaries find noise that is missing, and accuse no mechanism that adds it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import repeat

import numpy as np
import pytest
from numpy.typing import NDArray

from attacks import EpsilonBound, one_run_audit
from dp.sgd import DpSgd
from fl.canaries import Guessed, Trial, play
from fl.canaries.kinds import make, name_of
from fl.canaries.records import grown_by, plant
from fl.config import Config
from fl.data import Dataset, load
from fl.drill import Forgetful
from fl.protection import Protection
from fl.updates import as_sent
from tests.fl import tiny

CENTRAL = ("central-dp", "secagg+central-dp")
LITTLE = (
    "privacy.epsilon=1.0",
    "attacks.canaries=120",
    "training.rounds=2",
    "model.hidden=[32]",
)


def _trial(
    name: str, settings: Config, *, seed: int = 0, protection: Protection | None = None
) -> Trial:
    return Trial(
        protection=protection or tiny.protection(name, settings),
        federation=tiny.federation(settings, raw=tiny.dataset(records=400)),
        config=settings,
        seed=seed,
    )


def _bound(guessed: Guessed) -> EpsilonBound:
    return one_run_audit(guessed.scores, guessed.included, delta=1e-5)


def _forgetful(protection: Protection) -> Protection:
    central = protection.central
    assert central is not None
    noiseless = Forgetful(
        clip_norm_l2=central.clip_norm_l2,
        noise_multiplier=central.noise_multiplier,
        sampling_rate=central.sampling_rate,
        clients=central.clients,
    )
    return replace(protection, central=noiseless)


# Half of them join, and the plan must hold a sum of so many.
MANY = ("federation.clients=130", *LITTLE)
FEW = ("federation.clients=50", *LITTLE, "attacks.canaries=40")


@pytest.mark.parametrize("name", CENTRAL)
def test_a_server_that_forgets_its_noise_is_caught(name: str) -> None:
    settings = tiny.config(*(FEW if name.startswith("secagg") else MANY))
    sound = tiny.protection(name, settings)
    bounds = [
        _bound(play(_trial(name, settings, protection=one)))
        for one in (sound, _forgetful(sound))
    ]
    assert bounds[0].value <= 1.0 < bounds[1].value
    assert bounds[1].value == bounds[1].ceiling
    assert {one.canaries for one in bounds} == {settings.attacks.canaries}


def test_a_client_that_forgets_its_noise_is_caught(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings = tiny.config(
        "model.kind=logreg",
        "federation.clients=100",
        "privacy.epsilon=0.5",
        "attacks.canaries=100",
        "training.rounds=4",
    )
    images = load(settings.data, 0)
    assert isinstance(images, Dataset)
    trial = replace(
        _trial("dp-sgd", settings),
        federation=tiny.federation(settings, raw=images),
    )
    sound = _bound(play(trial))

    def noiseless(
        self: DpSgd, length: int, seeds: Sequence[bytes]
    ) -> Iterator[NDArray[np.float64]]:
        return repeat(np.zeros((len(seeds), length)))

    monkeypatch.setattr(DpSgd, "noises", noiseless)
    faulty = _bound(play(trial))
    assert sound.value <= 0.5
    assert faulty.value > 0.5
    assert faulty.right / faulty.guesses > sound.right / sound.guesses


@pytest.mark.parametrize("name", ["secagg+dp-sgd", "he-bfv+dp-sgd"])
def test_noise_beneath_masks_is_audited_as_if_they_had_failed(name: str) -> None:
    # A score read off masked words would find no fault in the noise, ever.
    settings = tiny.config("training.rounds=2")
    bare, hidden = play(_trial("dp-sgd", settings)), play(_trial(name, settings))
    np.testing.assert_array_equal(hidden.included, bare.included)
    np.testing.assert_array_equal(hidden.scores, bare.scores)


def test_noise_for_one_round_is_caught_over_many_if_the_ledger_forgets(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # A fault of composition: every round gets the noise that only one may have. The
    # ledger lets one round through, and only if it forgets is the fault to be seen.
    settings = tiny.config(*MANY, "training.rounds=60", "privacy.epsilon=0.5")
    alone = tiny.config(*MANY, "training.rounds=1", "privacy.epsilon=0.5")
    once = _trial(
        "central-dp", settings, protection=tiny.protection("central-dp", alone)
    )
    kept = _bound(play(once))
    monkeypatch.setattr("dp.ledger.held_by", lambda database, book, party: ())
    faulty = _bound(play(once))
    sound = _bound(play(_trial("central-dp", settings)))
    assert max(kept.value, sound.value) <= 0.5 < faulty.value


@pytest.mark.parametrize("name", ["none", "secagg", "he-bfv"])
def test_what_claims_no_epsilon_is_not_audited(name: str) -> None:
    with pytest.raises(ValueError, match="claims no epsilon"):
        play(_trial(name, tiny.config()))


@pytest.mark.parametrize("name", ["dp-sgd", *CENTRAL])
def test_one_seed_is_one_play_and_another_seed_another(name: str) -> None:
    settings = tiny.config("federation.clients=30", "training.rounds=2")
    first, again, other = (
        play(_trial(name, settings, seed=seed)) for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(first.scores, again.scores)
    np.testing.assert_array_equal(first.included, again.included)
    assert not np.array_equal(first.included, other.included)
    assert not np.array_equal(first.scores, other.scores)
    assert np.isfinite(first.scores).all()


def test_a_canary_clients_score_is_its_own_coordinate_of_the_releases() -> None:
    # All join and nobody vanishes, so without noise the coin alone shows.
    settings = tiny.config("federation.clients=30", "training.rounds=3")
    sound = tiny.protection("central-dp", settings)
    guessed = play(_trial("central-dp", settings, protection=_forgetful(sound)))
    clip, clients = settings.privacy.client.clip_norm_l2, 30
    wanted = np.where(guessed.included, 3 * clip / clients, 0.0)
    np.testing.assert_allclose(guessed.scores, wanted, rtol=1e-6)


def test_canaries_join_and_vanish_as_often_as_clients_do() -> None:
    settings = tiny.config(
        "federation.clients=130",
        "federation.participation=0.5",
        "federation.dropout=0.005",
        "attacks.canaries=120",
        "training.rounds=60",
        "model.hidden=[32]",
    )
    sound = tiny.protection("central-dp", settings)
    guessed = play(_trial("central-dp", settings, protection=_forgetful(sound)))
    each = settings.privacy.client.clip_norm_l2 / (0.5 * 130)
    rounds = guessed.scores[guessed.included] / each
    assert (guessed.scores[~guessed.included] == 0).all()
    # About 60 canaries x 60 coins: the mean of their counts deviates by 0.5.
    assert rounds.mean() == pytest.approx(30, abs=2.5)
    assert rounds.std() == pytest.approx(60**0.5 / 2, rel=0.35)


def test_a_loud_update_is_clipped_by_the_clip_of_any_other() -> None:
    settings = tiny.config("privacy.client.clip_norm_l2=0.3")
    canaries = make("dirac", 20, 20, 0)
    vector = canaries.updates(np.array([7]), 0.3)[name_of(7)]
    assert np.flatnonzero(vector).tolist() == [7]
    assert np.linalg.norm(vector) > 2
    protection = replace(tiny.protection("secagg", settings), clip_norm_l2=0.3)
    sent = as_sent(vector, protection, seed=0)
    assert np.flatnonzero(sent).tolist() == [7]
    assert 0.2999 < float(np.linalg.norm(sent.astype(float))) <= 0.3


def test_just_the_records_whose_coin_says_so_are_planted() -> None:
    settings = tiny.config("attacks.canaries=50")
    trial = _trial("dp-sgd", settings)
    planted = plant(trial)
    before = {client.name: client for client in trial.federation.clients}
    assert len(planted.owner) == 50
    for number, client in enumerate(grown_by(trial.federation, planted)):
        own = (planted.owner == number) & planted.included
        records = before[client.name].records
        assert client.records == records + own.sum()
        np.testing.assert_array_equal(client.x[records:], planted.x[own])
        np.testing.assert_array_equal(client.y[records:], planted.y[own])
        np.testing.assert_array_equal(client.x[:records], before[client.name].x)
    # Real held-out records under wrong labels, none of them twice.
    held_out = trial.federation.held_out
    known = {
        tuple(x.tolist()): int(y) for x, y in zip(held_out.x, held_out.y, strict=True)
    }
    rows = [tuple(x.tolist()) for x in planted.x]
    assert len(set(rows)) == 50
    for row, label in zip(rows, planted.y.tolist(), strict=True):
        assert known[row] != label
        assert 0 <= label < 3


@pytest.mark.slow
def test_many_canaries_play_where_few_clients_are() -> None:
    # 200 canary clients in a mechanism for four: their sum is longer than any that
    # four clients could send, and the noise must stay what it is.
    settings = tiny.config(
        "federation.clients=4",
        "federation.corrupt=1",
        "federation.drop=1",
        "attacks.canaries=200",
        "model.hidden=[32]",
        "privacy.allow_useless=true",
    )
    fed = tiny.federation(settings)
    for name in ("central-dp", "secagg+central-dp"):
        trial = Trial(
            protection=tiny.protection(name, settings),
            federation=fed,
            config=settings,
            seed=0,
        )
        guessed = play(trial)
        assert len(guessed.scores) == 200
        assert np.isfinite(guessed.scores).all()
