"""A ledger under SIGKILL and in a race: nothing spent is lost or spent twice."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from dp import epsilon
from tests.dp.ledger_processes import PARTIES, ROUNDS, STEP

ROOT = Path(__file__).resolve().parents[2]


def _said(*arguments: object) -> list[dict[str, Any]]:
    done = subprocess.run(
        [sys.executable, "-m", "tests.dp.ledger_processes", *map(str, arguments)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def _check(found: dict[str, Any]) -> None:
    """Nothing released is missing, nothing is there twice, commits follow releases."""
    held = {(party, number) for party, number, _ in found["held"]}
    assert len(held) == len(found["held"]), found["point"]
    released = set()
    for line in found["released"]:
        _, number, *parties = line.split()
        released |= {(party, int(number)) for party in parties}
    assert released <= held, found["point"]
    committed = {(party, number) for party, number, yes in found["held"] if yes}
    assert committed <= released, found["point"]
    # Gone on with, the run ends as one that was never killed.
    assert found["statuses"] == [0, 0]
    whole = [[party, number, True] for number in range(ROUNDS) for party in PARTIES]
    assert found["resumed"] == whole, found["point"]
    # Another run spends on top of it, once.
    assert found["entries"] == 2 * len(whole)
    assert found["epsilon"] == epsilon(STEP, 2 * ROUNDS, 1e-5)


def test_a_ledger_killed_at_some_points_loses_and_doubles_nothing(
    tmp_path: Path,
) -> None:
    points = [12, 33]
    found = _said("kills", tmp_path, *points)
    assert [one["point"] for one in found] == points
    assert all(one["killed"] for one in found)
    assert any(one["released"] for one in found)
    for one in found:
        _check(one)


@pytest.mark.slow
def test_a_ledger_killed_anywhere_loses_and_doubles_nothing(tmp_path: Path) -> None:
    points = [*range(1, 51), *[0] * 30]
    found = _said("kills", tmp_path, *points)
    assert len(found) == len(points)
    assert all(one["killed"] for one in found if one["point"])
    # Some were killed between a reservation and its commit.
    assert any(not yes for one in found for _, _, yes in one["held"])
    for one in found:
        _check(one)


def test_of_processes_racing_for_the_last_of_a_budget_exactly_one_gets_it(
    tmp_path: Path,
) -> None:
    for turn in _said("race", tmp_path, 3):
        assert sorted(turn["codes"]) == [0, 7, 7, 7]
        assert turn["spent"] == 3
        assert turn["epsilon"] <= 2.0
