"""Encrypted sums beside what NVFlare does: bytes, and the time of clients and server.

A round is played by each side in turn, warm and one at a time, with equal vectors of
weight one; keys, contexts and tables are made outside the clock.  A time is CPU time of
all threads, a ratio that of neighbours in one run, a figure the median of such ratios.
Every mean is checked in the very round that was timed.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import product

import numpy as np

import secagg
from benchmarks.he_sides import SPREAD, VALUE_BITS, Approximate, Encrypted, played
from benchmarks.peers import nvflare_he
from benchmarks.peers.asking import MissingError
from benchmarks.peers.sealing import started
from benchmarks.sealed import LARGE, SMALL, Bill, Shapes, Work, parameters
from secagg.he import require_compact
from secagg.moduli import Scheme

Figures = dict[str, float]
Player = Callable[[Work], Bill]
PATH, FILTERS = "nvflare-path", "nvflare"
PEERS = (PATH, FILTERS)
MODULES = {
    PATH: "benchmarks.peers.nvflare_he_path",
    FILTERS: "benchmarks.peers.nvflare_he",
}
OURS: dict[str, Player] = {
    "ours": partial(played, make=Encrypted),
    "rotated": partial(played, make=partial(Encrypted, rotate=True)),
    "compact": partial(played, make=partial(Encrypted, scheme=Scheme.COMPACT)),
    "ckks": partial(played, make=Approximate),
}
SUFFIX = {
    "ours": "",
    "compact": "_compact",
    "rotated": "_rotated",
    "ckks": "_ckks",
    PATH: "",
    FILTERS: "_vs_nvflare_itself",
}
STEPS = ("up", "server", "down", "up and down")
SPEEDUPS = (
    ("client_speedup", "up"),
    ("server_speedup", "server"),
    ("client_speedup_down", "down"),
    ("client_speedup_up_and_down", "up and down"),
)
PEER_TOLERANCE = 2.0**-20  # of a mean: measured up to 2e-7

_NOTES = f"""\
up: from a client's float32 vector to the bytes of its message, ours with checks,
rounding, checksums, encryption, packing and a tag. server: from all bytes to those of
the sum. down: from these to the mean. wall: of one client and the server, one after the
other. error: of the mean; values have a standard deviation of {SPREAD}.
ours: BFV, {VALUE_BITS}-bit values, one thread. rotated: as many bits, finer by a
rotation before rounding. compact: under the secret key, half of each ciphertext as the
seed that it is drawn from. ckks: NVFlare's parameters, flat, in our frame; one thread.
nvflare-path: the calls that NVFlare makes, with our TenSEAL, one thread. nvflare: its
own components ({nvflare_he.REQUIREMENTS[0]}, with the TenSEAL that it asks for), on the
threads that it takes by default."""


@dataclass(frozen=True, slots=True)
class Size:
    """One comparison.

    Attributes:
        shapes: of the model's tensors.
        clients: inputs of the sum.
        distinct: clients that encrypt; the others' messages repeat theirs.
        repeats: rounds of each side.
        suffix: of its figures.
        ours: our sides.
    """

    shapes: Shapes
    clients: int
    distinct: int
    repeats: int
    suffix: str
    ours: tuple[str, ...] = tuple(OURS)


WARM = Size(SMALL[-4:], 2, 2, 1, "")
QUICK = Size(SMALL, 8, 2, 1, "_1m")
SIZES = (
    Size(LARGE, 8, 2, 2, "", ("ours", "compact")),
    Size(SMALL, 8, 2, 3, "_1m"),
    Size(SMALL, 100, 2, 1, "_1m_n100", ("ours", "compact")),
)


@dataclass(frozen=True, slots=True)
class Shot:
    """What one side took of one round.

    Attributes:
        cpu_s: of each of `STEPS`; up is a mean over the clients that encrypted.
        wall_s: of one client and the server.
        sent: bytes up, and down.
        error: of the mean.
    """

    cpu_s: tuple[float, ...]
    wall_s: float
    sent: tuple[int, int]
    error: float


def measure(quick: bool, peers: Sequence[str]) -> Figures:
    """Print the tables and return the figures.

    Raises:
        RuntimeError: somebody's mean is wrong.
    """
    if importlib.util.find_spec("tenseal") is None:
        print("no figure: TenSEAL is not installed (pip install 'blindsum[he]').")
        return {}
    figures: Figures = {}
    with _players(peers) as players:
        for size in (QUICK,) if quick else SIZES:
            figures |= _table(size, _alternate(players, size))
    print(_NOTES)
    return figures


@contextmanager
def _players(peers: Sequence[str]) -> Iterator[dict[str, Player]]:
    """Start the peers; those that cannot be are said to be missing."""
    with ExitStack() as stack:
        players: dict[str, Player] = {}
        for peer in peers:
            try:
                found = sys.executable if peer == PATH else nvflare_he.python()
            except MissingError as why:
                print(f"{peer}: no figure: {why}.")
                continue
            players[peer] = stack.enter_context(started(found, MODULES[peer]))
        ours = dict(OURS)
        try:
            require_compact()
        except secagg.ParameterError as why:
            print(f"compact: no figure: {why}")
            del ours["compact"]
        yield players | ours


def _alternate(players: dict[str, Player], size: Size) -> dict[str, list[Shot]]:
    """Let all play the same rounds in turn, after a small one to warm up."""
    rng = np.random.default_rng(0)
    names = [name for name in players if name in (*PEERS, *size.ours)]
    shots: dict[str, list[Shot]] = {name: [] for name in names}
    for number in range(size.repeats + 1):
        work = _work(rng, size if number else WARM)
        for name in list(shots):
            try:
                shot = _shot(work, players[name](work))
            except MissingError as why:
                print(f"{name}: no figure: {why}.")
                del players[name], shots[name]
                continue
            if name in MODULES and not shot.error <= PEER_TOLERANCE:
                raise RuntimeError(f"the mean of {name} is off by {shot.error}.")
            if number:
                shots[name].append(shot)
    return shots


def _work(rng: np.random.Generator, size: Size) -> Work:
    shape = (size.distinct, parameters(size.shapes))
    vectors = rng.standard_normal(shape, dtype=np.float32) * np.float32(SPREAD)
    return Work(shapes=size.shapes, vectors=vectors, clients=size.clients)


def _shot(work: Work, bill: Bill) -> Shot:
    up, server, down = bill.upload_s.mean(axis=0), bill.server_s, bill.download_s
    return Shot(
        cpu_s=tuple(float(step[0]) for step in (up, server, down, up + down)),
        wall_s=float(up[1] + server[1] + down[1]),
        sent=(bill.bytes_up, bill.bytes_down),
        error=float(np.abs(bill.mean - work.mean()).max()),
    )


def _table(size: Size, shots: dict[str, list[Shot]]) -> Figures:
    """Print what every side took and sent, and return ours beside each peer's."""
    length = parameters(size.shapes)
    print(
        f"{length} parameters in {len(size.shapes)} tensors, {size.clients} clients "
        f"({size.distinct} distinct): CPU seconds (range); bytes per parameter"
    )
    header = "".join(f"{step:>22}" for step in STEPS)
    print(f"{'':<13}{header}{'wall':>7}{'sent':>7}{'got':>7}{'error':>9}")
    cpu = {name: np.array([s.cpu_s for s in seen]) for name, seen in shots.items()}
    for name, seen in shots.items():
        cells = "".join(f"{_spread(values):>22}" for values in cpu[name].T)
        wall = np.median([shot.wall_s for shot in seen])
        sent, got = (each / length for each in seen[0].sent)
        error = max(shot.error for shot in seen)
        print(f"{name:<13}{cells}{wall:>7.1f}{sent:>7.2f}{got:>7.2f}{error:>9.1e}")
    figures: Figures = {}
    for ours, peer in product(OURS, PEERS):
        if not {ours, peer} <= shots.keys():
            continue
        faster = cpu[peer] / cpu[ours]
        smaller = shots[ours][0].sent[0] / shots[peer][0].sent[0]
        suffix = SUFFIX[ours] + SUFFIX[peer] + size.suffix
        print(f"  {ours} beside {peer}: {smaller:.3f} of the bytes up; faster by")
        figures["bytes_up_ratio" + suffix] = smaller
        for name, step in SPEEDUPS:
            values = faster[:, STEPS.index(step)]
            print(f"    {step:<12}{_spread(values):>24}")
            figures[name + suffix] = float(np.median(values))
    return figures


def _spread(values: np.ndarray) -> str:
    low, middle, high = values.min(), np.median(values), values.max()
    return f"{middle:.2f} ({low:.2f} to {high:.2f})"
