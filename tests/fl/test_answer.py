"""The answer's words follow the verdicts, and its numbers come from the rows."""

from __future__ import annotations

import re
from itertools import product

import pytest

from fl.answer import answer
from fl.report import (
    Baselines,
    CostRow,
    Federation,
    LeakageRow,
    PooledBaseline,
    Scenario,
    UtilityRow,
    Verdict,
)
from fl.report.records import refused_word

FEDERATION = Federation(
    clients=17,
    corrupt=3,
    drop=2,
    threshold=15,
    honest_min=12,
    rounds=9,
    partition="iid",
    records=1234,
    test_records=567,
    input_shape=(4,),
    classes=2,
    model="mlp",
    parameters=99,
    data="widgets",
    plan_sentence="17 clients.",
)
BASELINES = Baselines(
    pooled=PooledBaseline(value=0.917, low=0.9, high=0.93, n=567), local_only=None
)
OWN, WORST = Scenario.AS_CONFIGURED, Scenario.WORST_CASE


def _utility(name: str, value: float = 0.871) -> UtilityRow:
    return UtilityRow(
        protection=name, metric="accuracy", value=value, low=0.85, high=0.89, n=567
    )


def _cost(name: str, up: float = 4321.0) -> CostRow:
    return CostRow(
        protection=name, bytes_up=up, bytes_down=1.0, client_cpu_s=0.1, server_cpu_s=0.2
    )


def _row(
    verdict: Verdict,
    *,
    name: str = "none",
    adversary: str = "server",
    scenario: Scenario = OWN,
    metric: str = "SSIM",
    value: float = 0.625,
    view: str = "one upload",
    why: str = "",
) -> LeakageRow:
    measured = verdict is not Verdict.NOT_MEASURED
    reason = why or ("a rule." if verdict is Verdict.PREVENTED or not measured else "")
    return LeakageRow(
        protection=name,
        adversary=adversary,
        view=view,
        scenario=scenario,
        attack="made up",
        metric=metric,
        value=value if measured else None,
        low=0.5 if measured else None,
        high=0.99 if measured else None,
        confidence=0.999 if measured else None,
        n=8 if measured else 0,
        n_failed=0,
        null=0.125 if measured else None,
        verdict=verdict,
        min_detectable=0.1 if verdict is Verdict.NOT_DETECTED else None,
        seeds=(0,),
        seconds=1.0,
        why=reason,
    )


def _says(*rows: LeakageRow, names: tuple[str, ...] = ("none",)) -> tuple[str, ...]:
    return answer(
        FEDERATION,
        [_utility(name) for name in names],
        rows,
        [_cost(name) for name in names],
        BASELINES,
    )


@pytest.mark.parametrize(("own", "worst"), list(product(Verdict, Verdict)))
def test_every_pair_of_verdicts_makes_three_plain_sentences(
    own: Verdict, worst: Verdict
) -> None:
    said = _says(_row(own), _row(worst, scenario=WORST))
    for sentence in said:
        assert sentence[0].isupper()
        assert sentence.endswith(".")
        assert refused_word(sentence) is None
        assert "None" not in sentence and "nan" not in sentence


WORDS = {
    Verdict.RECOVERED: "gets training records back exactly",
    Verdict.LEAKS: "learns more than chance",
    Verdict.NOT_DETECTED: "was not seen to learn more than chance",
    Verdict.NOT_MEASURED: "was not attacked",
}


@pytest.mark.parametrize("verdict", WORDS)
def test_the_words_follow_the_verdict(verdict: Verdict) -> None:
    _, leaks, _ = _says(_row(verdict))
    own = leaks.partition(" in this run")[0]
    for other, words in WORDS.items():
        assert (words in own) == (other is verdict)


def test_the_worst_verdict_decides_a_scenario() -> None:
    rows = [_row(Verdict.NOT_DETECTED), _row(Verdict.LEAKS), _row(Verdict.PREVENTED)]
    assert WORDS[Verdict.LEAKS] in _says(*rows)[1]
    assert WORDS[Verdict.RECOVERED] in _says(*rows, _row(Verdict.RECOVERED))[1]


def test_of_two_leaks_the_one_further_from_its_null_is_named() -> None:
    rows = [
        _row(Verdict.LEAKS, value=value, view=view)
        for value, view in ((0.51, "near"), (0.9, "far"), (0.6, "middle"))
    ]
    assert "far" in _says(*rows)[1]


def test_the_two_scenarios_are_told_apart() -> None:
    _, said, _ = _says(
        _row(Verdict.NOT_DETECTED), _row(Verdict.RECOVERED, scenario=WORST)
    )
    own, _, worst = said.partition("in this run")
    assert WORDS[Verdict.NOT_DETECTED] in own
    assert WORDS[Verdict.RECOVERED] in worst
    assert "worst case" in worst


def test_only_what_the_server_sees_is_said_of_the_server() -> None:
    rows = [
        _row(Verdict.NOT_DETECTED),
        _row(Verdict.RECOVERED, adversary="server+A"),
        _row(Verdict.RECOVERED, adversary="outsider"),
    ]
    assert WORDS[Verdict.RECOVERED] not in _says(*rows)[1]


def test_a_rule_that_held_is_said_and_one_that_was_contradicted_is_not() -> None:
    claim = "single uploads give the server nothing beyond chance"
    held = _row(Verdict.PREVENTED, name="secagg", view="one masked upload")
    assert claim in _says(held, names=("secagg",))[1]
    broken = _row(
        Verdict.LEAKS,
        name="secagg",
        view="one masked upload",
        why="contradicts the rule: masks.",
    )
    said = _says(held, broken, names=("secagg",))[1]
    assert claim not in said
    assert WORDS[Verdict.LEAKS] in said


def test_prevention_alone_never_says_that_nothing_is_learnt() -> None:
    held = _row(Verdict.PREVENTED, name="secagg", view="one masked upload")
    said = _says(held, names=("secagg",))[1]
    assert "learns nothing" not in said
    assert "measured on nothing else" in said


def test_every_number_comes_from_a_row() -> None:
    names = ("none", "secagg")
    said = " ".join(
        answer(
            FEDERATION,
            [_utility("none", 0.8713), _utility("secagg", 0.8624)],
            [
                _row(Verdict.RECOVERED, value=0.75),
                _row(Verdict.LEAKS, name="secagg", scenario=WORST, value=0.625),
                _row(
                    Verdict.NOT_DETECTED,
                    adversary="outsider",
                    metric="AUC",
                    value=0.5313,
                ),
            ],
            [
                _cost(name, up)
                for name, up in zip(names, (4321.0, 98765.0), strict=True)
            ],
            BASELINES,
        )
    )
    found = re.findall(r"\d+(?:\.\d+)?", said)
    from_rows = {
        "17",
        *("0.871", "0.850", "0.890", "0.862", "0.917"),
        *("6", "8", "0.625", "0.125", "0.531", "4.32", "98.8"),
    }
    assert set(found) == from_rows


def test_changing_a_row_changes_the_sentence() -> None:
    first = _says(_row(Verdict.RECOVERED, value=0.75))[1]
    assert "6 of 8" in first
    assert "4 of 8" in _says(_row(Verdict.RECOVERED, value=0.5))[1]


def test_an_outsider_that_nobody_measured_is_said_to_be_unmeasured() -> None:
    assert "was not measured" in _says(_row(Verdict.LEAKS))[2]


def test_the_outsiders_best_attack_is_the_one_that_is_told() -> None:
    rows = [
        _row(verdict, adversary="outsider", metric="AUC", value=value)
        for verdict, value in ((Verdict.NOT_DETECTED, 0.51), (Verdict.LEAKS, 0.64))
    ]
    assert "0.640 without protection (leaks)" in _says(*rows)[2]
