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
from benchmarks.masked_round import threads
from benchmarks.peers import nvflare_he, nvflare_he_path
from benchmarks.peers.asking import MissingError
from benchmarks.peers.sealing import started
from benchmarks.sealed import LARGE, SMALL, Bill, Shapes, Work, parameters, play
from secagg import encode
from secagg.ciphertext import Frame
from secagg.he import Channel, EncryptedSummer, KeyHolder
from secagg.he.inputs import Round, check_offer
from secagg.keys import Secret
from secagg.moduli import Scheme
from secagg.ring import RingVector

Figures = dict[str, float]
Player = Callable[[Work], Bill]
PATH, FILTERS = "nvflare-path", "nvflare"
PEERS = (PATH, FILTERS)
MODULES = {
    PATH: "benchmarks.peers.nvflare_he_path",
    FILTERS: "benchmarks.peers.nvflare_he",
}
VALUE_BITS, REPEATS = 16, 2
SPREAD = 0.05  # standard deviation of a value
CKKS_TOLERANCE = 2.0**-20  # of a mean: measured up to 2e-7
CONTEXT, SESSION = secagg.context(b"benchmark"), b"benchmark"

_NOTES = f"""\
up: from a client's float32 vector to the bytes of its message, ours with checks,
rounding to {VALUE_BITS} bits, checksums, encryption and packing. server: from all bytes
to the bytes of the sum. down: from these to the mean. nvflare-path: the calls that
NVFlare makes, with our TenSEAL, on {nvflare_he_path.THREADS} thread; nvflare: its own
components ({nvflare_he.REQUIREMENTS[0]}, with the TenSEAL that it asks for) on its
default threads. Ours runs on 1 thread. rotated: finer values of as many bits, by a
rotation before rounding."""


@dataclass(frozen=True, slots=True)
class Size:
    """One comparison.

    Attributes:
        shapes: of the model's tensors.
        clients: inputs of the sum.
        distinct: clients that encrypt; the others' messages repeat theirs.
        suffix: of its figures.
    """

    shapes: Shapes
    clients: int
    distinct: int
    suffix: str


WARM = Size(SMALL[-4:], 2, 2, "")
QUICK = Size(SMALL, 8, 2, "_1m")
SIZES = (
    Size(LARGE, 8, 2, ""),
    QUICK,
    Size(SMALL, 100, 2, "_1m_n100"),
)


class Encrypted:
    """One round of ``EncryptedSum``, step by step.

    Args:
        work: to sum.
        rotate: spread the values before they are rounded.
        scheme: of encryption.
    """

    def __init__(
        self, work: Work, *, rotate: bool = False, scheme: Scheme = Scheme.PUBLIC
    ) -> None:
        self._work = work
        length = parameters(work.shapes)
        encoder = secagg.Encoder(
            value_bits=VALUE_BITS,
            weight_max=1,
            clip_norm_l2=1.2 * SPREAD * length**0.5,
            rotate=rotate,
        )
        self._frame = Frame(encoder, work.clients, length, scheme)
        self._round = Round(self._frame, SESSION, CONTEXT, None)
        self._holder = KeyHolder(self._frame)
        # Messages that several clients send are tagged once, for the one who made them.
        made = [Channel.generate("made") for _ in work.vectors]
        self._channels = {f"site-{i}": made[i % len(made)] for i in range(work.clients)}
        self._server = EncryptedSummer(
            self._frame, session=SESSION, context=CONTEXT, channels=self._channels
        )
        self._rounding: list[Secret] = []

    def ready(self, number: int, vector: np.ndarray) -> Callable[[], bytes]:
        """Return what checks, encodes, encrypts and packs; its key is at hand."""
        name = f"site-{number}"
        made = self._round.prepare(self._holder, name, self._channels[name])
        self._rounding.append(made.rounding)
        return lambda: self._round.upload(
            made, check_offer(self._frame, name, vector, 1)
        )

    def add(self, number: int, data: bytes) -> None:
        """Add one more client's message."""
        self._server.add(f"site-{number}", data)

    def total(self) -> bytes:
        """Return the encrypted sum."""
        return self._server.total()

    def open(self, data: bytes) -> np.ndarray:
        """Decrypt and decode it."""
        channel = self._channels["site-0"]
        return self._round.open_total(self._holder, channel, data).mean

    def check(self, mean: np.ndarray) -> None:
        """Compare the mean with the very integers that the clients encrypted.

        Raises:
            RuntimeError: it is not exactly theirs, or not that of the vectors.
        """
        frame, total = self._frame, 0
        sealed = [self._words(i) for i in range(len(self._rounding))]
        for i in range(self._work.clients):
            total = total + sealed[i % len(sealed)]
        words = np.asarray(total, dtype=frame.where.ring.dtype)
        exact = encode.decode_sum(
            frame.encoder,
            frame.where,
            words,
            self._round.round_id,
            CONTEXT,
            clients=self._work.clients,
        )
        if not np.array_equal(mean, exact.mean):
            raise RuntimeError("our mean is not that of the encrypted integers.")
        gap = float(np.abs(mean - self._work.mean()).max())
        if not gap <= exact.max_error:
            raise RuntimeError(f"our mean is off by {gap}.")

    def _words(self, number: int) -> RingVector:
        where = self._frame.where
        words = encode.encode(
            self._frame.encoder,
            where,
            self._work.vectors[number],
            1,
            context=CONTEXT,
            key=self._rounding[number].expose(),
        )
        encode.seal(where, words, self._round.round_id, CONTEXT)
        return words


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
            bills = _alternate(players, size, 1 if quick else REPEATS)
            figures |= _table(size, bills)
    print(_NOTES)
    return figures


def _ours(work: Work, *, rotate: bool = False) -> Bill:
    side = Encrypted(work, rotate=rotate)
    with threads(1):
        bill = play(work, side)
    side.check(bill.mean)
    return bill


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
        yield players | OURS


def _alternate(
    players: dict[str, Player], size: Size, repeats: int
) -> dict[str, list[Bill]]:
    """Let all play the same rounds in turn; the first is a small one to warm up."""
    rng = np.random.default_rng(0)
    bills: dict[str, list[Bill]] = {name: [] for name in players}
    for number in range(repeats + 1):
        work = _work(rng, size if number else WARM)
        for name, player in list(players.items()):
            try:
                bill = player(work)
            except MissingError as why:
                print(f"{name}: no figure: {why}.")
                del players[name], bills[name]
                continue
            gap = float(np.abs(bill.mean - work.mean()).max())
            if name in MODULES and not gap <= CKKS_TOLERANCE:
                raise RuntimeError(f"the mean of {name} is off by {gap}.")
            if number:
                bills[name].append(bill)
    return bills


def _work(rng: np.random.Generator, size: Size) -> Work:
    shape = (size.distinct, parameters(size.shapes))
    vectors = rng.standard_normal(shape, dtype=np.float32) * np.float32(SPREAD)
    return Work(shapes=size.shapes, vectors=vectors, clients=size.clients)


def _table(size: Size, bills: dict[str, list[Bill]]) -> Figures:
    """Print what every side took and sent, and return ours beside each peer's."""
    length = parameters(size.shapes)
    print(
        f"{length} parameters in {len(size.shapes)} tensors, {size.clients} clients "
        f"({size.distinct} distinct): CPU seconds (range), wall "
        "seconds of one client and the server, bytes per parameter up and down"
    )
    header = ("up", "server", "down", "up and down")
    print(f"{'':<15}" + "".join(f"{h:>22}" for h in header) + f"{'wall':>7}  bytes")
    steps = {name: _steps(seen) for name, seen in bills.items()}
    for name, seen in bills.items():
        cells = (_spread(values) for values in steps[name].values())
        wall = np.median([_wall(bill) for bill in seen])
        sent = f"{seen[0].bytes_up / length:.2f}, {seen[0].bytes_down / length:.2f}"
        row = "".join(f"{cell:>22}" for cell in cells)
        print(f"{name:<15}{row}{wall:>7.1f}  {sent}")
    figures: Figures = {}
    for ours, peer in product(OURS, PEERS):
        if peer not in bills:
            continue
        print(f"  {ours} beside {peer}")
        down = bills[ours][0].bytes_up / bills[peer][0].bytes_up
        found = {"bytes_up_ratio": np.array([down])} | {
            name: steps[peer][step] / steps[ours][step] for name, step in SPEEDUPS
        }
        for name, values in found.items():
            print(f"    {name:<28}{_spread(values):>24}")
            figure = name + KINDS[ours] + KINDS[peer] + size.suffix
            figures[figure] = float(np.median(values))
    return figures


def _steps(bills: list[Bill]) -> dict[str, np.ndarray]:
    """Return the CPU seconds of each step by repeat; up is a mean over clients."""
    up = np.array([bill.upload_s[:, 0].mean() for bill in bills])
    down = np.array([bill.download_s[0] for bill in bills])
    server = np.array([bill.server_s[0] for bill in bills])
    return {"up": up, "server": server, "down": down, "whole": up + down}


def _wall(bill: Bill) -> float:
    """Return the wall time of one client and the server, one after the other."""
    times = (bill.upload_s.mean(axis=0), bill.server_s, bill.download_s)
    return float(sum(time[1] for time in times))


def _spread(values: np.ndarray) -> str:
    low, middle, high = values.min(), np.median(values), values.max()
    return f"{middle:.2f} ({low:.2f} to {high:.2f})"


OURS: dict[str, Player] = {"ours": _ours, "ours, rotated": partial(_ours, rotate=True)}
KINDS = {
    "ours": "",
    "ours, rotated": "_rotated",
    PATH: "",
    FILTERS: "_vs_nvflare_itself",
}
SPEEDUPS = (
    ("client_speedup", "up"),
    ("server_speedup", "server"),
    ("client_speedup_down", "down"),
    ("client_speedup_up_and_down", "whole"),
)
