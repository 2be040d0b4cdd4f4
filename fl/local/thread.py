"""One thread for the arithmetic of small models.

Small models lose far more to the threads' meeting points than they gain, and the order
of a sum then depends on no machine's cores.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def one_thread() -> Iterator[None]:
    """Run torch in one thread inside; put its number of threads back after."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
