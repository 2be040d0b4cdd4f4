"""How fast the library makes keystream, and how fast a block is added to another.

Nothing of ours is timed here but for `blockwise`, the kernel's loop with blocks of
another size. All of it runs on one thread and is timed by that thread's CPU time, which
does not count what others do meanwhile.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES, ChaCha20
from cryptography.hazmat.primitives.ciphers.modes import CTR, GCM

from secagg.ciphers import SLACK_BYTES, arguments, open_stream

BLOCKS = tuple(1 << bits for bits in range(14, 21))
_KEY = bytes(range(32))
MODES: dict[str, Callable[[], Cipher]] = {
    "ctr": lambda: Cipher(AES(_KEY), CTR(bytes(16))),
    "gcm": lambda: Cipher(AES(_KEY), GCM(bytes(12))),
    "chacha20": lambda: Cipher(ChaCha20(_KEY, bytes(16)), None),
}


def raw(mode: str, block: int, *, total: int) -> float:
    """Return GB/s of `update_into`, from zeros into one buffer of ``block`` bytes."""
    update_into = MODES[mode]().encryptor().update_into
    zeros, target = bytes(block), bytearray(block + SLACK_BYTES)
    update_into(zeros, target)
    count = max(1, total // block)
    began = time.thread_time()
    for _ in range(count):
        update_into(zeros, target)
    return count * block / (time.thread_time() - began) / 1e9


def best_raw(mode: str, *, total: int) -> float:
    """Return the rate of the best block size; each size gets a share of ``total``."""
    return max(raw(mode, block, total=total // len(BLOCKS)) for block in BLOCKS)


def addition(block: int, *, total: int) -> float:
    """Return GB/s at which one block is added to another, both in the cache."""
    into = np.zeros(block // 8, dtype="<u8")
    other = np.ones_like(into)
    count = total // block
    began = time.thread_time()
    for _ in range(count):
        np.add(into, other, out=into)
    return count * block / (time.thread_time() - began) / 1e9


def blockwise(cipher: str, block: int, *, keys: int, total: int) -> float:
    """Return GB/s of the kernel's loop with another block size.

    The blocks are those of no stream of ours if they are longer than a segment; the
    time is all that is asked for.
    """
    words = np.zeros(total // keys // 4, dtype="<u4")
    target = memoryview(bytearray(block + SLACK_BYTES))
    stream, zeros = np.frombuffer(target, "<u4", block // 4), memoryview(bytes(block))
    writes = [open_stream(cipher, bytes([i]) * 32, 0) for i in range(keys)]
    count = len(words) * 4 // block
    began = time.thread_time()
    for i in range(count):
        part = words[i * block // 4 : (i + 1) * block // 4]
        call = arguments(cipher, i, zeros, target)
        for write in writes:
            write(*call)
            np.add(part, stream, part)
    return count * block * keys / (time.thread_time() - began) / 1e9
