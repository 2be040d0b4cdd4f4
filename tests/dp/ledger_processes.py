"""Processes at one ledger: killed at chosen points, or racing. A program of its own.

    python -m tests.dp.ledger_processes kills FOLDER POINT...     (0: at a random time)
    python -m tests.dp.ledger_processes race FOLDER TURNS

Prints one JSON line per point or turn. It imports once and forks, so that a hundred
processes take seconds; it runs in a process of its own, where nothing else has threads.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sqlite3
import sys
import time
from pathlib import Path
from typing import NoReturn

import dp
import dp.ledger_file
from dp import Budget, BudgetExceeded, Ledger, noise_multiplier_for, sampled_gaussian

ROUNDS = 6
PARTIES = ("a", "b")
STEP = sampled_gaussian(4.0, 0.5)
BUDGET = Budget(epsilon=4.0, delta=1e-5)


def open_ledger(path: Path, budget: Budget = BUDGET) -> Ledger:
    return Ledger(budget, unit="client", path=path)


def play(path: Path, log: Path, run: str) -> None:
    """Play all rounds: reserve, release (a line in the log), commit."""
    with open_ledger(path) as ledger:
        for index in range(ROUNDS):
            admitted = ledger.admit(PARTIES, STEP, run=run, round=index, same_bits=True)
            with log.open("a") as file:
                file.write(f"{run} {index} {' '.join(admitted)}\n")
            ledger.commit(run=run, round=index)


def die() -> NoReturn:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


def die_at_statement(point: int) -> None:
    """Be killed just before the statement of this number reaches SQLite."""
    real, left = dp.ledger_file._connect, point

    def traced(_: str) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            die()

    def connect(path: str) -> sqlite3.Connection:
        database = real(path)
        database.set_trace_callback(traced)
        return database

    dp.ledger_file._connect = connect


def in_a_child(work: object, *given: object, kill_after_s: float | None = None) -> int:
    child = os.fork()
    if child == 0:
        try:
            work(*given)  # type: ignore[operator]
            os._exit(0)
        except BudgetExceeded:
            os._exit(7)
        except BaseException as error:
            print(repr(error), file=sys.stderr, flush=True)
            os._exit(1)
    if kill_after_s is not None:
        time.sleep(kill_after_s)
        os.kill(child, signal.SIGKILL)
    return os.waitpid(child, 0)[1]


def doomed(point: int, path: Path, log: Path) -> None:
    die_at_statement(point)
    play(path, log, "run")


def kills(folder: Path, points: list[int]) -> None:
    warm = open_ledger(folder / "warm.db")
    for index in range(2 * ROUNDS):  # what children inherit: all that is accounted for
        warm.admit(PARTIES, STEP, run="warm", round=index)
    for number, point in enumerate(points):
        path, log = folder / f"{number}.db", folder / f"{number}.log"
        log.touch()
        if point:
            status = in_a_child(doomed, point, path, log)
        else:
            when = random.Random(number).random() * 0.15
            status = in_a_child(play, path, log, "run", kill_after_s=when)
        with open_ledger(path) as ledger:
            held = [[e.party, e.round, e.committed] for e in ledger.entries()]
        released = log.read_text().split("\n")[:-1]
        again = in_a_child(play, path, log, "run")
        with open_ledger(path) as ledger:
            resumed = [[e.party, e.round, e.committed] for e in ledger.entries()]
        fresh = in_a_child(play, path, log, "another run")
        with open_ledger(path) as ledger:
            found = {
                "point": point,
                "killed": os.WIFSIGNALED(status),
                "held": held,
                "released": released,
                "statuses": [again, fresh],
                "resumed": resumed,
                "epsilon": ledger.epsilon("a"),
                "entries": len(ledger.entries()),
            }
        print(json.dumps(found), flush=True)


def race(folder: Path, turns: int) -> None:
    sigma = noise_multiplier_for(2.0, 1e-5, 1, 3)
    step, budget = sampled_gaussian(sigma, 1), Budget(epsilon=2.0, delta=1e-5)
    for turn in range(turns):
        path = folder / f"race-{turn}.db"
        with open_ledger(path, budget) as ledger:
            ledger.spend("a", step, 2)
            assert not ledger.would_exceed("a", step)
            assert ledger.would_exceed("a", step, 2)
        reader, writer = os.pipe()

        def grab() -> None:
            with open_ledger(path, budget) as ledger:  # noqa: B023 - forked right away
                os.close(writer)  # noqa: B023
                os.read(reader, 1)  # noqa: B023 - returns when the parent closes its end
                ledger.reserve("a", step, run=str(os.getpid()), round=0)

        children = []
        for _ in range(4):
            child = os.fork()
            if child == 0:
                try:
                    grab()
                    os._exit(0)
                except BudgetExceeded:
                    os._exit(7)
                except BaseException as error:
                    print(repr(error), file=sys.stderr, flush=True)
                    os._exit(1)
            children.append(child)
        os.close(writer)
        codes = [os.waitstatus_to_exitcode(os.waitpid(one, 0)[1]) for one in children]
        os.close(reader)
        with open_ledger(path, budget) as ledger:
            spent = sum(entry.count for entry in ledger.entries())
            print(
                json.dumps(
                    {"codes": codes, "spent": spent, "epsilon": ledger.epsilon("a")}
                )
            )


if __name__ == "__main__":
    where = Path(sys.argv[2])
    if sys.argv[1] == "kills":
        kills(where, [int(one) for one in sys.argv[3:]])
    else:
        race(where, int(sys.argv[3]))
