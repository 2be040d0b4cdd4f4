"""Asking a peer, in a process of its own, for rounds of one workload after another.

    parent:  with asking([python, "-m", "benchmarks.peers.NAME"], env) as ask:
                 rounds = ask(work, 10)
    child:   answer(run)             # run(path of the workload, rounds) -> Rounds

A request is a line of JSON on the child's standard input, an answer a line on its
standard output; arrays travel as .npz files. While nobody asks, the child waits and
takes no time from what is measured next to it.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Event, Timer
from typing import Any

from benchmarks.work import Rounds, Work, load_rounds, save

ROOT = Path(__file__).resolve().parents[2]
Ask = Callable[[Work, int], Rounds]
Request = Mapping[str, str | int]
Tell = Callable[[Request], None]

LIMIT_S = 240.0
# To say goodbye in: Ray stops its workers.
_END_S = 20.0
_DONE = "done\n"


class MissingError(Exception):
    """A peer has no figure; the message is the reason, without a full stop."""


@contextmanager
def asking(
    command: Sequence[str],
    env: Mapping[str, str] | None = None,
    *,
    limit_s: float = LIMIT_S,
) -> Iterator[Ask]:
    """Start a peer; inside, the function given asks it for rounds.

    The peer and whatever it started have ended when this returns.

    Args:
        command: what runs `answer`.
        env: variables to set beside our own.
        limit_s: for one answer; the first includes the start.

    Raises:
        MissingError: by the function: it failed, or said nothing in time.
    """
    with (
        tempfile.TemporaryDirectory() as folder,
        telling(command, env, limit_s=limit_s) as tell,
    ):

        def ask(work: Work, rounds: int) -> Rounds:
            asked, given = Path(folder) / "work.npz", Path(folder) / "rounds.npz"
            save(asked, work)
            tell({"work": str(asked), "rounds": rounds, "out": str(given)})
            return load_rounds(given)

        yield ask


@contextmanager
def telling(
    command: Sequence[str],
    env: Mapping[str, str] | None = None,
    *,
    limit_s: float = LIMIT_S,
) -> Iterator[Tell]:
    """Start a peer; inside, the function given tells it what to do, and waits.

    Args:
        command: what runs `obey`.
        env: variables to set beside our own.
        limit_s: for one request; the first includes the start.

    Raises:
        MissingError: by the function: it failed, or said nothing in time.
    """
    with tempfile.TemporaryFile("w+") as complaints:
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=complaints,
            text=True,
            env=os.environ | (env or {}) | {"PYTHONPATH": str(ROOT)},
            start_new_session=True,  # so that all it starts can be ended with it
        )
        assert process.stdin is not None and process.stdout is not None

        def tell(request: Request) -> None:
            said = _said(process, json.dumps(request), limit_s)
            if said is None:
                raise MissingError(f"no answer within {limit_s:g} s")
            if said != _DONE:
                complaints.seek(0)
                lines = complaints.read().strip().splitlines()
                raise MissingError(f"it failed: {lines[-1] if lines else 'no message'}")

        try:
            yield tell
            with suppress(BrokenPipeError):
                process.stdin.close()  # no more requests: it ends
            with suppress(subprocess.TimeoutExpired):
                process.wait(_END_S)
        finally:
            _kill(process)
            process.wait()
            for pipe in (process.stdin, process.stdout):
                with suppress(BrokenPipeError):
                    pipe.close()


def _said(process: subprocess.Popen[str], request: str, limit_s: float) -> str | None:
    """Return the line that a process answers, "" if it ended, None if it is late."""
    assert process.stdin is not None and process.stdout is not None
    late = Event()

    def give_up() -> None:
        late.set()
        _kill(process)

    timer = Timer(limit_s, give_up)
    timer.start()
    try:
        print(request, file=process.stdin, flush=True)
        said = process.stdout.readline()
    except BrokenPipeError:
        said = ""
    finally:
        timer.cancel()
    return None if late.is_set() else said


def answer(run: Callable[[Path, int], Rounds]) -> None:
    """Answer what a parent asks until it stops asking."""
    obey(lambda said: save(Path(said["out"]), run(Path(said["work"]), said["rounds"])))


def obey(do: Callable[[dict[str, Any]], None]) -> None:
    """Do what a parent tells until it stops telling."""
    # What libraries print must not be taken for an answer.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for line in sys.stdin:
        do(json.loads(line))
        answers.write(_DONE)
        answers.flush()


def _kill(process: subprocess.Popen[str]) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
