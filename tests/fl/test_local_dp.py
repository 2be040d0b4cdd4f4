"""Noise on every upload: how much there is, who pays, and that its absence is seen."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

import dp
from attacks import one_run_audit
from dp.local import LocalGaussian
from fl import canaries, guarantees, updates
from fl.canaries import Trial
from fl.config import Config
from fl.evidence import Evidence, Repeat
from fl.looks import NOISED_UPLOAD, looks
from fl.protection import UnavailableError
from fl.utility import baselines
from fl.view import Scene
from tests.fl import tiny

NAME = "local-dp"
# Two-sided: a sound mechanism is accused once in a million.
SURE = 1e-6


def _settings(*sets: str) -> Config:
    return tiny.config("privacy.epsilon=4.0", *sets)


def test_each_upload_alone_has_the_noise_of_two_opposite_updates() -> None:
    settings = _settings()
    protection = tiny.protection(NAME, settings)
    noise = protection.local
    assert noise is not None
    clip = settings.privacy.client.clip_norm_l2
    assert noise.std == 2 * clip * noise.noise_multiplier
    rounds = settings.training.rounds
    spent = dp.epsilon(noise.event, rounds, settings.privacy.delta)
    assert spent <= 4.0 < spent * 1.01
    noised, _ = tiny.trained(settings, NAME)
    first = noised.snapshots[0].aggregate.transcript.uploads()
    assert len(first) == 5
    squares = sum(float(one.vector @ one.vector) for one in first.values())
    values = sum(len(one.vector) for one in first.values())
    # The updates themselves are no longer than the clip norm each.
    low, high = stats.chi2(values).ppf([SURE / 2, 1 - SURE / 2])
    assert low <= squares / noise.std**2 <= high + 5 * (clip / noise.std) ** 2


def test_an_update_longer_than_the_clip_norm_is_clipped_before_the_noise() -> None:
    quiet = LocalGaussian(clip_norm_l2=0.5, noise_multiplier=1e-6)
    long = np.full(100, 7.0, np.float32)
    found = quiet.release(long, seed=b"seed")
    assert np.linalg.norm(found) == pytest.approx(0.5, rel=1e-4)
    for bad in (np.array([np.nan]), np.array([np.inf])):
        with pytest.raises(ValueError, match="NaN or infinite"):
            quiet.release(bad, seed=None)
    for change in ({"noise_multiplier": 0.0}, {"clip_norm_l2": 0.0}):
        with pytest.raises(dp.ParameterError):
            LocalGaussian(**{"clip_norm_l2": 1.0, "noise_multiplier": 1.0} | change)


def test_every_client_pays_for_its_own_uploads_until_its_budget_is_spent() -> None:
    settings = _settings("privacy.local.rounds=2")
    run, fed = tiny.trained(settings, NAME)
    again, _ = tiny.trained(settings, NAME)
    np.testing.assert_array_equal(run.final, again.final)
    assert {one.party for one in run.accounts} == {one.name for one in fed.clients}
    assert {(one.releases, one.refused) for one in run.accounts} == {(2, 1)}
    assert all(one.epsilon <= 4.0 for one in run.accounts)
    assert [one.aborted for one in run.rounds] == [False, False, True]


def test_no_coin_makes_it_cheaper_since_the_server_sees_who_uploads() -> None:
    whole, half = (
        _settings(),
        _settings("federation.clients=12", "federation.participation=0.5"),
    )
    one, other = tiny.protection(NAME, whole).local, tiny.protection(NAME, half).local
    assert one is not None and other is not None
    assert one.noise_multiplier == other.noise_multiplier


def test_the_server_reads_single_noised_uploads() -> None:
    settings = _settings()
    run, fed = tiny.trained(settings, NAME)
    protection = tiny.protection(NAME, settings)
    assert protection.hides_one_upload is None
    scene = Scene(
        federation=fed,
        config=settings,
        protection=protection,
        training=settings.training,
        records=10,
    )
    views = {look.observation.view for look in looks(scene, run.snapshots[0], 0)}
    assert NOISED_UPLOAD in views


def test_the_page_states_the_relation_and_how_little_is_left() -> None:
    settings = _settings()
    protection = tiny.protection(NAME, settings)
    assert "learn next to nothing" in protection.proves
    run, fed = tiny.trained(settings, NAME)
    repeat = Repeat(
        seed=0,
        runs={NAME: run},
        federations={NAME: fed},
        baseline=baselines(fed, settings, seed=0),
    )
    evidence = Evidence(repeats=[repeat])
    (row,) = guarantees.bounds([protection], evidence, settings)
    assert (row.unit, row.relation) == ("client", "replace one")
    assert row.epsilon_upper is not None and row.epsilon_upper <= 4.0
    rows = guarantees.ledger([protection], evidence, settings)
    assert {one.relation for one in rows} == {"replace one"} and len(rows) == 5
    (made,) = guarantees.statements([protection], evidence, settings)
    said = " ".join(made.sentences)
    for words in ("'replace one'", "anything else", "without sampling"):
        assert words in said


def test_few_clients_and_a_clip_norm_that_follows_are_refused() -> None:
    with pytest.raises(UnavailableError, match="below 50 clients"):
        tiny.protection(NAME, _settings("privacy.allow_useless=false"))
    with pytest.raises(UnavailableError, match="one clip norm"):
        tiny.protection(NAME, _settings('privacy.client.clip="adaptive"'))


def test_canaries_catch_a_client_that_forgets_its_noise(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings = _settings("attacks.canaries=80", "privacy.epsilon=1.0")
    trial = Trial(
        protection=tiny.protection(NAME, settings),
        federation=tiny.federation(settings),
        config=settings,
        seed=0,
    )

    def bound() -> float:
        found = canaries.play(trial)
        assert 20 < found.included.sum() < 60
        return one_run_audit(found.scores, found.included, delta=1e-5).value

    sound = bound()
    monkeypatch.setattr(
        LocalGaussian,
        "release",
        lambda self, update, seed: updates.dp.clip_l2(update, self.clip_norm_l2).vector,
    )
    assert sound <= 1.0 < bound()
