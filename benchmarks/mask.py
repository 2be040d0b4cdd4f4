"""Masking: what the cipher allows, what the kernel reaches, and Flower's SecAgg+.

What is compared takes turns in one run, after a warm-up; a ratio is that of neighbours
in time, a figure the median of such ratios. One-thread ratios are of CPU time, which
does not count what else the machine does; those of two threads are of wall time. The
client's step is a real client's `offer`, in a round whose mean is then checked. Keys
are at hand on both sides: no key agreement is timed.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np
from Crypto.Cipher import AES

from benchmarks import cipher_limit, second_core
from benchmarks.masked_round import (
    CLIENTS,
    Ready,
    Took,
    threads,
    timed,
    upload_bytes_per_parameter,
)
from benchmarks.peers import flower_masks
from benchmarks.peers.asking import MissingError
from secagg.ciphers import SEGMENT_BYTES
from secagg.streams import add_streams
from secagg.usage import AES_256_CTR, CHACHA20, CIPHERS

Figures = dict[str, float]
KEYS, PARAMETERS, QUICK_PARAMETERS = 32, 1_000_000, 200_000
RAW_BYTES = 1 << 26
SMALL_KEYS, SMALL_WORDS = 40, 10_000
WORD_BITS = (16, 32, 64)
PEERS = ("flower",)
_KEYS = [(bytes([i]) * 32, 1 if i % 2 else -1) for i in range(KEYS + 1)]

_NOTES = f"""\
fractions: keystream bytes per second of the kernel (one thread, {KEYS} keys) over the
best raw `update_into` rate of any block size, 16 KiB to 1 MiB. cipher: of AES-256-CTR,
by a CTR context. gcm: of the same bytes by a GCM context, which the kernel uses where
it is faster. chacha20: of ChaCha20.
gains: cipher and addition by themselves, two threads that share nothing but the
interpreter, in calls of a segment as the kernel makes them, and of 1 MiB.
step: from the vector to the bytes of the upload. Flower: multiply, quantise, factor,
{CLIENTS} masks, modulus, ndarray_to_bytes. Ours: `offer`, which also checks the vector,
derives {CLIENTS} keys, adds checksums and packs. prepared: after `prepare`."""


def measure(quick: bool, peers: Sequence[str]) -> Figures:
    """Print the tables and return the figures.

    Raises:
        RuntimeError: somebody computed something wrong.
    """
    length = QUICK_PARAMETERS if quick else PARAMETERS
    repeats = 3 if quick else 9
    _check_stream()
    figures = _limits(length, repeats)
    figures |= _words(length, repeats)
    figures |= _gains(length, repeats)
    figures |= _small(repeats)
    if "flower" in peers:
        figures |= _beside_flower(length, repeats)
    figures["upload_bytes_per_param"] = upload_bytes_per_parameter(1000, PARAMETERS)
    sent = figures["upload_bytes_per_param"]
    print(f"upload, 16-bit values, n = 1000: {sent:.3f} bytes per parameter")
    print(_NOTES)
    return figures


def _limits(length: int, repeats: int) -> Figures:
    """Raw rates, the kernel's, and the same loop with blocks of other sizes."""
    total = np.zeros(length, dtype="<u4")
    rows: dict[str, list[float]] = {}
    for _ in range(repeats):
        for mode in cipher_limit.MODES:
            best = cipher_limit.best_raw(mode, total=RAW_BYTES)
            rows.setdefault(f"raw_{mode}", []).append(best)
        for cipher in CIPHERS:
            rows.setdefault(cipher, []).append(_kernel(total, cipher, 1)[1])
        added = cipher_limit.addition(SEGMENT_BYTES, total=RAW_BYTES)
        rows.setdefault("addition", []).append(added)
    rate = {name: np.array(values) for name, values in rows.items()}
    print("one thread, GB/s of CPU time (range)")
    for name, values in rate.items():
        print(f"  {name:<14}{_spread(values, 2):>24}")
    ratios = {
        "fraction_of_cipher_limit": rate[AES_256_CTR] / rate["raw_ctr"],
        "fraction_of_gcm_limit": rate[AES_256_CTR] / rate["raw_gcm"],
        "fraction_of_chacha20_limit": rate[CHACHA20] / rate["raw_chacha20"],
    }
    for name, values in ratios.items():
        print(f"  {name:<28}{_spread(values, 2):>22}")
    scan = {
        block: [
            cipher_limit.blockwise(cipher, block, keys=KEYS, total=2 * RAW_BYTES)
            for cipher in CIPHERS
        ]
        for block in cipher_limit.BLOCKS
    }
    print("  the kernel's loop by block size, KiB: GB/s with", " and ".join(CIPHERS))
    for block, found in scan.items():
        print(f"  {block >> 10:>6}: {found[0]:.2f} {found[1]:.2f}")
    return (
        {name: _middle(values) for name, values in ratios.items()}
        | {f"gb_per_s_{name}": _middle(values) for name, values in rate.items()}
        | {f"gb_per_s_block_{block >> 10}_kib": f[0] for block, f in scan.items()}
    )


def _words(length: int, repeats: int) -> Figures:
    """Words of 16, 32 and 64 bits on one thread and two."""
    figures: Figures = {}
    print(f"{KEYS} keys, {length} words: GB/s of wall time (CPU seconds / wall)")
    for cipher in CIPHERS:
        for bits in WORD_BITS:
            total = np.zeros(length, dtype=f"<u{bits // 8}")
            shots = {count: [] for count in (1, 2)}
            for _ in range(max(3, repeats // 2)):
                for count, seen in shots.items():
                    seen.append(_kernel(total, cipher, count))
            cells = []
            for count, seen in shots.items():
                wall, busy, _ = np.median(np.array(seen), axis=0)
                cells.append(f"{count}: {wall:.2f} ({wall / busy:.2f})")
                figures[f"gb_per_s_{cipher}_{bits}_bits_{count}_threads"] = float(wall)
            print(f"  {cipher:<12}{bits:>3} bits   threads {'   '.join(cells)}")
    return figures


def _gains(length: int, repeats: int) -> Figures:
    found = second_core.gains(_KEYS[:KEYS], length, 2 * repeats)
    rate = {name: np.array(values) for name, values in found.items()}
    print("times as much on two threads as on one, by wall time (range)")
    for name, values in rate.items():
        print(f"  {name:<30}{_spread(values, 2):>22}")
    return {name: _middle(values) for name, values in rate.items()}


def _small(repeats: int) -> Figures:
    """Cost of a key with a small vector, as 10,000 clients in one process have it."""
    total = np.zeros(SMALL_WORDS, dtype="<u4")
    keys = [(bytes([i]) * 32, 1) for i in range(SMALL_KEYS)]
    figures: Figures = {}
    for cipher in CIPHERS:
        took = []
        for _ in range(20 * repeats):
            began = time.thread_time()
            add_streams(total, keys, cipher=cipher, threads=1)
            took.append(time.thread_time() - began)
        each = np.array(took) / SMALL_KEYS * 1e6
        print(f"{SMALL_WORDS} words, {cipher}: {_spread(each, 2)} us of CPU a key")
        figures[f"us_per_key_{SMALL_WORDS}_words_{cipher}"] = _middle(each)
    return figures


def _beside_flower(length: int, repeats: int) -> Figures:
    try:
        flower_masks.check()
    except MissingError as why:
        print(f"flower: no figure: {why}.")
        return {}
    vector = np.random.default_rng(2).normal(size=length).astype(np.float32)
    sent = _check_flower(vector)
    words, whole = np.zeros(length, dtype="<u4"), np.zeros(length, dtype=np.int32)
    ready = Ready(length, AES_256_CTR)
    shots: dict[str, list[Took]] = {}

    def note(name: str, took: Took) -> None:
        shots.setdefault(name, []).append(took)

    for _ in range(repeats):
        note("flower mask", timed(lambda: flower_masks.mask([whole], _KEYS)))
        note("mask", timed(lambda: add_streams(words, _KEYS, threads=1)))
        note("flower step", timed(lambda: flower_masks.client_step(vector, _KEYS)))
        with threads(1):
            note("step", ready.offer())
            note("prepare", ready.prepare())
            note("prepared", ready.offer())
        with threads(2):
            note("step, 2 threads", ready.offer())
    ready.finish()
    return _against(shots) | {"flower_upload_bytes_per_param": sent / length}


def _against(shots: dict[str, list[Took]]) -> Figures:
    cpu = {name: np.array([one.cpu_s for one in seen]) for name, seen in shots.items()}
    wall = {
        name: np.array([one.wall_s for one in seen]) for name, seen in shots.items()
    }
    print(f"{'ms (range)':<18}{'CPU':>24}{'wall':>24}")
    for name in shots:
        cells = (_spread(kind[name] * 1e3, 1) for kind in (cpu, wall))
        print(f"{name:<18}" + "".join(f"{cell:>24}" for cell in cells))
    ratios = {
        "speedup_vs_flower_mask": cpu["flower mask"] / cpu["mask"],
        "speedup_vs_flower_client_step": cpu["flower step"] / cpu["step"],
        "speedup_vs_flower_client_step_wall": wall["flower step"] / wall["step"],
        "speedup_vs_flower_client_step_2_cores": (
            wall["flower step"] / wall["step, 2 threads"]
        ),
        "speedup_vs_flower_client_step_prepared": cpu["flower step"] / cpu["prepared"],
    }
    for name, values in ratios.items():
        print(f"  {name:<42}{_spread(values, 1):>22}")
    return {name: _middle(values) for name, values in ratios.items()} | {
        f"{name.replace(', ', '_').replace(' ', '_')}_cpu_ms": _middle(seen) * 1e3
        for name, seen in cpu.items()
    }


def _kernel(total: np.ndarray, cipher: str, count: int) -> tuple[float, float, float]:
    """Return GB/s of keystream by wall and by CPU time, and the wall time."""
    keys = _KEYS[:KEYS]
    took = timed(lambda: add_streams(total, keys, cipher=cipher, threads=count))
    size = total.nbytes * KEYS / 1e9
    return size / took.wall_s, size / took.cpu_s, took.wall_s


def _check_stream() -> None:
    """Compare the start of a stream with another implementation."""
    total = np.zeros(SEGMENT_BYTES // 4 + 9, dtype="<u4")
    add_streams(total, [(bytes(32), 1)])
    expected = b"".join(
        AES.new(
            bytes(32),
            AES.MODE_CTR,
            nonce=segment.to_bytes(12, "big"),
            initial_value=2,
        ).encrypt(bytes(SEGMENT_BYTES))
        for segment in range(2)
    )
    if total.tobytes() != expected[: total.nbytes]:
        raise RuntimeError("the kernel's stream is not AES-256-CTR's.")


def _check_flower(vector: np.ndarray) -> int:
    """Take the masks off one upload of Flower's; return its bytes."""
    sent = flower_masks.client_step(vector, _KEYS)
    gap = float(np.abs(flower_masks.unmasked(sent, _KEYS) - vector).max())
    if not gap <= 2 * flower_masks.CLIP / flower_masks.TARGET:
        raise RuntimeError(f"Flower's upload, unmasked, is off by {gap}.")
    return sum(map(len, sent))


def _middle(values: np.ndarray) -> float:
    return float(np.median(values))


def _spread(values: np.ndarray, digits: int) -> str:
    low, middle, high = values.min(), np.median(values), values.max()
    return f"{middle:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"
