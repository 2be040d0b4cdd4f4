"""The ledger: nothing is recorded that breaks a budget, and nothing less is refused."""

from __future__ import annotations

import math
import threading
import time
from pathlib import Path

import pytest
from dp_accounting import SampledWithoutReplacementDpEvent

from dp import (
    Budget,
    BudgetExceeded,
    Ledger,
    LedgerError,
    ParameterError,
    composed_epsilon,
    epsilon,
    noise_multiplier_for,
    sampled_gaussian,
)

BUDGET = Budget(epsilon=2.0, delta=1e-5)
STEP = sampled_gaussian(3.0, 0.5)


def opened() -> Ledger:
    return Ledger(BUDGET, unit="client")


def test_spending_adds_up_to_the_composition() -> None:
    ledger = opened()
    other = sampled_gaussian(8.0, 1)
    ledger.spend("a", STEP, 2)
    ledger.spend("a", other)
    ledger.spend("a", STEP)
    assert ledger.epsilon("a") == composed_epsilon([(STEP, 3), (other, 1)], 1e-5)
    assert [(e.party, e.count) for e in ledger.entries()] == [
        ("a", 2),
        ("a", 1),
        ("a", 1),
    ]
    assert "multiplier 8.0" in ledger.entries()[1].event


@pytest.mark.parametrize(("target", "rate", "count"), [(3, 0.2, 30), (1, 1, 5)])
def test_calibrated_releases_fit_exactly_and_one_more_does_not(
    target: float, rate: float, count: int
) -> None:
    sigma = noise_multiplier_for(target, 1e-5, rate, count)
    event = sampled_gaussian(sigma, rate)
    ledger = Ledger(Budget(epsilon=target, delta=1e-5), unit="client")
    for _ in range(count):
        ledger.spend("all", event)
    assert target * 0.998 < ledger.epsilon("all") <= target
    assert ledger.would_exceed("all", event)
    with pytest.raises(BudgetExceeded) as refused:
        ledger.spend("all", event)
    assert refused.value.party == "all"
    assert refused.value.budget == target
    assert refused.value.epsilon == epsilon(event, count + 1, 1e-5)


def test_a_refusal_records_nothing_but_itself() -> None:
    ledger = opened()
    ledger.spend("a", STEP)
    before = (ledger.entries(), ledger.epsilon("a"), ledger.parties)
    for _ in range(2):
        with pytest.raises(BudgetExceeded, match=r"'a'.*budget of 2"):
            ledger.spend("a", sampled_gaussian(0.5, 1))
    with pytest.raises(BudgetExceeded):
        ledger.spend("new", sampled_gaussian(0.5, 1))
    assert (ledger.entries(), ledger.epsilon("a"), ledger.parties) == before
    assert ledger.refusals == {"a": 2, "new": 1}
    ledger.spend("a", STEP)  # what fits still fits


def test_parties_do_not_share_a_budget() -> None:
    ledger = opened()
    while not ledger.would_exceed("a", STEP):
        ledger.spend("a", STEP)
    assert not ledger.would_exceed("b", STEP)
    assert ledger.epsilon("b") == 0.0
    ledger.spend("b", STEP)
    assert ledger.parties == ("a", "b")
    assert ledger.refusals == {}


def test_asking_spends_nothing() -> None:
    ledger = opened()
    assert not ledger.would_exceed("a", STEP, 2)
    assert ledger.entries() == ()


def test_unbounded_releases_never_fit() -> None:
    ledger = Ledger(Budget(epsilon=1e300, delta=1e-20), unit="client")
    with pytest.raises(BudgetExceeded):
        ledger.spend("a", sampled_gaussian(0.3, 0.5), 50)


def test_many_parties_cost_no_more_than_one() -> None:
    sigma = noise_multiplier_for(3.0, 1e-5, 0.1, 30)
    event = sampled_gaussian(sigma, 0.1)
    budget = Budget(epsilon=3.0, delta=1e-5)
    alone = Ledger(budget, unit="example")
    for _ in range(30):
        alone.spend("warm", event)
    alone.epsilon("warm")
    ledger = Ledger(budget, unit="example")
    start = time.perf_counter()
    for _ in range(30):
        for party in range(100):
            ledger.spend(f"site-{party}", event)
    assert {ledger.epsilon(p) for p in ledger.parties} == {alone.epsilon("warm")}
    assert time.perf_counter() - start < 2.0


def test_threads_cannot_overspend_together() -> None:
    ledger = opened()
    spent: list[int] = []

    def work() -> None:
        for _ in range(10):
            try:
                ledger.spend("a", STEP)
            except BudgetExceeded:
                return
            spent.append(1)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(ledger.entries()) == len(spent) >= 1
    assert epsilon(STEP, len(spent), 1e-5) <= 2.0 < epsilon(STEP, len(spent) + 1, 1e-5)


@pytest.mark.parametrize(
    ("eps", "delta"),
    [(0, 1e-5), (-1, 1e-5), (math.inf, 1e-5), (math.nan, 1e-5), (1, 0), (1, 1)],
)
def test_bad_budgets_are_refused(eps: float, delta: float) -> None:
    with pytest.raises(ParameterError, match="budget"):
        Budget(epsilon=eps, delta=delta)


def test_bad_ledgers_and_spendings_are_refused() -> None:
    with pytest.raises(ParameterError, match="unit"):
        Ledger(BUDGET, unit="image")
    with pytest.raises(ParameterError, match="relation"):
        Ledger(BUDGET, unit="client", relation="add one")
    ledger = opened()
    with pytest.raises(ParameterError, match="party"):
        ledger.spend("", STEP)
    with pytest.raises(ParameterError, match="count"):
        ledger.spend("a", STEP, 0)
    with pytest.raises(ParameterError, match="bounded"):
        ledger.spend("a", SampledWithoutReplacementDpEvent(9, 3, STEP))
    assert ledger.entries() == ()


def test_a_book_keeps_its_relation_and_refuses_what_does_not_hold_under_it(
    tmp_path: Path,
) -> None:
    path = tmp_path / "ledger.db"
    with Ledger(BUDGET, unit="client", relation="replace one", path=path) as ledger:
        with pytest.raises(ParameterError, match="replace one"):
            ledger.spend("a", sampled_gaussian(2.0, 0.5))
        ledger.spend("a", sampled_gaussian(2.0, 1.0))
    with pytest.raises(LedgerError, match="'replace one'"):
        Ledger(BUDGET, unit="client", path=path)
