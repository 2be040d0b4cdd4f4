"""`blindsum secagg plan`: what it prints, and what it exits with."""

import pytest

import secagg
from fl.cli import run


@pytest.mark.parametrize(
    ("arguments", "plan"),
    [
        (["10", "2", "3"], secagg.plan(10, 2, 3)),
        (["1000", "0.05", "50"], secagg.plan(1000, 50, 50)),
        (["100000000", "0.05", ".05"], secagg.plan(10**8, 0.05, 0.05)),
        (
            ["1000", "50", "50", "--threat", "malicious_server", "--eta", "20"],
            secagg.plan(1000, 50, 50, "malicious_server", eta=20),
        ),
        (
            ["100", "5", "5", "--sigma=60", "--grinding-bits=8", "--graph=k-regular"],
            secagg.plan(100, 5, 5, sigma=60, grinding_bits=8, graph="k-regular"),
        ),
        (
            ["100", "5", "5", "--graph=complete"],
            secagg.plan(100, 5, 5, graph="complete"),
        ),
    ],
)
def test_the_command_prints_the_plan(capsys, arguments, plan):
    clients, corrupt, drop, *more = arguments
    counts = ["--clients", clients, "--corrupt", corrupt, "--drop", drop]
    assert run(["secagg", "plan", *counts, *more]) == 0
    assert capsys.readouterr().out == f"{plan}\n"


@pytest.mark.parametrize(
    ("arguments", "cure"),
    [
        (["--clients=1000", "--corrupt=0", "--drop=5", "--graph=k-regular"], "corrupt"),
        (["--clients=1000", "--corrupt=few", "--drop=5"], "'few' is neither"),
        (["--clients=1000", "--corrupt=1.5", "--drop=5"], "fraction"),
        (["--clients=1000", "--corrupt=nan", "--drop=5"], "fraction"),
        (["--clients=1000", "--corrupt=-1", "--drop=5"], "corrupt=-1"),
        (["--clients=1000", "--corrupt=1", "--drop=5", "--graph=ring"], "k-regular"),
        (["--clients=1000", "--corrupt=1", "--drop=5", "--threat=no"], "semi_honest"),
        (["--clients=9000", "--corrupt=4500", "--drop=4498"], "drop <= 4497"),
    ],
)
def test_bad_requests_are_one_sentence_and_status_2(capsys, arguments, cure):
    assert run(["secagg", "plan", *arguments]) == 2
    said = capsys.readouterr()
    assert said.out == "" and said.err.count("\n") == 1 and cure in said.err
