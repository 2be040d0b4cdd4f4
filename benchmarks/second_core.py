"""What a second core gains: the cipher by itself, addition by itself, the masks.

The first two are two threads that share nothing but the interpreter, whose lock they
give back for each call. Masks cannot gain more than both do; what both gain is up to
the machine, whose cores may share units, caches and power. One thread and two take
turns; gains are ratios of wall time, so they hold on a machine that is idle otherwise.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from threading import Barrier, Thread

import numpy as np

from secagg.ciphers import SEGMENT_BYTES, SLACK_BYTES, arguments, open_stream
from secagg.streams import SignedKey, add_streams
from secagg.usage import AES_256_CTR

_LARGE = 1 << 20
_KEY = bytes(range(32))

_Work = Callable[[], None]


def gains(
    keys: Sequence[SignedKey], length: int, repeats: int
) -> dict[str, list[float]]:
    """Return how many times as much two threads do as one, by figure and repeat.

    Args:
        keys: Of the masks.
        length: Words of 32 bits.
        repeats: How often one thread and two take turns.
    """
    words = np.zeros(length, dtype="<u4")
    size = words.nbytes * len(keys)

    def alone(make: Callable[[int, int], _Work], block: int) -> float:
        one, two = ([make(block, size) for _ in range(n)] for n in (1, 2))
        return 2 * _wall_s(one) / _wall_s(two)

    def masks(threads: int) -> float:
        add_streams(words, keys, threads=threads)  # as the others: not from cold
        began = time.perf_counter()
        add_streams(words, keys, threads=threads)
        return time.perf_counter() - began

    kinds: dict[str, Callable[[], float]] = {
        "cipher_gain_2_cores": lambda: alone(_cipher, SEGMENT_BYTES),
        "cipher_gain_2_cores_1024_kib": lambda: alone(_cipher, _LARGE),
        "addition_gain_2_cores": lambda: alone(_addition, SEGMENT_BYTES),
        "mask_gain_2_cores": lambda: masks(1) / masks(2),
    }
    found: dict[str, list[float]] = {name: [] for name in kinds}
    for _ in range(repeats):
        for name, gain in kinds.items():
            found[name].append(gain())
    return found


def _cipher(block: int, total: int) -> _Work:
    """Return what calls the kernel's cipher as the kernel does, and adds nothing."""
    write = open_stream(AES_256_CTR, _KEY, 0)
    target = memoryview(bytearray(block + SLACK_BYTES))
    call = arguments(AES_256_CTR, 0, memoryview(bytes(block)), target)

    def work() -> None:
        for _ in range(max(1, total // block)):
            write(*call)

    return work


def _addition(block: int, total: int) -> _Work:
    """Return what adds one block to another, both in the cache."""
    into = np.zeros(block // 8, dtype="<u8")
    other = np.ones_like(into)

    def work() -> None:
        for _ in range(max(1, total // block)):
            np.add(into, other, out=into)

    return work


def _wall_s(works: Sequence[_Work]) -> float:
    """Return how long it takes to do all of them, each in a thread of its own."""
    ready = Barrier(len(works) + 1)

    def begin(work: _Work) -> None:
        work()  # its memory comes in, and the clock of its core goes up
        ready.wait()
        work()

    helpers = [Thread(target=begin, args=(work,)) for work in works]
    for helper in helpers:
        helper.start()
    ready.wait()
    began = time.perf_counter()
    for helper in helpers:
        helper.join()
    return time.perf_counter() - began
