"""Threads: one for the arithmetic of small models, several for many of them at once.

One small model loses far more to the meeting points of threads than it gains, and the
order of a sum would depend on the machine's cores. A batched operation over the clients
of a stack gives every thread clients of its own, so that the bits stay the same.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch

# Clients that a thread must have to itself; with fewer, one client's product might be
# shared out, which changes the order of its sums.
CLIENTS = 4

_side_by_side: ContextVar[int] = ContextVar("side_by_side", default=os.cpu_count() or 1)


@contextmanager
def one_thread() -> Iterator[None]:
    """Run torch in one thread inside; put its number of threads back after."""
    with _threads(1):
        yield


@contextmanager
def threads_for(clients: int) -> Iterator[None]:
    """Run torch inside in as many threads as so many stacked clients keep busy."""
    with _threads(max(1, min(allowed(), clients // CLIENTS))):
        yield


@contextmanager
def side_by_side(threads: int) -> Iterator[None]:
    """Let stacks be trained by so many threads inside, at most."""
    token = _side_by_side.set(threads)
    try:
        yield
    finally:
        _side_by_side.reset(token)


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
