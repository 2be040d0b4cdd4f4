"""One seed, many independent generators, each with a name.

Children are `numpy.random.SeedSequence(seed, spawn_key=...)` whose spawn key is the
SHA-256 of the name, so adding a consumer never shifts the draws of another. This is
for simulation and experiments; it makes no key, mask or noise of a deployment.
"""

from __future__ import annotations

import hashlib

import numpy as np


def rng_for(seed: int, *names: str | int) -> np.random.Generator:
    """Return the generator that belongs to these names under this seed.

    Equal arguments give equal streams on every machine; different names give
    statistically independent ones.

    Args:
        seed: the experiment's seed, >= 0.
        names: what the draws are for, e.g. `("train", round_number, client)`.
    """
    return np.random.Generator(np.random.PCG64(_child(seed, names)))


def seed_for(seed: int, *names: str | int) -> int:
    """Return the 63-bit seed that belongs to these names under this seed."""
    return int(_child(seed, names).generate_state(1, np.uint64)[0] >> np.uint64(1))


def bytes_for(seed: int, *names: str | int) -> bytes:
    """Return a 32-byte seed for secagg's simulated randomness and session names."""
    return _child(seed, names).generate_state(8, np.uint32).astype("<u4").tobytes()


def _child(seed: int, names: tuple[str | int, ...]) -> np.random.SeedSequence:
    # The length prefix keeps ("ab", "c") and ("a", "bc") apart; the type mark keeps
    # 1 and "1" apart.
    digest = hashlib.sha256()
    for name in names:
        raw = f"{type(name).__name__}:{name}".encode()
        digest.update(len(raw).to_bytes(4, "big") + raw)
    words = np.frombuffer(digest.digest(), dtype=">u4")
    return np.random.SeedSequence(seed, spawn_key=tuple(int(word) for word in words))
