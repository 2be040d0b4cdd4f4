"""Floats to ring words: how fast, and what a rotation before it buys.

*Speed*: 16-bit values for sums over 1000 clients of equal weight. Finite check, norm,
scale, rounding from a keystream, words of values and weight; the checksums, which need
the round's name and are added later, are timed apart. One thread; its own CPU time, so
that other processes take less away. Flower's `quantize`, unmodified, takes the same
vector; it draws from numpy's global generator and checks nothing.

*Error*: 8 clients, 2^20 values, 8 bits, every vector as long as the L2 clip. The flat
side gets the public range that gives it the least error, found afterwards by search,
and a float64 rounding of its own; the rotated side is the encoder as it is, which knows
the clip alone. Inputs: Student-t with 3 degrees of freedom; normal values in layers of
sizes up to 1 to 1000 with the same norm each; both together, which the figure is of. A
few spikes decide how well the flat side does, so figures are medians over five draws.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial

import numpy as np
from threadpoolctl import threadpool_limits

from benchmarks.masked_round import threads
from benchmarks.peers import flower_quantize
from benchmarks.peers.asking import MissingError
from secagg import encode
from secagg.encoder import Encoder

PEERS = ("flower",)
SIZES, QUICK = (1_000_000, 10_000_000), (1_000_000,)
VALUES, QUICK_VALUES = 1 << 20, 1 << 16
CLIENTS, SUMMED = 1000, 8
BITS, FEW_BITS = 16, 8
CONTEXT, ROUND = bytes(32), bytes(32)
KEY = bytes(range(32))
ENCODERS = {
    "plain": Encoder(value_bits=BITS, weight_max=1),
    "rotated": Encoder(value_bits=BITS, weight_max=1, rotate=True),
}


def measure(quick: bool, peers: Sequence[str] = PEERS) -> dict[str, float]:
    """Print both tables; return medians of speed, and ratios of errors."""
    with threadpool_limits(1):
        with threads(1):
            figures = _speeds(quick, peers)
        figures |= _gains(QUICK_VALUES if quick else VALUES, 1 if quick else 5)
    where = encode.layout(ENCODERS["plain"], clients=CLIENTS, length=SIZES[0])
    figures["upload_bytes_per_param"] = where.packed_bytes / SIZES[0]
    return figures


def _speeds(quick: bool, peers: Sequence[str]) -> dict[str, float]:
    figures: dict[str, float] = {}
    print(f"{'values':>10} {'what':<12}{'million a second (range)':>30}")
    for length in QUICK if quick else SIZES:
        vector = _vector(length)
        jobs = dict(_jobs(vector))
        if "flower" in peers:
            try:
                jobs["flower"] = flower_quantize.job(vector, bits=BITS)
            except MissingError as error:
                print(f"flower is missing: {error}")
        found = _alternate(jobs, repeats=3 if quick else 15)
        for name, seconds in found.items():
            rates = length / np.array(seconds) / 1e6
            middle = float(np.median(rates))
            spread = f"{middle:.1f} ({rates.min():.1f} to {rates.max():.1f})"
            print(f"{length:>10} {name:<12}{spread:>30}")
            if length == SIZES[0]:
                figures[f"million_params_per_second_{name}"] = middle
            else:
                figures[f"million_params_per_second_{name}_m{length}"] = middle
        if "flower" in found and length == SIZES[0]:
            ratios = np.array(found["flower"]) / np.array(found["plain"])
            figures["speedup_vs_flower_quantize"] = float(np.median(ratios))
    return figures


def _jobs(vector: np.ndarray) -> Iterator[tuple[str, Callable[[], object]]]:
    """Yield what is timed; each was seen to be right."""
    length = len(vector)
    for name, encoder in ENCODERS.items():
        where = encode.layout(encoder, clients=CLIENTS, length=length)
        given = (encoder, where, vector, 1)
        words = partial(encode.encode, *given, context=CONTEXT, key=KEY)
        done = words()
        encode.seal(where, done, ROUND, CONTEXT)
        out = encode.decode_sum(encoder, where, done, ROUND, CONTEXT, clients=1)
        gap = float(np.abs(out.mean - vector).max())
        if gap > out.max_error:
            raise RuntimeError(f"{name}: off by {gap}, more than {out.max_error}.")
        yield name, words
        if name == "plain":
            yield "checksums", partial(encode.seal, where, done, ROUND, CONTEXT)
            yield "packing", partial(where.ring.pack, done)


def _alternate(
    jobs: dict[str, Callable[[], object]], *, repeats: int
) -> dict[str, list[float]]:
    """Return CPU seconds of each job, taken in turns; the first turn warms up."""
    found: dict[str, list[float]] = {name: [] for name in jobs}
    for repeat in range(repeats + 1):
        for name, job in jobs.items():
            began = time.thread_time()
            job()
            if repeat:
                found[name].append(time.thread_time() - began)
    return found


def _gains(length: int, draws: int) -> dict[str, float]:
    """Print and return by how much a rotation makes the error smaller."""
    found: dict[str, list[float]] = {}
    cut = 0
    head = f"{'input':<10}{'flat, best range':>18}{'rotated':>12}"
    print(f"{head}{'gain (range over draws)':>28}")
    for seed in range(draws):
        for name, clients in _inputs(length, seed):
            exact = clients.mean(axis=0, dtype=np.float64)
            flat = _least_flat(clients, exact)
            rotated, beyond = _rotated(clients, exact)
            cut += beyond
            found.setdefault(name, []).append(flat / rotated)
            if seed == draws - 1:
                gains = np.array(found[name])
                spread = f"{np.median(gains):.2f} ({gains.min():.2f} to "
                spread += f"{gains.max():.2f})"
                print(f"{name:<10}{flat:>18.4f}{rotated:>12.4f}{spread:>28}")
    figures = {
        f"rotation_error_gain_8bit_{name}": float(np.median(gains))
        for name, gains in found.items()
    }
    figures["rotation_error_gain_8bit"] = figures["rotation_error_gain_8bit_both"]
    return figures | {"rotated_values_cut": float(cut)}


def _inputs(length: int, seed: int) -> Iterator[tuple[str, np.ndarray]]:
    """Yield clients' vectors, shape (SUMMED, length), each of norm 1."""
    rng = np.random.default_rng(seed)
    heavy = rng.standard_t(3, (SUMMED, length))
    even = rng.standard_normal((SUMMED, length))
    # 32 layers of sizes up to 1 to 1000, in random order; each has the same norm.
    parts = rng.permutation(np.geomspace(1, 1000, 32))
    ends = np.rint(np.cumsum(parts) / parts.sum() * length).astype(int)
    sizes = np.diff(ends, prepend=0)
    layers = np.repeat(sizes**-0.5, sizes)
    for name, values in (
        ("student", heavy),
        ("layers", even * layers),
        ("both", heavy * layers),
    ):
        unit = values / np.linalg.norm(values, axis=1, keepdims=True)
        yield name, unit.astype(np.float32)


def _least_flat(clients: np.ndarray, exact: np.ndarray) -> float:
    """Return the relative error with the range that gives the least, cut or not."""
    largest = float(np.abs(clients).max())
    rng, errors = np.random.default_rng(21), {}

    def error(octave: float) -> float:
        if octave not in errors:
            errors[octave] = _flat(clients, exact, largest * 2.0**-octave, rng)
        return errors[octave]

    best = min(range(6), key=error)
    for step in (0.5, 0.25):
        best = min((best - step, best, best + step), key=error)
    return error(best)


def _flat(
    clients: np.ndarray, exact: np.ndarray, bound: float, rng: np.random.Generator
) -> float:
    steps = (1 << (FEW_BITS - 1)) - 1
    total = np.zeros(len(exact))
    for vector in clients:
        scaled = np.clip(vector.astype(np.float64), -bound, bound) * (steps / bound)
        total += np.floor(scaled + rng.random(len(scaled)))
    return _relative(total * (bound / steps) / len(clients), exact)


def _rotated(clients: np.ndarray, exact: np.ndarray) -> tuple[float, int]:
    """Return the relative error of the encoder, and how many values it cut."""
    encoder = Encoder(clip_norm_l2=1.0, value_bits=FEW_BITS, weight_max=1, rotate=True)
    where = encode.layout(encoder, clients=SUMMED, length=len(exact))
    total, cut, scale = where.ring.zeros(where.words), 0, encoder.at(len(exact)).scale
    for i, vector in enumerate(clients):
        key = bytes([i]) * 32
        words = encode.encode(encoder, where, vector, 1, context=CONTEXT, key=key)
        turned = vector.copy()
        encode.rotation_of(encoder, len(exact), CONTEXT).apply(turned)
        cut += int((np.abs(turned) > (encoder.linf_bound - 0.5) / scale).sum())
        encode.seal(where, words, ROUND, CONTEXT)
        total += words
    out = encode.decode_sum(encoder, where, total, ROUND, CONTEXT, clients=SUMMED)
    return _relative(out.mean, exact), cut


def _relative(mean: np.ndarray, exact: np.ndarray) -> float:
    return float(np.linalg.norm(mean - exact) / np.linalg.norm(exact))


def _vector(length: int) -> np.ndarray:
    """Return a vector just inside the default clip norm, float32."""
    values = np.random.default_rng(0).standard_normal(length)
    clip = ENCODERS["plain"].clip_norm_l2
    return (values * (0.999 * clip / np.linalg.norm(values))).astype(np.float32)
