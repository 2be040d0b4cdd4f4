"""How work on a long vector is shared among threads: one range of it each.

numpy and the ciphers release the interpreter's lock while they work on a block, so
threads that take disjoint ranges of blocks run at once.  What is computed here gives
the same bits for any number of threads: ranges end where blocks end, whatever is drawn
for a block is found by the block's place, and what is summed is summed exactly.

This module starts threads, waits for them, and knows nothing of what they do.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Final

from secagg.errors import ParameterError

THREADS_VARIABLE: Final = "BLINDSUM_THREADS"
_AUTO_THREADS: Final = 2
"""Most threads that are taken unasked.  Each takes the interpreter's lock for every
step of a block; how more of them get along has not been measured."""


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


def shares(count: int, *, worth: int, threads: int | None = None) -> list[range]:
    """Split ``range(count)`` evenly; at least one range, which may be empty.

    Args:
        count: Blocks of the work.
        worth: How many threads the work is worth, if nobody asks for a number.
        threads: At least 1; None takes ``default_threads``, but no more than ``worth``.

    Raises:
        ParameterError: The number of threads is not a positive integer (caller).
    """
    if threads is None:
        threads = min(default_threads(), worth)
    elif type(threads) is not int or threads < 1:
        raise ParameterError(
            f"threads={threads!r} must be an integer of at least 1.", argument="threads"
        )
    threads = max(1, min(threads, count))
    cuts = [count * i // threads for i in range(threads + 1)]
    return [range(*both) for both in pairwise(cuts)]


def run(job: Callable[[range], None], ranges: Sequence[range]) -> None:
    """Call ``job`` once for each range, each in a thread, and wait for all of them.

    The first range is worked on in the caller's thread.  If jobs raise, the error of
    the first of their ranges is raised, once no job runs any more.
    """
    first, *others = ranges
    if not others:
        return job(first)
    with ThreadPoolExecutor(len(others)) as pool:
        running = [pool.submit(job, one) for one in others]
        job(first)
        for one in running:
            one.result()
    return None
