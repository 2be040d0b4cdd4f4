"""Threads: one for the arithmetic of small models, several for many of them at once.

One small model loses far more to the meeting points of threads than it gains, and the
order of a sum would depend on the machine's cores. A batched operation over the clients
of a stack gives every thread clients of its own, so that the bits stay the same.

Threads wait for each other by spinning. One that another process keeps from its core
holds up all: measured, a round took seventy times as long. So a stack is given several
only at a moment when nobody else wants the cores.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

import torch

# Clients that a thread must have to itself; with fewer, one client's product might be
# shared out, which changes the order of its sums.
CLIENTS = 4

LOAD = Path("/proc/loadavg")
# How long a helper goes on spinning after its last operation, generously.
SPIN_S = 0.01


class _Helpers:
    """How many threads helped with the last operation, and when that was."""

    def __init__(self) -> None:
        self._count, self._when = 0, 0.0

    def left(self, count: int) -> None:
        self._count, self._when = count, time.monotonic()

    def spinning(self) -> int:
        return self._count if time.monotonic() - self._when < SPIN_S else 0


_helpers = _Helpers()
_side_by_side: ContextVar[int] = ContextVar("side_by_side", default=os.cpu_count() or 1)


@contextmanager
def one_thread() -> Iterator[None]:
    """Run torch in one thread inside; put its number of threads back after."""
    with _threads(1):
        yield


@contextmanager
def threads_for(clients: int) -> Iterator[None]:
    """Run torch inside in as many threads as so many stacked clients keep busy."""
    count = max(1, min(allowed(), clients // CLIENTS, free_cores()))
    with _threads(count):
        yield
    _helpers.left(count - 1)


@contextmanager
def side_by_side(threads: int) -> Iterator[None]:
    """Let stacks be trained by so many threads inside, at most."""
    token = _side_by_side.set(threads)
    try:
        yield
    finally:
        _side_by_side.reset(token)


def free_cores() -> int:
    """Return how many cores this process could have right now, at least one.

    Linux says how many threads of the machine want to run at this moment, this one
    among them, and our own helpers that still spin. Where nobody says so, the answer
    is one.
    """
    try:
        wanting = int(LOAD.read_text(encoding="ascii").split()[3].partition("/")[0])
    except (OSError, ValueError, IndexError):
        return 1
    return max(1, (os.cpu_count() or 1) + 1 - wanting + _helpers.spinning())


def allowed() -> int:
    """Return how many threads may train a stack here: one a core, if nobody said."""
    return _side_by_side.get()


@contextmanager
def _threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
