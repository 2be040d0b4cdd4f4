"""`blindsum secagg estimate`: what it prices, what it prints, and what it refuses."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

import fl.estimate
import secagg
from fl.cli import run
from fl.estimate import Setting, estimate
from fl.unit_costs import UnitCost, measure
from fl.unit_memory import measure_memory
from secagg.cost import Operation, work
from secagg.footprint import Piece
from secagg.invite import Step
from secagg.states import Role
from secagg.traffic import Wiring, traffic
from secagg.turnout import expected_turnout

PLAN = secagg.plan(
    12, 2, 3, graph="complete", encoder=secagg.Encoder(value_bits=16, weight_max=1)
)
GONE = {Step.MASKED_INPUT: 3}


@pytest.fixture
def priced(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let every operation take 1 ms and every piece 10 bytes."""
    unit = UnitCost(1e-3, 1e-3, 1e-3)
    units, pieces = dict.fromkeys(Operation, unit), dict.fromkeys(Piece, 10.0)
    monkeypatch.setattr(fl.estimate, "measure", lambda plan, **more: units)
    monkeypatch.setattr(fl.estimate, "measure_memory", lambda plan, **more: pieces)
    yield


def test_every_operation_and_piece_gets_a_finite_price() -> None:
    for plan in (PLAN, secagg.plan(10**7, 0.05, 0.05)):
        units = measure(plan, length=100, budget_s=0)
        missing = set(Operation) - units.keys()
        sparse_only = {Operation.NEIGHBOURHOOD, Operation.PLACE}
        assert missing == (sparse_only if plan.complete else set())
        for operation, unit in units.items():
            assert unit.low <= unit.seconds <= unit.high < 1, operation
            assert unit.seconds > 0 or operation is Operation.MESSAGE
    pieces = measure_memory(PLAN, length=1000)
    assert pieces.keys() == set(Piece)
    assert all(0 < octets < 2000 for octets in pieces.values()), pieces


@pytest.mark.parametrize("budget_s", [-1.0, float("nan"), float("inf")])
def test_time_to_measure_is_bounded(budget_s: float) -> None:
    with pytest.raises(secagg.ParameterError, match=r"0\.\.600"):
        measure(PLAN, length=1, budget_s=budget_s)


def test_rows_are_counts_times_prices_and_bytes_per_party(priced: None) -> None:
    setting = Setting(signed=False, name_bytes=9, session_bytes=3)
    found = estimate(PLAN, length=40, gone=GONE, setting=setting)
    turnout = expected_turnout(PLAN, GONE)
    counts = work(PLAN, turnout, length=40)
    wiring = Wiring(session_bytes=3, name_bytes=9 * 12)
    sent = traffic(PLAN, turnout, length=40, wiring=wiring)
    assert len(found.rows) == 8 and found.runnable
    for row in found.rows:
        role, step = Role(row.role), Step(row.step)
        spent = sum(counts[role, step].values()) / 1e3
        asked, answered = turnout.answering(step)
        if role is Role.SERVER:
            assert row.cpu_s == pytest.approx(spent)
            assert (row.bytes_in, row.bytes_out) == (sent[step].up, sent[step].down)
        else:
            assert row.cpu_s == pytest.approx(spent / asked)
            assert row.bytes_in == sent[step].down / asked
            assert row.bytes_out == sent[step].up / answered
        assert row.wall_s > row.cpu_s and row.memory_bytes > 0
    assert found.wall_s > sum(row.wall_s for row in found.rows)


def test_cores_shorten_what_runs_along_the_vector_and_nothing_else(
    priced: None,
) -> None:
    one, many = (
        estimate(PLAN, length=400, gone=GONE, setting=Setting(cores=cores))
        for cores in (1, 4)
    )
    for row, quicker in zip(one.rows, many.rows, strict=True):
        along = row.role == "server" and row.step in ("masked_input", "unmask")
        assert (quicker.wall_s < row.wall_s) == along
        assert quicker.cpu_s == row.cpu_s


ARGUMENTS = ["secagg", "estimate", "--clients=1e3", "--params=1e4", "--seconds=0"]


def test_the_command_prints_the_plan_a_table_and_the_wall_time(
    priced: None, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(ARGUMENTS) == 0
    said = capsys.readouterr().out
    plan = secagg.plan(1000, 0.05, 0.05, encoder=PLAN.encoder)
    assert said.startswith(f"{plan}\n")
    assert all(said.count(step) == 2 for step in Step)
    assert "One round: at most" in said and "50 clients gone" in said


def test_json_holds_rows_units_and_counts(
    priced: None, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([*ARGUMENTS, "--json", "--drop-at=unmask", "--per-round=100"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["schema"] == "blindsum.estimate/1" and record["rounds"] == 10
    assert record["clients"] == 100 and record["turnout"]["u5"] == 95
    assert len(record["rows"]) == 8 and record["unit_seconds"]["agreement"][1] == 1e-3


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--clients=1e6"], "No such round runs: this release has at most 65,535"),
        (["--threat=malicious_server"], "without the consistency step"),
        (["--clients=1e6", "--per-round=1e4"], "100 such rounds"),
    ],
)
def test_what_cannot_run_is_said_and_priced(
    priced: None, capsys: pytest.CaptureFixture[str], more: list[str], said: str
) -> None:
    assert run([*ARGUMENTS, *more]) == 0
    assert said in capsys.readouterr().out


@pytest.mark.parametrize(
    ("more", "cure"),
    [
        (["--clients=1.5"], "no whole number"),
        (["--params=0"], "length=0"),
        (["--corrupt=0", "--graph=k-regular"], "corrupt >= 1"),
        (["--bandwidth-up=0"], "positive number"),
        (["--bandwidth-down=nan"], "positive number"),
        (["--latency-ms=-1"], "not below 0"),
        (["--cores=0"], "cores=0"),
        (["--per-round=0"], "of 0 clients"),
        (["--cipher=rot13"], "chacha20"),
        (["--name-bytes=0"], "name_bytes=0"),
        (["--value-bits=40"], "value_bits=40"),
    ],
)
def test_bad_requests_are_one_sentence_and_status_2(
    priced: None, capsys: pytest.CaptureFixture[str], more: list[str], cure: str
) -> None:
    assert run([*ARGUMENTS, *more]) == 2
    said = capsys.readouterr()
    assert said.out == "" and said.err.count("\n") == 1 and cure in said.err
