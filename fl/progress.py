"""Progress of long work: bars on a terminal, plain lines elsewhere, or nothing."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.progress import TimeElapsedColumn as Elapsed


class Task(Protocol):
    """One piece of work with a known number of steps."""

    def advance(self, note: str = "") -> None:
        """Report one step done; ``note`` says where things stand."""


class Reporter(Protocol):
    """Opens tasks; the caller decides where they are shown."""

    def task(self, name: str, total: int) -> Task:
        """Open a task of ``total`` steps."""


class Silent:
    """A reporter that shows nothing (tests, ``--quiet``)."""

    def task(self, name: str, total: int) -> Task:
        """Open a task that shows nothing."""
        return _Nothing()


@contextmanager
def reporter(*, quiet: bool = False) -> Iterator[Reporter]:
    """Yield the reporter that fits standard error: bars, lines, or nothing."""
    console = Console(stderr=True)
    if quiet:
        yield Silent()
    elif console.is_terminal:
        columns = (
            TextColumn("{task.description:<26}"),
            BarColumn(bar_width=20),
            MofNCompleteColumn(),
            Elapsed(),
            TextColumn("{task.fields[note]}"),
        )
        with Progress(*columns, console=console) as bars:
            yield _Bars(bars)
    else:
        yield _Lines()


class _Nothing:
    def advance(self, note: str = "") -> None:
        """Do nothing."""


class _Bars:
    def __init__(self, bars: Progress) -> None:
        self._bars = bars

    def task(self, name: str, total: int) -> Task:
        return _Bar(self._bars, name, total)


class _Bar:
    def __init__(self, bars: Progress, name: str, total: int) -> None:
        self._bars = bars
        self._id = bars.add_task(name, total=total, note="")

    def advance(self, note: str = "") -> None:
        self._bars.update(self._id, advance=1, note=note)


class _Lines:
    def task(self, name: str, total: int) -> Task:
        return _Line(name, total)


class _Line:
    """Prints one line when the work starts and one when it ends."""

    def __init__(self, name: str, total: int) -> None:
        self._name, self._total, self._done = name, total, 0
        print(f"{name}: {total} steps", file=sys.stderr, flush=True)

    def advance(self, note: str = "") -> None:
        self._done += 1
        if self._done == self._total:
            tail = f" ({note})" if note else ""
            print(f"{self._name}: done{tail}", file=sys.stderr, flush=True)
