"""Noise in shares in the ledger: one text, the run's own epsilon, sound mixtures."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from dp_accounting import GaussianDpEvent, LaplaceDpEvent, PoissonSampledDpEvent
from dp_accounting.rdp import RdpAccountant

from dp import Budget, BudgetExceeded, Ledger, ParameterError, accounts
from dp.accounting import composed_epsilon, sampled_gaussian
from dp.discrete import DiscreteGaussian, Skellam
from dp.distributed import DistributedSum
from dp.events import decode, encode
from dp.integers import rounded
from dp.renyi import ORDERS, curve_of, epsilon_of
from dp.sizing import noise_for

DELTA = 1e-5
INTEGERS = rounded(norm=511.5, linf_bound=511, length=1000)
ZERO_OUT = "zero out one"


def _total(
    rate: float = 1.0,
    mechanism: type[DiscreteGaussian] | type[Skellam] = DiscreteGaussian,
    target: float = 3.0,
) -> DistributedSum:
    return noise_for(
        target,
        DELTA,
        rounds=20,
        honest=30,
        integers=INTEGERS,
        sampling_rate=rate,
        mechanism=mechanism,
    )


@pytest.mark.parametrize("mechanism", [DiscreteGaussian, Skellam])
@pytest.mark.parametrize("rate", [1.0, 0.1])
def test_a_ledger_says_what_the_mechanism_says_of_the_whole_run(
    mechanism: type[DiscreteGaussian] | type[Skellam], rate: float, tmp_path: Path
) -> None:
    total = _total(rate, mechanism)
    path, budget = tmp_path / "ledger.db", Budget(epsilon=3.0, delta=DELTA)
    with Ledger(budget, unit="client", relation=ZERO_OUT, path=path) as ledger:
        for index, count in enumerate((1, 12, 7)):
            ledger.reserve("all", total.event, count, run="r", round=index)
        wanted = total.epsilon(DELTA, rounds=20)
        assert wanted <= ledger.epsilon("all") <= 1.001 * wanted
        with pytest.raises(BudgetExceeded):
            ledger.reserve("all", total.event, run="r", round=20)
    (account,) = accounts(path)
    assert account.epsilon == ledger_of(path, budget)
    assert account.epsilon_rdp == total.renyi_epsilon(DELTA, rounds=20)
    assert account.epsilon <= account.epsilon_rdp
    assert account.relation == ZERO_OUT
    assert str(total.noise.variance) in account.events[0]


def ledger_of(path: Path, budget: Budget) -> float:
    with Ledger(budget, unit="client", relation=ZERO_OUT, path=path) as again:
        return again.epsilon("all")


def test_it_is_refused_under_a_relation_that_takes_the_noise_away() -> None:
    event = _total().event
    for relation in ("add or remove one", "replace one"):
        ledger = Ledger(
            Budget(epsilon=3.0, delta=DELTA), unit="client", relation=relation
        )
        with pytest.raises(ParameterError, match="zero out one"):
            ledger.spend("all", event)
    with pytest.raises(ParameterError, match="cannot be bounded"):
        composed_epsilon([(PoissonSampledDpEvent(0.5, event), 1)], DELTA)


@pytest.mark.parametrize("mechanism", [DiscreteGaussian, Skellam])
def test_the_text_gives_the_event_back_and_no_other(
    mechanism: type[DiscreteGaussian] | type[Skellam],
) -> None:
    event = _total(0.1, mechanism).event
    text = encode(event)
    assert decode(text) == event and encode(decode(text)) == text
    other = replace(event, total=replace(event.total, honest=29))
    assert encode(other) != text
    fields = json.loads(text)
    for key, value in [
        ("honest", 0),
        ("variance", 0),
        ("variance", 2**60),
        ("variance", 1.5),
        ("chance", 2.0),
        ("length", -1),
        ("kind", "shares"),
        ("l2_bound", 0.0),
    ]:
        with pytest.raises(ParameterError):
            decode(json.dumps(fields | {key: value}, separators=(",", ":")))


@pytest.mark.parametrize(
    "event",
    [
        GaussianDpEvent(1.3),
        sampled_gaussian(0.9, 0.05),
        LaplaceDpEvent(2.0),
        sampled_gaussian(3.0, 0.5),
    ],
)
def test_curves_of_other_noise_are_those_of_dp_accounting(event: object) -> None:
    curve = curve_of(event)
    assert curve is not None
    whole = RdpAccountant(ORDERS)
    whole.compose(event, 7)
    # The other accountant rounds and has the same conversion.
    assert epsilon_of(7 * curve, DELTA, distance=0.0) == pytest.approx(
        whole.get_epsilon(DELTA), rel=1e-6
    )


def test_a_mixture_is_within_the_truth_for_twice_as_much_and_basic_composition() -> (
    None
):
    shares, other = _total().event, sampled_gaussian(8.0, 1.0)
    both = [(shares, 20), (other, 20)]
    found = composed_epsilon(both, DELTA)
    alone = composed_epsilon([(shares, 20)], DELTA)
    # On a grid this fine the noise is Gaussian for all that matters, so the PLD of two
    # Gaussians is a lower bound, and basic composition at half delta an upper one.
    near = [(sampled_gaussian(shares.total.noise_multiplier, 1.0), 20), (other, 20)]
    assert composed_epsilon(near, DELTA) <= found
    halves = [composed_epsilon([one], DELTA / 2) for one in both]
    assert alone < found <= sum(halves) * (1 + 1e-12)
    assert composed_epsilon(both, DELTA, accountant="rdp") >= found


def test_a_mixture_with_noise_that_has_no_curve_is_composed_apart() -> None:
    shares = _total().event
    nested = [(shares, 20), (LaplaceDpEvent(0.0), 1)]
    assert composed_epsilon(nested, DELTA) == math.inf
    assert np.isfinite(composed_epsilon([(shares, 20)], DELTA))
