"""Threads: one for the arithmetic of small models, several for separate chunks.

Small models lose far more to the meeting points of threads inside one operation than
they gain, and the order of a sum then depends on no machine's cores. Chunks of a stack
share nothing, so they may run side by side: whatever their number, the bits are equal.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from typing import TypeVar

import torch

Item = TypeVar("Item")

_side_by_side: ContextVar[int] = ContextVar("side_by_side", default=os.cpu_count() or 1)


@contextmanager
def one_thread() -> Iterator[None]:
    """Run torch in one thread inside; put its number of threads back after."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@contextmanager
def side_by_side(threads: int) -> Iterator[None]:
    """Let at most so many chunks be trained at once inside."""
    token = _side_by_side.set(threads)
    try:
        yield
    finally:
        _side_by_side.reset(token)


def allowed() -> int:
    """Return how many chunks may be trained at once here."""
    return _side_by_side.get()


def each_chunk(work: Callable[[Item], None], chunks: Iterable[Item]) -> None:
    """Call ``work`` on every chunk, on as many threads as `side_by_side` allows."""
    pending, threads = list(chunks), allowed()
    if threads == 1 or len(pending) < 2:
        for chunk in pending:
            work(chunk)
        return
    for _ in _pool(threads).map(work, pending):
        pass  # raises what the work raised


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,))
