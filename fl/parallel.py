"""Independent pieces of work on all cores, in order, the same result as one by one.

Processes, since small models are bound by Python. Each piece carries its own seed and
runs in one thread, so nothing depends on where it runs. Only our own objects cross the
border, within one machine and one user.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from typing import TypeVar

import joblib

from fl.errors import ConfigError
from fl.local.thread import one_thread, side_by_side

Item = TypeVar("Item")
Result = TypeVar("Result")

# The environment variable that overrides how many processes share the work.
WORKERS, WORKERS_MAX = "BLINDSUM_WORKERS", 1024
# Starting a worker costs seconds (it imports torch); few pieces are done right here.
WORTH_STARTING = 8
WATCH_S = 0.5


def each(
    function: Callable[[Item], Result], items: Iterable[Item], *, count: int
) -> Iterator[Result]:
    """Yield ``function(item)`` for every item, in the order of the items.

    Args:
        function: importable by name; it and the items are copied to other processes.
        items: taken as they are needed, so a generator may be long.
        count: about how many there are.
    """
    cores = workers()
    if cores == 1 or count < WORTH_STARTING:
        for item in items:
            yield _alone(function, item)
        return
    # Large arrays are shared copy-on-write: torch takes no read-only memory.
    pool = joblib.Parallel(
        n_jobs=cores, return_as="generator", batch_size=1, mmap_mode="c"
    )
    home = os.getpid()
    yield from pool(joblib.delayed(_away)(function, item, home) for item in items)


def workers() -> int:
    """Return how many processes share the work: one a core, or as the environment says.

    The number changes no result; hence it is no key of the configuration.

    Raises:
        ConfigError: the variable holds no number of processes.
    """
    said = os.environ.get(WORKERS)
    if not said:
        return os.cpu_count() or 1
    if not said.isdecimal() or not 1 <= int(said) <= WORKERS_MAX:
        raise ConfigError(
            f"{WORKERS}={said} must be a whole number from 1 to {WORKERS_MAX}; unset "
            "it for one worker a core."
        )
    return int(said)


def _away(function: Callable[[Item], Result], item: Item, home: int) -> Result:
    if os.getpid() != home:  # Ctrl-C is for the one who gives out the work
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        _end_with(home)
    # As many processes as cores: no threads beside them.
    with side_by_side(1):
        return _alone(function, item)


@lru_cache(maxsize=1)
def _end_with(home: int) -> None:
    """End this worker when the process that gives out the work is gone.

    One that was killed cannot tell its workers, which would wait for work for ever.
    """

    def watch() -> None:
        while os.getppid() == home:
            time.sleep(WATCH_S)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _alone(function: Callable[[Item], Result], item: Item) -> Result:
    # The order of a sum depends on the threads, so a piece done right here has one too,
    # whatever the environment says.
    with one_thread():
        return function(item)
