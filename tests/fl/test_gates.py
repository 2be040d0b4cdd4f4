"""A gate fails where a claim of the page is contradicted, and nowhere else."""

from __future__ import annotations

from pathlib import Path

import pytest
import typer

from fl.audit import AuditResult
from fl.cli_ending import finish
from fl.evidence import Evidence
from fl.gates import gates
from fl.membership.ascent import AFTER
from fl.report import DrillRow, Gate, PrivacyRow, ValidityRow, Verdict
from tests.fl.page import fixture
from tests.fl.test_crowd import _row

BOUNDS = "measured epsilon stays below the proven one"
CAUGHT = "the drill's missing noise is caught"
ALIKE = "members and non-members are alike without the model"
HIDDEN = "masked and encrypted uploads tell nothing"


def _privacy(
    name: str, lower: float | None, upper: float | None, unit: str = "example"
) -> PrivacyRow:
    measured = lower is not None
    return PrivacyRow(
        protection=name,
        unit=unit,
        relation="add or remove one",
        delta=None if upper is None else 1e-5,
        epsilon_upper=upper,
        accountant=None if upper is None else "PLD",
        epsilon_lower=lower,
        ceiling=9.0 if measured else None,
        confidence=0.95 if measured else None,
        n_canaries=200 if measured else 0,
    )


def _drill(noise: str, violated: bool) -> DrillRow:
    return DrillRow(
        name="drill",
        noise=noise,
        claimed_epsilon=1.0,
        delta=1e-5,
        epsilon_lower=2.0 if violated else 0.5,
        ceiling=4.0,
        confidence=0.975,
        n_canaries=100,
        violated=violated,
        detail=f"{noise}.",
    )


def _all(**given: object) -> dict[str, Gate]:
    rows = {"leakage": (), "privacy": (), "drill": (), "validity": ()} | given
    found = gates(Evidence(), *rows.values())  # type: ignore[arg-type]
    return {gate.name: gate for gate in found}


def test_a_measured_bound_above_the_proven_one_fails_and_is_named() -> None:
    rows = (_privacy("dp-sgd", 3.1, 3.0), _privacy("central-dp", 0.2, 8.0, "client"))
    gate = _all(privacy=rows)[BOUNDS]
    assert not gate.passed
    assert "dp-sgd" in gate.detail and "central-dp" not in gate.detail


@pytest.mark.parametrize("lower", [None, 0.0, 2.99, 3.0])
def test_a_measured_bound_up_to_the_proven_one_passes(lower: float | None) -> None:
    assert _all(privacy=(_privacy("dp-sgd", lower, 3.0),))[BOUNDS].passed


def test_without_an_epsilon_there_is_no_such_gate() -> None:
    assert BOUNDS not in _all(privacy=(_privacy("none", None, None),))
    assert CAUGHT not in _all()


@pytest.mark.parametrize(
    ("sound", "faulty", "passed"),
    [
        (False, True, True),
        (False, False, False),  # the missing noise was not caught
        (True, True, False),  # the sound mechanism was accused
    ],
)
def test_the_drill_passes_if_it_tells_the_two_apart(
    sound: bool, faulty: bool, passed: bool
) -> None:
    rows = (_drill("added", sound), _drill("left out", faulty))
    assert _all(drill=rows)[CAUGHT].passed is passed


def test_the_command_names_each_gate_that_failed_and_ends_with_its_status(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = fixture.report(passed=False)
    with pytest.raises(typer.Exit) as ended:
        finish(AuditResult(folder=tmp_path, report=report, interrupted=False))
    assert ended.value.exit_code == 3
    (failed,) = (gate for gate in report.gates if not gate.passed)
    said = capsys.readouterr()
    assert said.err == f"blindsum: gate failed: {failed.name}: {failed.detail}\n"
    assert said.out.endswith("report.html\n")
    finish(AuditResult(folder=tmp_path, report=fixture.report(), interrupted=False))
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("apart", [True, False])
def test_members_who_are_told_apart_without_a_model_fail_the_audit(apart: bool) -> None:
    row = ValidityRow(
        view="released model",
        learner="labels alone",
        value=0.7,
        low=0.6 if apart else 0.4,
        high=0.8,
        confidence=0.95,
        n=200,
        groups=1,
        groups_of=1,
        permuted=0.55 if apart else None,
        beats_chance=apart,
    )
    assert _all(validity=(row,))[ALIKE].passed is not apart
    assert ALIKE not in _all()


@pytest.mark.parametrize(
    "view",
    [
        "one masked upload",
        "one encrypted upload",
        "one encrypted, masked upload",
        "all masked uploads",
        "all encrypted uploads",
        "all encrypted, masked uploads",
        f"{AFTER}all masked uploads",
    ],
)
@pytest.mark.parametrize(
    ("verdict", "passed"),
    [
        (Verdict.LEAKS, False),
        (Verdict.RECOVERED, False),
        (Verdict.NOT_DETECTED, True),
    ],
)
def test_a_hidden_upload_that_tells_something_fails(
    view: str, verdict: Verdict, passed: bool
) -> None:
    row = _row(1, "PSNR (dB)", verdict, view=f"{view}, batch 1, trained model")
    assert _all(leakage=(row,))[HIDDEN].passed is passed


@pytest.mark.parametrize(
    "view",
    ["one upload", "one noised upload", "one upload, opened with the shared key"],
)
def test_an_upload_that_claims_no_secrecy_may_leak(view: str) -> None:
    row = _row(1, "PSNR (dB)", Verdict.LEAKS, view=view)
    assert _all(leakage=(row,))[HIDDEN].passed
