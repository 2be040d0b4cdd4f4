"""Independent pieces of work on all cores, in order, the same result as one by one.

Processes, since small models are bound by Python. Each piece carries its own seed and
runs in one thread, so nothing depends on where it runs. Only our own objects cross the
border, within one machine and one user.

Whoever calls inside ``joblib.parallel_config`` says where the work is done instead:
loky, or the backends that Ray and Dask register with joblib. Pieces then travel to
their machines, which must be trusted with the records and have this package, and any
code of the user's, installed.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache, partial
from typing import TypeVar

import joblib
from joblib.parallel import LokyBackend, ParallelBackendBase, get_active_backend

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
    function: Callable[[Item], Result],
    items: Iterable[Item],
    *,
    count: int,
    threads: bool = False,
) -> Iterator[Result]:
    """Yield ``function(item)`` for every item, in the order of the items.

    Args:
        function: importable by name; it and the items are copied to other processes.
        items: taken as they are needed, so a generator may be long.
        count: about how many there are.
        threads: whether pieces may run as threads, where the caller's backend has
            nothing else. Otherwise they then run here, one after the other: threads
            share torch's generator and its number of threads.
    """
    backend, jobs = _pool()
    own = isinstance(backend, LokyBackend)
    shared = getattr(backend, "supports_sharedmem", False)
    beside = threads or not shared
    if jobs == 1 or count < (WORTH_STARTING if own else 2) or not beside:
        for item in items:
            yield _alone(function, item)
        return
    streams = getattr(backend, "supports_return_generator", False)
    # Large arrays are shared copy-on-write: torch takes no read-only memory.
    pool = joblib.Parallel(
        n_jobs=jobs,
        return_as="generator" if streams else "list",
        batch_size=1,
        mmap_mode="c",
    )
    home = os.getpid() if own else None
    work = function if shared else partial(_away, function, home)
    yield from pool(joblib.delayed(work)(item) for item in items)


def workers() -> int:
    """Return how many processes share the work: one a core, or as was said.

    The environment says it (`blindsum audit --jobs` sets that), or else the caller's
    ``joblib.parallel_config``. The number changes no result; hence it is no key of the
    configuration.

    Raises:
        ConfigError: the variable holds no number of processes.
    """
    _, jobs = _pool()
    return int(joblib.effective_n_jobs(jobs))


def _pool() -> tuple[ParallelBackendBase, int]:
    """Return the active backend and joblib's number of jobs; -1 for all there are."""
    backend, asked = get_active_backend()
    said = _said()
    if said is not None:
        return backend, said
    if asked is not None:
        return backend, int(asked)
    own = isinstance(backend, LokyBackend)
    return backend, (os.cpu_count() or 1) if own else -1


def _said() -> int | None:
    """Return the number of processes that the environment gives."""
    said = os.environ.get(WORKERS)
    if not said:
        return None
    if not said.isdecimal() or not 1 <= int(said) <= WORKERS_MAX:
        raise ConfigError(
            f"{WORKERS}={said} must be a whole number from 1 to {WORKERS_MAX}; unset "
            "it for one worker a core."
        )
    return int(said)


def _away(function: Callable[[Item], Result], home: int | None, item: Item) -> Result:
    # A worker of our own; those of a cluster have somebody else to answer to.
    if home is not None and os.getpid() != home:
        # Ctrl-C is for the one who gives out the work.
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
