"""Seven planted bugs are caught, their sound twins are not, and audits err rarely."""

from __future__ import annotations

from dataclasses import replace
from unittest import mock

import numpy as np
import pytest
from scipy import stats

import secagg
from attacks.one_shot import one_shot_estimate
from benchmarks import planted_bugs as bugs
from benchmarks.planted import gaussian, response
from benchmarks.planted_cases import (
    CASES,
    SIX,
    Case,
    by_epsilon,
    judge,
    settings_of,
    trial_of,
)
from fl.canaries import (
    Trial,
    by_cohort_size,
    by_two_uploads,
    noise_left,
    parameters,
    play,
)
from fl.canaries.colluders import noise_of
from fl.canaries.kinds import name_of
from fl.canaries.release import release_of

# Half a second and more each.
LONG = {"noise divided twice by n", "private normaliser"}
BY_NAME = {case.name: case for case in CASES}


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(
            one, marks=pytest.mark.slow if one.name in LONG else (), id=one.name
        )
        for one in CASES
    ],
)
def test_a_planted_bug_is_caught_and_its_twin_is_not_accused(case: Case) -> None:
    sound, faulty = judge(case, 0)
    assert faulty.accused, faulty.said
    assert not sound.accused, sound.said


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES, ids=BY_NAME)
def test_a_planted_bug_is_caught_with_other_seeds_too(case: Case) -> None:
    told = [judge(case, seed) for seed in (1, 2, 3)]
    assert all(faulty.accused for _, faulty in told)
    assert sum(sound.accused for sound, _ in told) <= 1


def test_the_bugs_are_seven() -> None:
    assert len(BY_NAME) == len(CASES) == 7


def test_under_masks_an_update_that_is_not_clipped_is_refused() -> None:
    trial = trial_of("secagg", settings_of(*SIX, "attacks.canaries=20"), 0)
    with bugs.no_clip(), pytest.raises(secagg.ParameterError, match="clip"):
        by_two_uploads(trial)


def _errs(runs: int) -> None:
    """Check by an exact binomial test at 1 % that at most 5 % of the runs err."""
    for play_one in (gaussian, response):
        wrong = sum(play_one(seed) > 1.0 for seed in range(runs))
        assert stats.binom.sf(wrong - 1, runs, 0.05) >= 0.01


def test_few_sound_runs_of_a_fast_mechanism_are_accused() -> None:
    _errs(60)


@pytest.mark.slow
def test_at_most_five_percent_of_sound_runs_are_accused() -> None:
    _errs(500)
    # The test has teeth: a mechanism that leaks a little more is accused too often.
    wrong = sum(response(seed) > 0.8 for seed in range(500))
    assert stats.binom.sf(wrong - 1, 500, 0.05) < 0.01


@pytest.mark.slow
def test_few_sound_runs_of_the_protocol_are_accused() -> None:
    case = BY_NAME["noise missing"]
    wrong = sum(case.audit(case.trial(seed)).accused for seed in range(40))
    assert stats.binom.sf(wrong - 1, 40, 0.05) >= 0.01


def test_each_part_of_an_audit_says_what_it_cannot_be_asked() -> None:
    clear = trial_of("none", settings_of(*SIX, "attacks.canaries=20"), 0)
    with pytest.raises(ValueError, match="no masked words"):
        by_two_uploads(clear)
    for ask in (by_cohort_size, noise_left):
        with pytest.raises(ValueError, match="noise of"):
            ask(clear)


@pytest.mark.parametrize("name", ["central-dp", "secagg+central-dp", "distributed-dp"])
def test_all_the_noise_that_is_claimed_is_left_of_known_inputs(name: str) -> None:
    sets = ("federation.clients=6", "federation.corrupt=1", "federation.drop=1")
    settings = settings_of(*sets, "model.hidden=[16]", "federation.dropout=0.05")
    left = noise_left(trial_of(name, settings, 0))
    assert left.low < 1 < left.high
    assert 0.001 < left.p_value < 0.999
    assert left.values == 64 * 16 + 16 + 16 * 10 + 10


def test_the_noise_that_colluders_take_off_is_what_they_added() -> None:
    sets = ("federation.clients=6", "federation.corrupt=1", "federation.drop=1")
    settings = settings_of(*sets, "attacks.canaries=20")
    trial = trial_of("distributed-dp", settings, 0)
    shares, names = trial.protection.shares, [name_of(one) for one in range(6)]
    assert shares is not None
    length = parameters(trial)
    out = release_of(
        {}, length, trial.protection, settings, seed=5, index=3, absent=names
    )
    assert out.sent is not None and len(out.sent.survivors) == 6
    known = noise_of(names, shares, length, settings, seed=5, index=3)
    assert known.std() > 1
    # Zeros went in, so nothing is left but float32.
    np.testing.assert_allclose(out.change * shares.denominator, known, atol=1e-3)


def _noisy(kind: str, canaries: int) -> Trial:
    settings = settings_of(
        f"federation.clients={canaries}",
        f"attacks.canaries={canaries}",
        "model.hidden=[16]",
        "privacy.epsilon=8.0",
        "federation.dropout=0.0",
    )
    return trial_of(kind, settings, 0)


def test_isotropic_canaries_are_read_through_the_noise_and_one_another() -> None:
    trial = _noisy("central-dp", 200)
    found, dirac = play(trial, "isotropic"), play(trial)
    np.testing.assert_array_equal(found.included, dirac.included)

    def apart(scores: np.ndarray) -> float:
        inside, outside = scores[found.included], scores[~found.included]
        return float((inside.mean() - outside.mean()) / outside.std())

    central = trial.protection.central
    assert central is not None
    length, others = 64 * 16 + 16 + 16 * 10 + 10, found.included.sum()
    blur = (central.noise_multiplier**2 + others / length) ** 0.5
    slack = 5 * 2 / 200**0.5
    assert apart(found.scores) == pytest.approx(1 / blur, abs=slack)
    assert apart(dirac.scores) == pytest.approx(1 / central.noise_multiplier, abs=slack)
    # An estimate, with no confidence; it must be of the right size only.
    estimate = one_shot_estimate(found.scores, found.included, delta=1e-5)
    assert 2 < estimate.value < 24
    assert estimate.inside + estimate.outside == 200


def test_isotropic_canaries_play_in_shares_and_schedules() -> None:
    for name in ("distributed-dp", "dp-ftrl"):
        settings = settings_of(*SIX, "attacks.canaries=20", "federation.dropout=0.0")
        trial = trial_of(name, settings, 0)
        found = play(replace(trial, seed=3), "isotropic")
        assert np.isfinite(found.scores).all() and found.scores.std() > 0


FIFTY = ("federation.clients=60", "attacks.canaries=60", "federation.dropout=0.0")
FEW = (
    "federation.clients=10",
    "federation.corrupt=1",
    "federation.drop=1",
    "attacks.canaries=40",
)
SILENT = {
    "central-dp": ("dp.central.gaussian", FIFTY),
    "central-dp, adaptive": (
        "dp.central.gaussian",
        (*FIFTY, 'privacy.client.clip="adaptive"', "training.rounds=3"),
    ),
    "dp-ftrl": ("dp.ftrl.gaussian", (*FIFTY, "training.rounds=4")),
    "local-dp": ("dp.local.gaussian", FIFTY),
    "distributed-dp": ("dp.discrete.DiscreteGaussian.draw", FEW),
    "distributed-dp, skellam": (
        "dp.discrete.Skellam.draw",
        (
            *FEW,
            "privacy.distributed.noise=skellam",
            "privacy.distributed.value_bits=8",
        ),
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("case", SILENT)
def test_each_mechanism_is_caught_without_its_noise_and_not_with_it(case: str) -> None:
    target, sets = SILENT[case]
    trial = trial_of(case.split(",")[0], settings_of(*sets), 0)
    audit = by_epsilon(play)
    sound = audit(trial)

    def nothing(*given: object, **named: object) -> np.ndarray:
        length = next(one for one in given if isinstance(one, int))
        whole = np.int64 if "discrete" in target else np.float64
        return np.zeros(length, dtype=whole)

    with mock.patch(target, nothing):
        faulty = audit(trial)
    assert faulty.accused, faulty.said
    assert not sound.accused, sound.said
