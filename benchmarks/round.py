"""One aggregation round: pairwise masks beside a plain sum of the same vectors.

All messages are real and every party runs in this one process, one after the other, so
the wall time is the sum of all clients' and the server's. No peer is measured here.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np

import secagg

SIZES = ((10, 5_000), (10, 100_000), (50, 5_000), (50, 100_000))
QUICK = ((10, 5_000),)


@dataclass(frozen=True, slots=True)
class _Shot:
    wall_s: float
    client_s: float
    server_s: float
    bytes_up: float
    mean: np.ndarray
    max_error: float


def measure(quick: bool) -> dict[str, float]:
    """Print the table and return the medians, named by clients and parameters."""
    figures: dict[str, float] = {}
    head = f"{'clients':>7} {'length':>8} {'':<8}{'wall ms (range)':>26}"
    print(f"{head}{'client ms':>11}{'server ms':>11}{'kB up':>9}")
    for clients, length in QUICK if quick else SIZES:
        for name, shots in _compare(clients, length, repeats=3 if quick else 7).items():
            wall = [shot.wall_s * 1e3 for shot in shots]
            client = float(np.median([shot.client_s for shot in shots])) * 1e3
            server = float(np.median([shot.server_s for shot in shots])) * 1e3
            kilobytes = shots[0].bytes_up / 1e3
            spread = f"{np.median(wall):.1f} ({min(wall):.1f} to {max(wall):.1f})"
            print(
                f"{clients:>7} {length:>8} {name:<8}{spread:>26}"
                f"{client:>11.3f}{server:>11.2f}{kilobytes:>9.1f}"
            )
            key = f"{name}_n{clients}_m{length}"
            figures[f"{key}_client_ms"] = client
            figures[f"{key}_server_ms"] = server
            figures[f"{key}_kb_up"] = kilobytes
    return figures


def _compare(clients: int, length: int, *, repeats: int) -> dict[str, list[_Shot]]:
    rng = np.random.default_rng(0)
    vectors = {
        f"client-{i:03d}": (rng.normal(size=length) / length**0.5).astype(np.float32)
        for i in range(clients)
    }
    plan = secagg.plan(clients=clients, corrupt=clients // 5, drop=clients // 5)
    both: dict[str, secagg.Aggregator] = {
        "plain": secagg.PlainSum(),
        "masked": secagg.PairwiseMask(plan),
    }
    shots: dict[str, list[_Shot]] = {name: [] for name in both}
    for repeat in range(repeats + 1):
        for name, aggregator in both.items():
            shot = _once(aggregator, vectors, repeat)
            if repeat:  # the first of each is a warm-up
                shots[name].append(shot)
        plain, masked = shots["plain"], shots["masked"]
        if masked:
            gap = float(np.abs(plain[-1].mean - masked[-1].mean).max())
            bound = plain[-1].max_error + masked[-1].max_error
            if gap > bound:
                raise RuntimeError(f"the means differ by {gap}, more than {bound}.")
    return shots


def _once(
    aggregator: secagg.Aggregator, vectors: dict[str, np.ndarray], repeat: int
) -> _Shot:
    began = time.perf_counter()
    out = aggregator.aggregate(
        vectors,
        dict.fromkeys(vectors, 100),
        context=secagg.context(b"benchmark"),
        session=f"benchmark/{repeat}".encode(),
    )
    return _Shot(
        wall_s=time.perf_counter() - began,
        client_s=out.client_cpu_s,
        server_s=out.server_cpu_s,
        bytes_up=float(np.mean(list(out.bytes_up.values()))),
        mean=out.mean,
        max_error=out.max_error,
    )
