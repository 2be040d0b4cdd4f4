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
    PrivacyRow,
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


def _privacy(
    name: str = "dp-sgd", upper: float = 7.94, lower: float | None = None
) -> PrivacyRow:
    return PrivacyRow(
        protection=name,
        unit="example",
        relation="add or remove one",
        delta=1e-5,
        epsilon_upper=upper,
        accountant="PLD",
        epsilon_lower=lower,
        ceiling=None if lower is None else 12.5,
        confidence=None if lower is None else 0.95,
        n_canaries=0 if lower is None else 64,
    )


def _says(
    *rows: LeakageRow,
    names: tuple[str, ...] = ("none",),
    privacy: tuple[PrivacyRow, ...] = (),
) -> tuple[str, ...]:
    return answer(
        FEDERATION,
        [_utility(name) for name in names],
        rows,
        [_cost(name) for name in names],
        BASELINES,
        privacy,
    )


ALL = ("none", "secagg", "he-bfv", "dp-sgd", "central-dp", "secagg+central-dp")
FEW_WORDS = 60


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
    Verdict.RECOVERED: "recovers records exactly",
    Verdict.LEAKS: "the server beats chance",
    Verdict.NOT_DETECTED: "was not seen to beat chance",
    Verdict.NOT_MEASURED: "was not attacked",
}


@pytest.mark.parametrize("verdict", WORDS)
def test_the_words_follow_the_verdict(verdict: Verdict) -> None:
    said = _says(_row(verdict), _row(Verdict.PREVENTED, scenario=WORST))[1]
    own = said.partition("in the worst case")[0]
    for other, words in WORDS.items():
        assert (words in own) == (other is verdict)


def test_the_worst_verdict_decides_a_scenario() -> None:
    rows = [_row(Verdict.NOT_DETECTED), _row(Verdict.LEAKS), _row(Verdict.PREVENTED)]
    assert WORDS[Verdict.LEAKS] in _says(*rows)[1]
    assert WORDS[Verdict.RECOVERED] in _says(*rows, _row(Verdict.RECOVERED))[1]


def test_of_two_leaks_the_one_further_from_its_null_is_named() -> None:
    rows = [_row(Verdict.LEAKS, value=value) for value in (0.51, 0.9, 0.6)]
    assert "SSIM up to 0.9, null 0.125" in _says(*rows)[1]


def test_the_two_scenarios_are_told_apart() -> None:
    _, said, _ = _says(
        _row(Verdict.NOT_DETECTED), _row(Verdict.RECOVERED, scenario=WORST)
    )
    own, _, worst = said.partition("in the worst case")
    assert "In this run" in own
    assert WORDS[Verdict.NOT_DETECTED] in own
    assert WORDS[Verdict.RECOVERED] in worst


def test_scenarios_that_found_the_same_share_a_clause() -> None:
    said = _says(_row(Verdict.NOT_DETECTED), _row(Verdict.NOT_DETECTED, scenario=WORST))
    assert said[1].startswith("In this run and in the worst case the server was not")


def test_only_what_the_server_sees_is_said_of_the_server() -> None:
    rows = [
        _row(Verdict.NOT_DETECTED),
        _row(Verdict.RECOVERED, adversary="server+A"),
        _row(Verdict.RECOVERED, adversary="outsider"),
    ]
    assert WORDS[Verdict.RECOVERED] not in _says(*rows)[1]


def test_a_rule_that_held_is_said_and_one_that_was_contradicted_is_not() -> None:
    claim = "proofs hide single uploads under secagg"
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
    assert said.startswith("A rule is CONTRADICTED under secagg: In this run")
    assert WORDS[Verdict.LEAKS] in said


def test_what_colluding_clients_open_is_no_part_of_the_rule() -> None:
    held = _row(Verdict.PREVENTED, name="he-bfv", view="one encrypted upload")
    view = "one upload, opened with the shared key"
    opened = _row(Verdict.RECOVERED, name="he-bfv", adversary="server+A", view=view)
    assert _says(held, opened, names=("he-bfv",))[1].endswith(
        "proofs hide single uploads under he-bfv; under he-bfv one client with the "
        "server opens them all."
    )


def test_a_sum_that_colluders_break_is_not_said_of_single_uploads() -> None:
    held = _row(Verdict.PREVENTED, name="secagg", view="one masked upload")
    broken = _row(Verdict.RECOVERED, name="secagg", adversary="server+A", view="sum")
    assert "opens them all" not in _says(held, broken, names=("secagg",))[1]


def test_prevention_alone_never_says_that_nothing_is_learnt() -> None:
    held = _row(Verdict.PREVENTED, name="secagg", view="one masked upload")
    said = _says(held, names=("secagg",))[1]
    assert "learns nothing" not in said
    assert "was not attacked" in said  # the worst case
    assert "measured on nothing else" in said


def _of_everything(*, violated: bool = False) -> tuple[str, ...]:
    rows = []
    for name in ALL:
        hidden = name in ("secagg", "he-bfv", "secagg+central-dp")
        exact = name in ("none", "central-dp")
        found = Verdict.LEAKS if exact else Verdict.NOT_DETECTED
        rows.append(_row(found, name=name))
        worst = Verdict.RECOVERED if exact else Verdict.LEAKS
        worst = Verdict.PREVENTED if hidden else worst
        rows.append(_row(worst, name=name, scenario=WORST))
        if name == "he-bfv":
            rows.append(_row(Verdict.RECOVERED, name=name, adversary="server+A"))
        noised = "dp" in name
        found = Verdict.NOT_DETECTED if noised else Verdict.LEAKS
        rows.append(_row(found, name=name, adversary="outsider", metric="AUC"))
        quiet = _row(Verdict.NOT_DETECTED, name=name, adversary="client", metric="AUC")
        rows.append(quiet)
    lower = 9.21 if violated else 0.61
    return answer(
        FEDERATION,
        [
            _utility(name, 0.871 if i < 3 else 0.862 - i / 1000)
            for i, name in enumerate(ALL)
        ],
        rows,
        [
            _cost(name, 4321.0 * factor)
            for name, factor in zip(ALL, (1, 1.26, 42, 1, 1, 1.26), strict=True)
        ],
        BASELINES,
        (
            _privacy(lower=lower),
            _privacy("central-dp", 24.0),
            _privacy("secagg+central-dp", 24.0),
        ),
    )


@pytest.mark.parametrize("violated", [False, True])
def test_six_protections_fit_into_three_short_sentences(violated: bool) -> None:
    for sentence in _of_everything(violated=violated):
        sentence = sentence.rpartition("7.94. ")[2]  # behind a violation's own
        assert len(sentence.split()) <= FEW_WORDS, sentence


def test_protections_with_the_same_verdict_share_a_clause() -> None:
    first, second, third = _of_everything()
    assert "0.871 (0.850 to 0.890) under none, secagg and he-bfv" in first
    assert "under none and central-dp (SSIM up to 0.625, null 0.125)" in second
    assert "was not seen to elsewhere" in second
    assert "(AUC up to 0.625, null 0.125)" in third
    assert "a client was not seen to under any protection" in third


def test_a_violation_is_said_first_with_both_its_numbers() -> None:
    third = _of_everything(violated=True)[2]
    claim = "VIOLATION under dp-sgd: epsilon is at least 9.21, not the claimed 7.94."
    assert third.startswith(claim)
    assert "measures at least" not in third
    assert "VIOLATION" not in "".join(_of_everything())


def test_noise_is_named_with_its_epsilon_its_unit_and_what_is_judged_of_it() -> None:
    first = _of_everything()[0]
    assert "under dp-sgd (epsilon 7.94 per example)" in first
    assert "(each epsilon 24 per example, no useful guarantee)" in first
    assert "epsilon measures at least 0.61 under dp-sgd" in _of_everything()[2]


def test_a_model_that_learnt_nothing_is_called_so() -> None:
    said = answer(
        FEDERATION,
        [_utility("none")],
        [],
        [_cost("none")],
        BASELINES.model_copy(update={"majority": 0.86}),
    )
    assert "under" not in said[0].partition("accuracy")[2].partition("(no")[0]
    assert "(no useful model)" in said[0]


def test_elsewhere_never_covers_what_nobody_measured() -> None:
    rows = [
        _row(Verdict.LEAKS, adversary="outsider", metric="AUC"),
        *(
            _row(Verdict.NOT_DETECTED, name=n, adversary="outsider", metric="AUC")
            for n in ("secagg", "he-bfv")
        ),
    ]
    said = _says(*rows, names=("none", "secagg", "he-bfv", "dp-sgd"))[2]
    assert "elsewhere" not in said and "under secagg and he-bfv" in said


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
                for name, up in zip(names, (4321.0, 12963.0), strict=True)
            ],
            BASELINES,
        )
    )
    found = re.findall(r"\d+(?:\.\d+)?", said)
    from_rows = {
        "17",
        *("0.871", "0.850", "0.890", "0.862", "0.917"),
        *("6", "8", "0.625", "0.125", "4.32", "3"),
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
    said = _says(*rows)[2]
    assert said.startswith("An outsider tells members from others without protection")
    assert "(AUC up to 0.64, null 0.125)" in said


def test_a_lower_bound_of_zero_is_no_finding() -> None:
    assert "measures" not in _says(privacy=(_privacy(lower=0.0),))[2]
