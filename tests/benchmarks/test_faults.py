"""`python -m benchmarks faults`: all four counters are zero, and each can be more."""

from __future__ import annotations

import pytest

from benchmarks import faults
from benchmarks.__main__ import as_json
from secagg.client import Client
from secagg.server import Server
from tests.secagg import mutants

COUNTERS = ("wrong_sums", "leaks", "crashes", "hangs")


def test_the_quick_run_plays_at_least_200_schedules_and_finds_nothing(
    capsys: pytest.CaptureFixture[str],
) -> None:
    figures = faults.measure(quick=True)
    assert figures["schedules"] >= 200 and figures["unmet"] == 0
    assert [figures[name] for name in COUNTERS] == [0, 0, 0, 0]
    assert figures["sums"] + figures["aborts"] == figures["schedules"]
    table = capsys.readouterr().out
    assert "answer late" in table and "masked_input" in table
    assert '"schedules"' in as_json("faults", figures)


@pytest.mark.parametrize(
    ("server_class", "client_class", "counter"),
    [
        (mutants.SumsTheWrongSet, Client, "wrong_sums"),
        (Server, mutants.AnswersTwice, "leaks"),
        (mutants.Trips, Client, "crashes"),
        (mutants.Babbles, mutants.TalksBack, "hangs"),
    ],
)
def test_each_counter_counts(
    server_class: type[Server], client_class: type[Client], counter: str
) -> None:
    figures = faults.measure(
        quick=True,
        rounds=faults.schedules(mixed=0)[::4],
        server_class=server_class,
        client_class=client_class,
    )
    assert figures[counter] > 0
    others = [figures[name] for name in COUNTERS if name != counter]
    assert others == [0, 0, 0]
