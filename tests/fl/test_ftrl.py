"""A run whose noise is correlated over its rounds, and whose cohorts nobody samples."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

import dp
import fl.course
import fl.round
from fl import privacy
from fl.canaries import Guessed, Trial, play
from fl.catch_up import catch_up
from fl.checkpoint import from_piece, to_piece
from fl.course import Terms, advance, begin
from fl.ensemble import train_ensemble
from fl.errors import ConfigError, UserError
from fl.ledgers import LedgerFiles
from fl.models import to_vector
from fl.protection import Protection, UnavailableError, in_the_clear
from fl.run import train
from fl.schedule import cohort_of
from tests.fl import tiny

BOTH = ("dp-ftrl", "secagg+dp-ftrl")
ROUNDS, SEPARATION = 7, 3
SETS = (
    f"training.rounds={ROUNDS}",
    f"privacy.ftrl.separation={SEPARATION}",
    "federation.clients=8",
)


def _mechanism(protection: Protection) -> dp.CorrelatedSum:
    assert isinstance(protection.central, dp.CorrelatedSum)
    return protection.central


def _terms(*sets: str, name: str = "dp-ftrl") -> Terms:
    settings = tiny.config(*SETS, *sets)
    return Terms(
        federation=tiny.federation(settings),
        protection=tiny.protection(name, settings),
        config=settings,
        seed=5,
        keep={0, 4},
    )


@pytest.mark.parametrize("name", BOTH)
def test_a_run_is_one_release_and_uses_its_budget_up(name: str) -> None:
    run, _ = tiny.trained(tiny.config(*SETS), name)
    (account,) = run.accounts
    assert (account.party, account.releases) == (privacy.EVERYBODY, 1)
    assert 0.99 * 8.0 < account.epsilon <= 8.0
    course = {one.epsilon for one in run.rounds}
    assert len(course) == 1 and not any(one.aborted for one in run.rounds)


def test_every_client_comes_each_so_manieth_round_and_no_sooner() -> None:
    terms = _terms()
    rounds = [
        {one.name for one in _cohort(terms, index)} for index in range(2 * SEPARATION)
    ]
    assert rounds[:SEPARATION] == rounds[SEPARATION:]
    everybody = Counter(name for cohort in rounds[:SEPARATION] for name in cohort)
    assert set(everybody.values()) == {1}
    assert len(everybody) == 8
    assert {len(cohort) for cohort in rounds} == {2, 3}


def _cohort(terms: Terms, index: int) -> tuple[fl.course.Client, ...]:
    return cohort_of(
        terms.federation, terms.protection, terms.config, seed=terms.seed, index=index
    )


def test_whoever_comes_too_soon_is_refused_for_the_round(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(
        fl.course, "cohort_of", lambda federation, *_, **__: federation.clients
    )
    terms = _terms()
    course = begin(terms)
    for index in range(ROUNDS):
        advance(course, terms, index)
    refused = [one.refused for one in course.rounds]
    assert refused == [0, 8, 8, 0, 8, 8, 0]
    assert course.failure is not None  # of a round that nobody was left in


def test_a_round_without_attendance_is_refused() -> None:
    terms = _terms()
    books = fl.course.open_books(terms.protection, terms.config)
    with pytest.raises(dp.ParameterError, match="attendance"):
        fl.course.admit(books, (), terms.protection, index=0, length=1, attendance=None)


@pytest.mark.parametrize("kind", ["banded", "tree"])
def test_a_run_goes_on_from_any_round_to_the_same_bits(kind: str) -> None:
    terms = _terms(f'privacy.ftrl.kind="{kind}"', "federation.dropout=0.1")
    course, saved = begin(terms), []
    for index in range(ROUNDS):
        advance(course, terms, index)
        saved.append(from_piece(to_piece(course.checkpoint())))
    for stopped in (0, 3, 5):
        fl.round._stream.cache_clear()  # what is cached must not matter
        again = begin(terms)
        catch_up(again, terms, saved[stopped])
        for index in range(stopped + 1, ROUNDS):
            advance(again, terms, index)
        assert np.array_equal(to_vector(again.model), to_vector(course.model))
        assert fl.course.totals(again.books) == fl.course.totals(course.books)


def test_masked_sums_release_what_sums_in_the_clear_do() -> None:
    settings = tiny.config(*SETS)
    clear, _ = tiny.trained(settings, "dp-ftrl")
    hidden, _ = tiny.trained(settings, "secagg+dp-ftrl")
    np.testing.assert_allclose(hidden.final, clear.final, atol=2e-2)
    for one, other in pairwise((clear, hidden)):
        assert [r.cohort for r in one.rounds] == [r.cohort for r in other.rounds]


def test_a_shadow_is_trained_as_it_would_be_alone() -> None:
    settings = tiny.config(*SETS)
    protection = in_the_clear(tiny.protection("dp-ftrl", settings))
    fed = tiny.federation(settings)
    models = train_ensemble([fed, fed], protection, settings, seeds=[1, 2])
    for seed, found in zip((1, 2), models, strict=True):
        alone = train(fed, protection, settings, seed=seed, keep=())
        np.testing.assert_allclose(found, alone.final, atol=1e-4)


def test_a_run_is_reserved_on_disk_once_and_refused_whole(tmp_path: Path) -> None:
    settings = tiny.config(*SETS)
    protection, fed = tiny.protection("dp-ftrl", settings), tiny.federation(settings)

    def run(name: str) -> None:
        files = LedgerFiles(
            own=tmp_path / f"{name}.db", shared=tmp_path / "all.db", run=name
        )
        train(fed, protection, settings, seed=0, keep=(), ledgers=files)

    run("first")
    (row,) = dp.accounts(tmp_path / "all.db")
    assert (row.releases, row.uncommitted) == (1, 0)
    with pytest.raises(UserError, match="fits the budget"):
        run("second")
    (row,) = dp.accounts(tmp_path / "all.db")
    assert row.releases == 1


CANARIES = (
    "training.rounds=6",
    "privacy.ftrl.separation=2",
    "attacks.canaries=600",
    "model.hidden=[64]",
    "federation.clients=8",
)


def _scores(protection: Protection, settings: fl.course.Config) -> Guessed:
    fed = tiny.federation(settings)
    return play(Trial(protection=protection, federation=fed, config=settings, seed=0))


def _separation(protection: Protection, settings: fl.course.Config) -> float:
    """Return how far apart canaries in and out score, in deviations."""
    found = _scores(protection, settings)
    inside, outside = found.scores[found.included], found.scores[~found.included]
    return float((inside.mean() - outside.mean()) / outside.std())


@pytest.mark.parametrize("kind", ["banded", "tree"])
def test_the_noise_of_a_whole_run_is_what_its_epsilon_claims(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = tiny.config(*CANARIES, f'privacy.ftrl.kind="{kind}"')
    sound = tiny.protection("dp-ftrl", settings)
    mechanism = _mechanism(sound)
    # Of two Gaussians 1/z apart, if the canary's rounds are the worst pattern; for the
    # tree the sensitivity is a bound, and they may be closer.
    claimed = 1 / mechanism.noise_multiplier
    found, slack = _separation(sound, settings), 5 * (4 / 600) ** 0.5 * (1 + claimed)
    assert found <= claimed + slack
    if kind == "banded":
        assert found >= claimed - slack
    # Planted: the run's sensitivity forgotten, or the noise halved. A mechanism that
    # says so itself is refused by the ledger: nothing is released.
    halved = replace(mechanism, noise_multiplier=mechanism.noise_multiplier / 2)
    assert not _scores(replace(sound, central=halved), settings).scores.any()
    monkeypatch.setattr(dp.CorrelatedSum, "event", mechanism.event)
    assert _separation(replace(sound, central=halved), settings) > claimed + slack


@pytest.mark.parametrize(
    "sets", [("privacy.ftrl.bands=9",), ('privacy.ftrl.kind="tree"', "x=40")]
)
def test_a_strategy_that_cannot_be_is_refused(sets: tuple[str, ...]) -> None:
    sets = tuple(one.replace("x=", "privacy.ftrl.restart=") for one in sets)
    with pytest.raises(ConfigError, match=r"\[privacy.ftrl\]"):
        tiny.protection("dp-ftrl", tiny.config(*SETS, *sets))


def test_few_clients_are_refused() -> None:
    settings = tiny.config(*SETS, "privacy.allow_useless=false")
    for name in BOTH:
        with pytest.raises(UnavailableError, match="hides one client among 8"):
            tiny.protection(name, settings)
