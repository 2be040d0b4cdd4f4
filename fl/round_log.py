"""The log of rounds: one line of JSON per round of every run, while the runs go.

Whoever plays a round appends its line in one write to a file opened for appending, so
that lines of several workers do not tear on a local disk. A run that is finished,
stopped or gone on with has its log put in order: by seed, protection and round, each
once, so that the file does not depend on who was quicker. `Following` reads the same
lines as they come, for progress bars and trackers: there is no second source of
numbers.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeAlias

from fl.errors import ModelError
from fl.run_record import RoundRecord
from fl.shelf import replace

ROUND_LOG = "rounds.jsonl"
EVERY_S = 0.25
SCALARS = (
    "accuracy loss epsilon bytes_up bytes_down survivors dropouts cohort refused"
).split()

Line: TypeAlias = dict[str, Any]
Listener: TypeAlias = Callable[[Sequence[Line]], None]


def line_of(protection: str, seed: int, record: RoundRecord) -> Line:
    """Return a round as one line of the log."""
    return {"protection": protection, "seed": seed, **asdict(record)}


def append(path: Path, line: Line) -> None:
    """Add a line in one write.

    Raises:
        ModelError: the loss is no number: the model has diverged.
    """
    whole = _text(line)
    handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        if os.write(handle, whole) != len(whole):
            raise OSError(f"{path} took half a line")
    finally:
        os.close(handle)


def rewrite(path: Path, lines: Iterable[Line]) -> None:
    """Make these the lines of the log, whole or not at all."""
    replace(path, b"".join(map(_text, lines)))


def put_in_order(path: Path, protections: Sequence[str]) -> None:
    """Sort the log by seed, protection and round; keep one line of each.

    Args:
        path: of the log; need not exist.
        protections: in the order of the report.
    """
    rank = {name: place for place, name in enumerate(protections)}
    lines = {_key(line): line for line in read(path)}
    order = sorted(lines, key=lambda key: (key[1], rank[key[0]], key[2]))
    if lines:
        rewrite(path, (lines[key] for key in order))


def read(path: Path) -> list[Line]:
    """Return the whole lines of the log; none if there is no log."""
    if not path.exists():
        return []
    return _whole(path.read_bytes())[0]


def scalars(line: Line) -> dict[str, float]:
    """Return what is plotted of a round; an aborted one sends nothing."""
    found = {name: line[name] for name in SCALARS if line[name] is not None}
    if line["aborted"]:
        del found["bytes_up"], found["bytes_down"]
    return {name: float(value) for name, value in found.items()}


class Following:
    """Tells listeners of every new line of a log, from a thread of its own.

    A context: at its end the last lines have been told. What a listener raises ends
    the following and is raised there.
    """

    def __init__(self, path: Path, listeners: Sequence[Listener]) -> None:
        """Follow ``path``, which need not exist yet, from its first line."""
        self._path = path
        self._listeners = tuple(listeners)
        self._told: set[tuple[str, int, int]] = set()
        self._at = 0
        self._over = threading.Event()
        self._fault: BaseException | None = None
        self._thread = threading.Thread(target=self._follow, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._over.set()
        self._thread.join()
        if self._fault is not None and error is None:
            raise self._fault

    def _follow(self) -> None:
        try:
            while not self._over.wait(EVERY_S):
                self._tell()
            self._tell()
        except BaseException as fault:  # raised where the context ends
            self._fault = fault

    def _tell(self) -> None:
        if not self._path.exists():
            return
        with self._path.open("rb") as file:
            file.seek(self._at)
            lines, read_bytes = _whole(file.read())
        self._at += read_bytes
        fresh = []
        for line in lines:
            if _key(line) not in self._told:
                self._told.add(_key(line))
                fresh.append(line)
        if fresh:
            for listener in self._listeners:
                listener(fresh)


def _key(line: Line) -> tuple[str, int, int]:
    return line["protection"], line["seed"], line["index"]


def _whole(content: bytes) -> tuple[list[Line], int]:
    """Return the lines that end in a newline, and how many bytes they take."""
    whole, newline, _ = content.rpartition(b"\n")
    return [json.loads(one) for one in whole.splitlines()], len(whole) + len(newline)


def _text(line: Line) -> bytes:
    try:
        return json.dumps(line, allow_nan=False).encode() + b"\n"
    except ValueError as error:
        raise ModelError(
            f"the loss of round {line['index'] + 1} under {line['protection']} is "
            f"{line['loss']}: the model has diverged; lower the learning rate."
        ) from error
