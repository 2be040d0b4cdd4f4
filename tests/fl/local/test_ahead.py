"""What is made ahead: the same, in order, and its errors arrive."""

from __future__ import annotations

import threading

import pytest
import torch

from fl.local.ahead import ahead
from fl.local.thread import _threads


@pytest.mark.parametrize("count", [0, 1, 5])
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("beside", [False, True])
def test_everything_comes_in_its_order(count: int, threads: int, beside: bool) -> None:
    makers = set()

    def make(number: int) -> int:
        makers.add(threading.get_ident())
        return number * number

    with _threads(threads):
        with ahead(make, count, beside=beside) as coming:
            assert not beside or torch.get_num_threads() == 1 or not count
            assert list(coming) == [number * number for number in range(count)]
        assert torch.get_num_threads() == threads
    here = {threading.get_ident()} if count else set()
    assert (makers == here) is not (beside and threads > 1 and count > 0)


def test_one_that_cannot_be_made_is_an_error_where_it_is_used() -> None:
    def make(number: int) -> int:
        return 1 // (1 - number)

    with _threads(2), ahead(make, 3, beside=True) as coming:
        assert next(coming) == 1
        with pytest.raises(ZeroDivisionError):
            next(coming)


def test_the_first_is_begun_before_it_is_asked_for() -> None:
    begun = threading.Event()
    with _threads(2), ahead(lambda _: begun.set(), 1, beside=True):
        assert begun.wait(timeout=30)
