"""Progress of long work: bars on a terminal, plain lines elsewhere, or nothing."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.progress import TimeElapsedColumn as Elapsed
from rich.table import Column

# Seconds between two lines of one piece of work where there is no terminal.
NOW_AND_THEN_S = 10.0


class Task(Protocol):
    """One piece of work with a known number of steps."""

    def advance(self, note: str = "", steps: int = 1) -> None:
        """Report steps done; ``note`` says where things stand."""


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
            # What is left of the line; a long note is cut short, not the bar.
            TextColumn(
                "{task.fields[note]}", table_column=Column(ratio=1, no_wrap=True)
            ),
        )
        with Progress(*columns, console=console, expand=True) as bars:
            yield _Bars(bars)
    else:
        yield _Lines()


class _Nothing:
    def advance(self, note: str = "", steps: int = 1) -> None:
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

    def advance(self, note: str = "", steps: int = 1) -> None:
        self._bars.update(self._id, advance=steps, note=note)


class _Lines:
    def task(self, name: str, total: int) -> Task:
        return _Line(name, total)


class _Line:
    """Prints one line when the work starts, one now and then, and one when it ends."""

    def __init__(self, name: str, total: int) -> None:
        self._name, self._total, self._done = name, total, 0
        self._lock = threading.Lock()  # rounds are reported from a thread of their own
        self._said_at = time.monotonic()
        self._say(f"{total} steps")

    def advance(self, note: str = "", steps: int = 1) -> None:
        tail = f" ({note})" if note else ""
        with self._lock:
            self._done += steps
            if self._done == self._total and steps:
                self._say(f"done{tail}")
            elif time.monotonic() - self._said_at >= NOW_AND_THEN_S:
                self._said_at = time.monotonic()
                self._say(f"{self._done} of {self._total}{tail}")

    def _say(self, words: str) -> None:
        print(f"{self._name}: {words}", file=sys.stderr, flush=True)
