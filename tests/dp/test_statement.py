"""The statement says what the claim says, number by number, and no more."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from decimal import Decimal

import pytest

from dp import (
    CLIENT_MECHANISM,
    CLIENT_TRUST,
    EXAMPLE_MECHANISM,
    EXAMPLE_TRUST,
    Claim,
    ParameterError,
    statement,
    statement_json,
)
from dp.statement import ELEMENTS, round_up

CLAIM = Claim(
    unit="example",
    mechanism=EXAMPLE_MECHANISM,
    noise_multiplier=1.2345,
    clip_norm_l2=0.75,
    sampling_rate=0.125,
    releases=321,
    epsilon=2.34101,
    delta=3e-06,
    accountant="PLD (dp-accounting 0.6.0)",
    trusted=EXAMPLE_TRUST,
    simulated=True,
)


def text(claim: Claim) -> str:
    return "\n".join(statement(claim))


def numbers(words: str, claim: Claim) -> set[str]:
    # "L2" is the name of a norm, and the accountant's version is its name.
    bare = words.replace(claim.accountant, "").replace("L2", "")
    return set(re.findall(r"\d+(?:\.\d+)?(?:e-?\d+)?", bare))


def test_every_number_is_one_of_the_claim_and_all_are_there() -> None:
    said = numbers(text(CLAIM), CLAIM)
    assert said == {"1.2345", "0.75", "0.125", "321", "2.35", "3e-06"}
    other = replace(
        CLAIM,
        noise_multiplier=7.5,
        clip_norm_l2=16.0,
        sampling_rate=1.0,
        releases=9,
        epsilon=0.5,
        delta=0.001,
    )
    assert numbers(text(other), other) == {"7.5", "16.0", "9", "0.5", "0.001"}


def test_it_names_unit_relation_mechanism_accountant_trust_and_limits() -> None:
    words = text(CLAIM)
    for part in (
        "one example",
        CLAIM.relation,
        CLAIM.mechanism,
        CLAIM.accountant,
        CLAIM.trusted,
        *CLAIM.not_covered,
        "simulation",
    ):
        assert part in words
    assert "simulation" not in text(replace(CLAIM, simulated=False))


def test_client_level_says_that_the_server_is_trusted() -> None:
    claim = replace(
        CLAIM, unit="client", mechanism=CLIENT_MECHANISM, trusted=CLIENT_TRUST
    )
    words = text(claim)
    assert "one client" in words
    assert "server must be trusted" in words
    assert "example" not in words.replace("numbers of clients and of examples", "")


@pytest.mark.parametrize("unit", ["example", "subject", "client"])
def test_the_refused_words_never_appear(unit: str) -> None:
    words = text(replace(CLAIM, unit=unit))
    assert not re.search(r"\b(safe|private|compliant)\b", words, re.IGNORECASE)
    assert all(sentence.endswith(".") for sentence in words.splitlines())


@pytest.mark.parametrize("value", [2.341, 1e-7, 0.1, 99.91, 1234.5, 0.0, 3.0])
def test_rounding_never_says_less(value: float) -> None:
    said = Decimal(round_up(value))
    assert said >= Decimal(value)
    assert said <= Decimal(value) * Decimal("1.011")


@pytest.mark.parametrize(
    "change",
    [
        {"unit": "image"},
        {"relation": "add one"},
        {"epsilon": float("inf")},
        {"epsilon": float("nan")},
        {"delta": 0.0},
        {"noise_multiplier": 0.0},
        {"sampling_rate": 1.5},
        {"releases": 0},
    ],
)
def test_claims_of_nothing_are_refused(change: dict[str, object]) -> None:
    with pytest.raises(ParameterError):
        replace(CLAIM, **change)  # type: ignore[arg-type]


def test_sentences_and_json_say_the_same_elements() -> None:
    found = json.loads(json.dumps(statement_json(CLAIM), allow_nan=False))
    assert set(ELEMENTS) <= set(found)
    assert set(found["sentences"]) == set(ELEMENTS)
    assert tuple(found["sentences"][one] for one in ELEMENTS) == statement(CLAIM)


def test_the_json_has_every_value_of_the_claim_and_none_is_rounded() -> None:
    found = statement_json(CLAIM)
    values = json.dumps({k: v for k, v in found.items() if k != "sentences"})
    flat = json.dumps([getattr(CLAIM, name) for name in ("noise_multiplier", "delta")])
    for part in flat.strip("[]").split(", "):
        assert part in values
    assert found["unit"] == {"name": "example", "relation": "add or remove one"}
    assert found["guarantee"] == {
        "epsilon": 2.34101,
        "epsilon_printed": "2.35",
        "delta": 3e-06,
        "kind": "upper bound",
    }
    assert found["composition"] == {"releases": 321, "accountant": CLAIM.accountant}
    assert found["sampling"] == {"rate": 0.125, "kind": "Poisson"}
    assert found["trust"] == {"trusted": EXAMPLE_TRUST}
    assert found["simulated"] is True
    assert len(found["not_covered"]) == len(CLAIM.not_covered) + 1  # type: ignore[arg-type]


def test_the_sampling_assumption_is_stated_where_it_counts() -> None:
    assert "stay unknown" in text(CLAIM)
    everybody = replace(CLAIM, sampling_rate=1.0)
    assert "stay unknown" not in text(everybody)
    assert "without sampling" in text(everybody)
    assert statement_json(everybody)["sampling"] == {"rate": 1.0, "kind": "none"}


def test_a_statement_has_every_element_of_the_guidelines() -> None:
    said = dict(zip(ELEMENTS, statement(CLAIM), strict=True))
    assert "unit of privacy" in said["unit"] and "neighbours" in said["unit"]
    assert "DP-SGD" in said["mechanism"]
    assert "clip norm" in said["parameters"]
    assert "epsilon at most" in said["guarantee"]
    assert "composes" in said["composition"] and "PLD" in said["composition"]
    assert "Poisson" in said["sampling"]
    assert "trusted" in said["trust"]
    assert said["not_covered"].startswith("Not covered: ")


def test_limits_of_participation_take_the_place_of_sampling() -> None:
    limited = replace(CLAIM, sampling_rate=1.0, limits="At most 3 rounds each.")
    assert "At most 3 rounds each." in text(limited)
    assert "without sampling" not in text(limited)
    assert statement_json(limited)["sampling"] == {
        "rate": 1.0,
        "kind": "limited participation",
    }


def test_printed_noise_is_never_more_than_there_is() -> None:
    said = text(replace(CLAIM, noise_multiplier=1.093296091590674))
    assert "noise multiplier 1.0932:" in said


def test_one_release_is_said_as_one() -> None:
    assert "composes one release over" in text(replace(CLAIM, releases=1))
