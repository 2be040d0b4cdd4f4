"""What does not wait for the steps before it is made beside them, on another core."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

import torch

from fl.local.thread import one_thread

T = TypeVar("T")


@contextmanager
def ahead(
    make: Callable[[int], T], count: int, *, beside: bool
) -> Iterator[Iterator[T]]:
    """Yield what is made of 0, 1, ...: each one while the one before is used.

    Torch is left with one thread inside, where it had several: one of its threads that
    had to share a core would hold up all the others.

    Args:
        make: makes one; called in this order, by one thread at a time.
        count: how many.
        beside: whether to do so; otherwise each is made when it is asked for.
    """
    if not beside or torch.get_num_threads() == 1 or not count:
        yield map(make, range(count))
        return
    with one_thread(), ThreadPoolExecutor(1) as helper:
        # The first is begun now, not when it is asked for.
        yield _each(helper, make, count, helper.submit(make, 0))


def _each(
    helper: ThreadPoolExecutor, make: Callable[[int], T], count: int, coming: Future[T]
) -> Iterator[T]:
    for number in range(1, count):
        made, coming = coming, helper.submit(make, number)
        yield made.result()
    yield coming.result()
