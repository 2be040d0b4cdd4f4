"""Repeatable uniform bytes for tests of samplers."""

from __future__ import annotations

import hashlib


class Stream:
    """Bytes of one long SHAKE-256 stream per call number; the same seed repeats."""

    def __init__(self, seed: str) -> None:
        self._seed = seed.encode()
        self._calls = 0

    def __call__(self, count: int) -> bytes:
        """Return the next `count` bytes."""
        self._calls += 1
        name = self._seed + b"/" + self._calls.to_bytes(8, "little")
        return hashlib.shake_256(name).digest(count)
