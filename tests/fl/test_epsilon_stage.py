"""The second lower bound: where it is given, and what it says that it assumes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from attacks import GAUSSIAN, EpsilonBound
from fl import guarantees
from fl.canaries import Guessed
from fl.evidence import Evidence
from fl.report import PrivacyRow
from fl.report.bounds import _label
from fl.stages.epsilon import _bound, is_gaussian
from tests.fl import tiny

HALF = ("federation.clients=12", "federation.participation=0.5")


@pytest.mark.parametrize(
    ("name", "sets", "wanted"),
    [
        ("central-dp", (), True),
        ("central-dp", ('privacy.client.clip="adaptive"',), True),
        ("dp-ftrl", ("federation.clients=8",), True),
        ("local-dp", (), True),
        ("local-dp", HALF, True),  # nobody's coin is secret there
        ("distributed-dp", (), True),
        ("distributed-dp", ("privacy.distributed.noise=skellam",), False),
        ("dp-sgd", (), True),
    ],
)
def test_it_is_given_just_where_the_claim_is_that_of_a_gaussian(
    name: str, sets: tuple[str, ...], wanted: bool
) -> None:
    if "skellam" in str(sets):  # whose table has room for few bits only
        sets = (*sets, "privacy.distributed.value_bits=8")
    settings = tiny.config("training.rounds=1", *sets)
    assert is_gaussian(tiny.protection(name, settings)) == wanted


def test_it_is_not_given_where_coins_say_who_or_what_takes_part() -> None:
    settings = tiny.config("training.rounds=1")
    for name in ("central-dp", "dp-sgd"):
        whole = tiny.protection(name, settings)
        if whole.central is not None:
            half = replace(whole, central=replace(whole.central, sampling_rate=0.5))
        else:
            assert whole.example is not None
            own = whole.example.settings.model_copy(update={"sampling_rate": 0.5})
            half = replace(whole, example=replace(whole.example, settings=own))
        assert is_gaussian(whole) and not is_gaussian(half)


def test_it_is_higher_and_says_what_it_assumes() -> None:
    rng = np.random.default_rng(0)
    included = rng.random(600) < 0.5
    found = [Guessed(scores=rng.normal(size=600) + 1.5 * included, included=included)]
    plain = _bound(found, 1e-5, 0.95)
    shaped = _bound(found, 1e-5, 0.95, family=GAUSSIAN)
    assert shaped.value > 1.2 * plain.value > 0
    assert "Gaussian trade-off assumed" in shaped.method


def _row(shaped: float | None) -> PrivacyRow:
    bound = EpsilonBound(
        value=1.5,
        ceiling=3.0,
        confidence=0.98,
        canaries=40,
        guesses=20,
        right=19,
        method="any",
    )
    higher = (
        {}
        if shaped is None
        else {
            "central-dp": EpsilonBound(
                value=shaped,
                ceiling=9.0,
                confidence=0.98,
                canaries=40,
                guesses=20,
                right=19,
                method="shaped",
            )
        }
    )
    settings = tiny.config("training.rounds=1")
    evidence = Evidence(bounds={"central-dp": bound}, gaussian=higher)
    (row,) = guarantees.bounds(
        [tiny.protection("central-dp", settings)], evidence, settings
    )
    return row


def test_the_page_says_it_beside_the_bound_and_judges_by_that_alone() -> None:
    row = _row(8.5)
    assert (row.epsilon_lower, row.epsilon_lower_gaussian) == (1.5, 8.5)
    assert "1.5, or 8.5 if its noise is Gaussian (measured)" in _label(row)
    claim = row.model_copy(update={"epsilon_upper": 2.0, "accountant": "PLD"})
    assert not claim.violated
    assert "Gaussian" not in _label(_row(None))
    with pytest.raises(ValueError, match="beside epsilon_lower"):
        PrivacyRow(**row.model_dump() | {"epsilon_lower": None})
