"""A clip norm that follows the updates, in whole runs and in the clear or masked."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

import dp
import fl.round
from fl.canaries import Trial, play
from fl.catch_up import catch_up
from fl.checkpoint import from_piece, to_piece
from fl.clipping import at_clip, sent_norm, with_bits
from fl.config import Config
from fl.course import Course, Terms, advance, begin
from fl.ensemble import train_ensemble
from fl.errors import ConfigError
from fl.models import to_vector
from fl.protection import Protection, UnavailableError, in_the_clear
from fl.round import context_of
from fl.run import train
from tests.fl import tiny

BOTH = ("central-dp", "secagg+central-dp")
ADAPTIVE = 'privacy.client.clip="adaptive"'
SETS = (ADAPTIVE, "training.rounds=3", "federation.clients=8")


def _terms(*sets: str, name: str = "central-dp", seed: int = 3) -> Terms:
    settings = tiny.config(*SETS, *sets)
    return Terms(
        federation=tiny.federation(settings),
        protection=tiny.protection(name, settings),
        config=settings,
        seed=seed,
        keep={0, 1},
    )


def _mechanism(protection: Protection) -> dp.AdaptiveSum:
    assert isinstance(protection.central, dp.AdaptiveSum)
    return protection.central


def _played(terms: Terms) -> tuple[Course, list[float]]:
    course = begin(terms)
    clips = [course.clip_norm_l2]
    for index in range(terms.config.training.rounds):
        advance(course, terms, index)
        clips.append(course.clip_norm_l2)
    return course, clips


@pytest.mark.parametrize("name", BOTH)
def test_a_run_spends_what_it_spends_with_a_fixed_clip_norm(name: str) -> None:
    adaptive = _mechanism(_terms(name=name).protection)
    fixed = tiny.protection(name, tiny.config(*SETS[1:]))
    assert fixed.central is not None
    assert adaptive.event == fixed.central.event


def test_the_clip_norm_comes_down_to_updates_that_are_shorter() -> None:
    # Every update is a fraction of 100, and all say so.
    course, clips = _played(_terms("privacy.client.clip_norm_l2=100.0"))
    assert len(set(clips)) == len(clips)
    assert all(abs(math.log(b / a)) <= 0.1 + 1e-9 for a, b in pairwise(clips))
    assert clips[-1] < clips[0]
    assert [one.clip_norm_l2 for one in course.rounds] == clips[:-1]


def test_masked_sums_move_the_clip_norm_as_sums_in_the_clear_do() -> None:
    course, clips = _played(_terms())
    masked, hidden = _played(_terms(name="secagg+central-dp"))
    np.testing.assert_allclose(hidden, clips, rtol=1e-3)
    np.testing.assert_allclose(
        to_vector(masked.model), to_vector(course.model), atol=2e-2
    )


@pytest.mark.parametrize("name", BOTH)
def test_a_run_goes_on_from_any_round_to_the_same_bits(name: str) -> None:
    terms = _terms("federation.dropout=0.1", name=name)
    course, saved = begin(terms), []
    for index in range(3):
        advance(course, terms, index)
        saved.append(from_piece(to_piece(course.checkpoint())))
    for stopped in (0, 1):
        again = begin(terms)
        catch_up(again, terms, saved[stopped])
        for index in range(stopped + 1, 3):
            advance(again, terms, index)
        assert again.clip_norm_l2 == course.clip_norm_l2
        assert np.array_equal(to_vector(again.model), to_vector(course.model))


def test_a_checkpoint_that_forgets_the_clip_norm_ends_elsewhere() -> None:
    terms = _terms()
    course, _ = _played(terms)
    again = begin(terms)
    advance(again, terms, 0)
    again.clip_norm_l2 = terms.protection.clip_norm_l2  # planted
    for index in range(1, 3):
        advance(again, terms, index)
    assert not np.array_equal(to_vector(again.model), to_vector(course.model))


def test_a_round_s_encoder_and_context_follow_its_clip_norm() -> None:
    terms = _terms(name="secagg+central-dp")
    then = at_clip(terms.protection, terms.config, 0.25)
    wider, narrower = (one.aggregator(8) for one in (terms.protection, then))
    assert wider.plan.encoder.clip_norm_l2 == 4 * narrower.plan.encoder.clip_norm_l2  # type: ignore[attr-defined]
    assert then.sum_error < terms.protection.sum_error
    central = _mechanism(then)
    assert narrower.plan.encoder.clip_norm_l2 == sent_norm(central) > 0.25  # type: ignore[attr-defined]
    before = np.zeros(3, dtype=np.float32)
    contexts = {context_of(before, terms.config, clip) for clip in (None, 0.25, 0.5)}
    assert len(contexts) == 3


def test_a_shadow_is_trained_as_it_would_be_alone() -> None:
    terms = _terms()
    protection = in_the_clear(terms.protection)
    fed, config = terms.federation, terms.config
    models = train_ensemble([fed, fed], protection, config, seeds=[1, 2])
    for seed, found in zip((1, 2), models, strict=True):
        alone = train(fed, protection, config, seed=seed, keep=())
        np.testing.assert_allclose(found, alone.final, atol=1e-4)


def _shares(protection: Protection, config: Config) -> float:
    """Return the deviation of the count that is released, over many seeds."""
    central, length = _mechanism(protection), 3
    found = []
    for seed in range(400):
        out = fl.round.released(protection, None, length, seed=seed, name=("round", 0))
        moved = math.log(out.clip_norm_l2 / central.clip_norm_l2)
        found.append(0.5 - moved / central.learning_rate)
    return float(np.std(found)) * central.denominator


def test_the_count_is_noised_and_one_that_is_not_would_be_noticed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # So many clients that the count's noise stays within the share's range.
    settings = tiny.config(*SETS, "privacy.client.count_noise=20.0")
    sound = tiny.protection("central-dp", settings)
    many = replace(sound, central=replace(_mechanism(sound), clients=200))
    slack = 5 / 800**0.5
    assert _shares(many, settings) == pytest.approx(20.0, rel=slack)
    real = dp.AdaptiveSum.release

    def forgetful(self, total, **keys):  # type: ignore[no-untyped-def]
        change, _ = real(self, total, **keys)
        return change, 0.5 if total is None else float(total[-1])

    monkeypatch.setattr(dp.AdaptiveSum, "release", forgetful)
    assert _shares(many, settings) != pytest.approx(20.0, rel=slack)


def test_what_is_released_keeps_its_epsilon_before_canaries() -> None:
    settings = tiny.config(ADAPTIVE, "attacks.canaries=400", "model.hidden=[64]")
    protection = tiny.protection("central-dp", settings)
    trial = Trial(
        protection=protection,
        federation=tiny.federation(settings),
        config=settings,
        seed=0,
    )
    found = play(trial)
    inside, outside = found.scores[found.included], found.scores[~found.included]
    apart = (inside.mean() - outside.mean()) / outside.std()
    # Three rounds of noise z_Delta C against canaries of norm C.
    wanted = math.sqrt(3) / _mechanism(protection).update_multiplier
    assert apart == pytest.approx(wanted, abs=5 * 2 / math.sqrt(400))


def test_bits_go_behind_updates_only_where_they_are_counted() -> None:
    updates = {"a": np.array([0.5, 0.0], dtype=np.float32)}
    adaptive = _mechanism(_terms().protection)
    assert len(with_bits(adaptive, updates)["a"]) == 3
    assert with_bits(adaptive.joint, updates) is updates


def test_what_cannot_be_is_refused() -> None:
    for name in ("dp-ftrl", "secagg+dp-ftrl", "distributed-dp"):
        with pytest.raises(UnavailableError, match="one clip norm"):
            tiny.protection(name, tiny.config(*SETS))
    with pytest.raises(ConfigError, match=r"\[privacy.client\].*count_noise"):
        tiny.protection(
            "central-dp", tiny.config(*SETS, "privacy.client.count_noise=0.1")
        )
