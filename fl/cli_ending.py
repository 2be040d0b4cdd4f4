"""How a command ends: what it says last, and its exit status."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import typer

from fl.audit import AuditResult
from fl.folder import StoppedRun
from fl.status import BAD_INPUT, GATE_FAILED, INTERRUPTED


@contextmanager
def stoppable() -> Iterator[None]:
    """Say where a stopped run lies; typer would only say that it was aborted."""
    try:
        yield
    except StoppedRun as stopped:
        complain(str(stopped))
        raise typer.Exit(INTERRUPTED) from stopped


def finish(result: AuditResult) -> None:
    """Say where the page is, and leave with the status that the run deserves."""
    failed = [gate for gate in result.report.gates if not gate.passed]
    for gate in failed:
        complain(f"gate failed: {gate.name}: {gate.detail}")
    print(f"Page: {result.folder / 'report.html'}")
    if result.interrupted:
        complain(
            "stopped by Ctrl-C; the page says what was not measured, and --resume "
            f"{result.folder} goes on with it."
        )
        raise typer.Exit(INTERRUPTED)
    if failed:
        raise typer.Exit(GATE_FAILED)


def complain(sentence: str) -> int:
    """Say on standard error what is wrong; return the status of bad input."""
    print(f"blindsum: {sentence}", file=sys.stderr)
    return BAD_INPUT
