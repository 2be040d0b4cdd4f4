"""Epsilon on the page: the largest account, the canaries' bound, the statement."""

from __future__ import annotations

from dataclasses import replace

import pytest

from attacks import EpsilonBound
from fl import guarantees
from fl.config import Config
from fl.evidence import Evidence, Repeat
from fl.run import Account, RunRecord
from fl.utility import Baseline, baselines
from tests.fl import tiny

NOISED = ("dp-sgd", "central-dp", "secagg+central-dp")
EVERY = ("none", "secagg", *NOISED)


def _account(
    party: str, epsilon: float, *, releases: int = 3, refused: int = 0
) -> Account:
    return Account(
        party=party,
        unit="example",
        releases=releases,
        refused=refused,
        epsilon=epsilon,
    )


@pytest.fixture(scope="module")
def settings() -> Config:
    return tiny.config("privacy.example.rounds=2", "privacy.epsilon=4.0")


@pytest.fixture(scope="module")
def evidence(settings: Config) -> Evidence:
    repeats = []
    for seed in (0, 1):
        done = {name: tiny.trained(settings, name, seed=seed) for name in EVERY}
        repeats.append(
            Repeat(
                seed=seed,
                runs={name: run for name, (run, _) in done.items()},
                federations={name: fed for name, (_, fed) in done.items()},
                baseline=_baseline(settings),
            )
        )
    return Evidence(repeats=repeats)


def _baseline(settings: Config) -> Baseline:
    return baselines(tiny.federation(settings), settings, seed=0)


def _with(
    evidence: Evidence, name: str, accounts: tuple[tuple[Account, ...], ...]
) -> Evidence:
    """The same evidence with other accounts in each repetition's run."""

    def run(repeat: Repeat, own: tuple[Account, ...]) -> dict[str, RunRecord]:
        return repeat.runs | {name: replace(repeat.runs[name], accounts=own)}

    return replace(
        evidence,
        repeats=[
            replace(repeat, runs=run(repeat, own))
            for repeat, own in zip(evidence.repeats, accounts, strict=True)
        ],
    )


def _protections(settings: Config) -> list[object]:
    return [tiny.protection(name, settings) for name in EVERY]


def test_the_proven_epsilon_is_that_of_whoever_spent_most(
    evidence: Evidence, settings: Config
) -> None:
    accounts = (
        (_account("a", 1.0), _account("b", 2.5)),
        (_account("a", 3.25), _account("b", 0.5)),
    )
    planted = _with(evidence, "dp-sgd", accounts)
    protection = tiny.protection("dp-sgd", settings)
    (row,) = guarantees.bounds([protection], planted, settings)
    assert row.epsilon_upper == 3.25
    assert row.delta == settings.privacy.delta
    rows = guarantees.ledger([protection], planted, settings)
    assert [(one.party, one.epsilon_spent) for one in rows] == [("a", 3.25), ("b", 2.5)]
    (said,) = guarantees.statements([protection], planted, settings)
    assert "3.25" in " ".join(said.sentences)


def test_without_noise_epsilon_is_unbounded_and_nothing_is_stated(
    evidence: Evidence, settings: Config
) -> None:
    plain = [tiny.protection(name, settings) for name in ("none", "secagg")]
    for row in guarantees.bounds(plain, evidence, settings):
        assert row.epsilon_upper is row.delta is row.accountant is None
        assert row.n_canaries == 0
    assert guarantees.ledger(plain, evidence, settings) == ()
    assert guarantees.statements(plain, evidence, settings) == ()


@pytest.mark.parametrize("name", NOISED)
def test_nothing_on_the_page_exceeds_the_budget(
    name: str, evidence: Evidence, settings: Config
) -> None:
    protection = tiny.protection(name, settings)
    (row,) = guarantees.bounds([protection], evidence, settings)
    assert row.epsilon_upper is not None and 0 < row.epsilon_upper <= 4.0
    assert row.unit == protection.unit
    rows = guarantees.ledger([protection], evidence, settings)
    assert max(one.epsilon_spent for one in rows) == row.epsilon_upper
    assert {one.epsilon_budget for one in rows} == {4.0}
    if name == "dp-sgd":
        assert len(rows) == 5
        assert {(one.releases, one.refused) for one in rows} == {(2, 1)}
    else:
        assert [(one.releases, one.refused) for one in rows] == [(3, 0)]


@pytest.mark.parametrize("name", NOISED)
def test_the_statement_has_the_numbers_of_the_mechanism_that_ran(
    name: str, evidence: Evidence, settings: Config
) -> None:
    protection = tiny.protection(name, settings)
    (made,) = guarantees.statements([protection], evidence, settings)
    said = " ".join(made.sentences)
    noise = protection.example or protection.central
    assert noise is not None
    assert str(noise.noise_multiplier) in said
    assert "delta 1e-05" in said
    unit = {"dp-sgd": "example"}.get(name, "client")
    assert unit in said
    trusted = "server must be trusted" in said
    assert trusted == (name != "dp-sgd")


def test_the_measured_bound_stands_beside_the_proven_one(
    evidence: Evidence, settings: Config
) -> None:
    bound = EpsilonBound(
        value=1.5,
        ceiling=3.0,
        confidence=0.98,
        canaries=40,
        guesses=20,
        right=19,
        method="planted",
    )
    seen = replace(evidence, bounds={"central-dp": bound})
    rows = {
        row.protection: row
        for row in guarantees.bounds(
            [tiny.protection(name, settings) for name in NOISED], seen, settings
        )
    }
    row = rows["central-dp"]
    assert (row.epsilon_lower, row.ceiling, row.confidence) == (1.5, 3.0, 0.98)
    assert row.n_canaries == 40
    assert rows["dp-sgd"].epsilon_lower is None


def test_a_run_that_released_nothing_says_so(
    evidence: Evidence, settings: Config
) -> None:
    nothing = _with(evidence, "central-dp", ((), ()))
    protection = tiny.protection("central-dp", settings)
    (row,) = guarantees.bounds([protection], nothing, settings)
    assert row.epsilon_upper is None
    (said,) = guarantees.statements([protection], nothing, settings)
    assert said.sentences == ("Nothing was released under this mechanism.",)
