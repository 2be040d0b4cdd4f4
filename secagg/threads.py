"""How work on a long vector is shared among threads: each takes blocks of it.

numpy and the ciphers release the interpreter's lock while they work on a block, so
threads that take disjoint ranges of blocks run at once.  Whoever takes a block, the
result has the same bits: whatever is drawn for a block is found by the block's place,
and what is summed over blocks is summed exactly.

This module keeps the threads, and knows nothing of what they do.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from itertools import chain
from typing import Final, TypeAlias

from secagg.errors import ParameterError

THREADS_VARIABLE: Final = "BLINDSUM_THREADS"
_MOST_HELPERS: Final = 255
_AUTO_THREADS: Final = 2
"""Most threads that are taken unasked.  Each takes the interpreter's lock for every
step of a block; how more of them get along has not been measured."""


Job: TypeAlias = Callable[[Iterator[range]], None]


def default_threads() -> int:
    """Return ``BLINDSUM_THREADS``, or two, or one where this process has one core.

    Raises:
        ParameterError: The variable is not a positive integer (caller).
    """
    given = os.environ.get(THREADS_VARIABLE)
    if given is None:
        if hasattr(os, "sched_getaffinity"):
            return min(_AUTO_THREADS, len(os.sched_getaffinity(0)))
        return min(_AUTO_THREADS, os.cpu_count() or 1)
    if not (given.isascii() and given.isdecimal() and int(given)):
        raise ParameterError(
            f"{THREADS_VARIABLE}={given!r} must be an integer of at least 1; unset it "
            "for a choice by size.",
            argument=THREADS_VARIABLE,
        )
    return int(given)


def run(job: Job, count: int, *, worth: int, threads: int | None = None) -> None:
    """Have blocks 0 to ``count`` - 1 worked off by the caller and, perhaps, helpers.

    The caller's ranges follow each other from the front; a helper's come from the back,
    each a quarter of what is left, until they meet.  A helper that no core is free for
    takes nothing, and is not waited for; the caller does all if no thread can be had.

    Args:
        job: Called once in each thread that takes part, with the ranges of blocks that
            it is to work on, one after the other as they are taken.
        count: Blocks of the work.
        worth: How many threads the work is worth, if nobody asks for a number.
        threads: At least 1; None takes ``default_threads``, but no more than ``worth``.

    Raises:
        ParameterError: The number of threads is not a positive integer (caller).
        Exception: What a job raised, the caller's own before a helper's, once no job
            runs any more.
    """
    if threads is None:
        threads = min(default_threads(), worth)
    elif type(threads) is not int or threads < 1:
        raise ParameterError(
            f"threads={threads!r} must be an integer of at least 1.", argument="threads"
        )
    helpers = min(threads, count, _MOST_HELPERS + 1) - 1
    if helpers < 1:
        return job(iter([range(count)]))
    blocks = _Blocks(job, count)
    try:
        for _ in range(helpers):
            try:
                _pool().submit(blocks.help)
            except RuntimeError:  # the process ends, or may start no more threads
                break
        job(blocks.from_front())
    finally:
        failure = blocks.end()
    if failure is not None:
        try:
            raise failure
        finally:  # its frames hold this one, which would keep them: keys and vectors
            del failure
    return None


def parts(ranges: Iterator[range], length: int, size: int) -> Iterator[slice]:
    """Return the places of each block in turn, of ``length`` in blocks of ``size``."""
    blocks = chain.from_iterable(ranges)
    return (slice(i * size, min((i + 1) * size, length)) for i in blocks)


class _Blocks:
    """The blocks that nobody has taken yet: those from ``_low`` up to ``_high``."""

    def __init__(self, job: Job, count: int) -> None:
        self._job: Job | None = job
        self._low, self._high = 0, count
        self._lock = threading.Condition()
        self._helping = 0
        self._failure: BaseException | None = None

    def from_front(self) -> Iterator[range]:
        """Take one block after the other."""
        while True:
            with self._lock:
                if self._low >= self._high:
                    return
                taken = range(self._low, self._low + 1)
                self._low += 1
            yield taken

    def from_back(self) -> Iterator[range]:
        """Take a quarter of the rest, again and again; at least one block."""
        while True:
            with self._lock:
                left = self._high - self._low
                if left <= 0:
                    return
                size = max(1, left // 4)
                self._high -= size
                taken = range(self._high, self._high + size)
            yield taken

    def help(self) -> None:
        """Work as a helper; after an error nobody takes another block."""
        with self._lock:
            job = self._job
            if job is None:  # the end came first
                return
            self._helping += 1
        try:
            job(self.from_back())
        except BaseException as error:
            with self._lock:
                self._failure = self._failure or error
                self._high = self._low
        finally:
            del job  # which holds what is worked on
            with self._lock:
                self._helping -= 1
                self._lock.notify_all()

    def end(self) -> BaseException | None:
        """Leave nothing to take, wait for who helps; return the first helper's error.

        A signal's exception is raised once nobody writes to the arrays any more.
        """
        interrupt: BaseException | None = None
        while True:
            try:
                with self._lock:
                    self._job, self._high = None, self._low
                    self._lock.wait_for(lambda: not self._helping)
                break
            except BaseException as error:
                interrupt = error
        failure, self._failure = self._failure, None
        if interrupt is None:
            return failure
        try:
            raise interrupt
        finally:
            del interrupt, failure


@lru_cache(maxsize=1)
def _pool() -> ThreadPoolExecutor:
    """Return the helpers, who stay.

    To start one anew for each piece of work would be to wait until it has started,
    which takes milliseconds where all cores are busy.
    """
    return ThreadPoolExecutor(_MOST_HELPERS, "blindsum")


if hasattr(os, "register_at_fork"):  # threads stay behind in the parent
    os.register_at_fork(after_in_child=_pool.cache_clear)
