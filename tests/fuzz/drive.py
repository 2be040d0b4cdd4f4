"""Runs cases, watches time and memory, and prints how far they got."""

import signal
import sys
import tempfile
import time
import tracemalloc
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import accumulate
from pathlib import Path
from random import Random
from types import FrameType

from tests.fuzz import corpus
from tests.fuzz.layers import Layer
from tests.fuzz.mutate import mutate
from tests.fuzz.targets import TARGETS, Target

HANG_S = 10.0  # a case takes milliseconds; the machine may be shared
TRACED = 0.002  # share of the cases whose memory is measured
LONG_BYTES = 1 << 16  # measured always: longer than any cap
PROGRESS = 50_000
_SHOWN = 5
_ROWS = {
    Layer.HEADER: "header and version",
    Layer.TAG: "tag",
    Layer.CAP: "length cap",
    Layer.BODY: "body",
    Layer.CANONICAL: "canonical",
    Layer.HANDLED: "handled",
}


class Hang(BaseException):
    """A case took longer than ``HANG_S``; no handler of the package catches this."""


def allowance(target: Target, data: bytes) -> int:
    """Return how many bytes a case may allocate at its peak.

    Some objects per byte up to the cap, and nothing for what exceeds it; where the size
    follows from the fields, some words per byte.  In the other groups a whole client or
    server is built in each case.
    """
    if target.group != "decoders":
        return 2 << 20
    if target.capped:
        longest = 2 * max(map(len, target.bases))
        return (24 << 10) + 40 * min(len(data), longest)
    return (24 << 10) + 8 * len(data)


@dataclass
class Report:
    """What was found, and how far cases got."""

    engine: str
    seed: int
    reached: dict[str, Counter[Layer]] = field(default_factory=dict)
    crashes: list[str] = field(default_factory=list)
    hangs: list[str] = field(default_factory=list)
    heaviest: float = 0.0  # share of the allowance
    traced: int = 0
    started: float = field(default_factory=time.perf_counter)

    @property
    def cases(self) -> int:
        return sum(counts.total() for counts in self.reached.values()) + self.findings

    @property
    def findings(self) -> int:
        return len(self.crashes) + len(self.hangs)

    def passed(self, group: str, layer: Layer) -> int:
        """Return the cases of a group that passed a check."""
        counts = self.reached.get(group, Counter())
        return sum(count for got, count in counts.items() if got >= layer)

    def run(self, target: Target, data: bytes, *, traced: bool) -> None:
        """Run one case."""
        try:
            with _memory(traced) as peak:
                layer = target.run(data)
            if traced:
                self.traced += 1
                share = peak[0] / allowance(target, data)
                self.heaviest = max(self.heaviest, share)
                assert share <= 1, f"took {peak[0]} bytes for {len(data)}"
        except Hang:
            self.hangs.append(_finding(target, data, "hang"))
            return
        except Exception as error:
            self.crashes.append(_finding(target, data, repr(error)))
            return
        self.reached.setdefault(target.group, Counter())[layer] += 1

    def add(self, other: "Report") -> None:
        """Take over what another process found."""
        for group, counts in other.reached.items():
            self.reached.setdefault(group, Counter()).update(counts)
        self.crashes += other.crashes
        self.hangs += other.hangs
        self.heaviest = max(self.heaviest, other.heaviest)
        self.traced += other.traced

    def __str__(self) -> str:
        elapsed = time.perf_counter() - self.started
        groups = [g for g in ("decoders", "clients", "servers") if g in self.reached]
        lines = [
            f"{self.cases:,} cases, seed {self.seed}, engine {self.engine}, "
            f"{elapsed:.0f} s, {self.cases / elapsed:,.0f} cases/s",
            f"{'passed':<20}" + "".join(f"{group:>12}" for group in groups),
        ]
        totals = [self.passed(group, Layer.NOTHING) for group in groups]
        lines.append(f"{'cases':<20}" + "".join(f"{n:>12,}" for n in totals))
        for layer, name in _ROWS.items():
            cells = [
                "-"
                if (group, layer) == ("decoders", Layer.HANDLED)
                else f"{100 * self.passed(group, layer) / max(total, 1):.1f} %"
                for group, total in zip(groups, totals, strict=True)
            ]
            lines.append(f"{name:<20}" + "".join(f"{cell:>12}" for cell in cells))
        lines.append(
            f"{'memory':<20}{100 * self.heaviest:.0f} % of the allowance at "
            f"most, in {self.traced:,} cases measured"
        )
        lines.append(f"crashes {len(self.crashes)}, hangs {len(self.hangs)}")
        lines += [*self.crashes[:_SHOWN], *self.hangs[:_SHOWN]]
        return "\n".join(lines)


def _finding(target: Target, data: bytes, what: str) -> str:
    path = Path(tempfile.gettempdir()) / f"fuzz-{sha256(data).hexdigest()[:16]}.bin"
    path.write_bytes(data)
    return f"  {what[:500]}\n  --replay {target.name!r} {path}"


@contextmanager
def _memory(traced: bool) -> Iterator[list[int]]:
    """Measure the peak of what is allocated inside, if asked to."""
    peak = [0]
    if not traced:
        yield peak
        return
    tracemalloc.start()
    try:
        yield peak
        peak[0] = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@contextmanager
def alarmed() -> Iterator[None]:
    """Let ``signal.setitimer`` raise ``Hang``."""

    def ring(number: int, frame: FrameType | None) -> None:
        raise Hang

    before = signal.signal(signal.SIGALRM, ring)
    try:
        yield
    finally:
        disarm()
        signal.signal(signal.SIGALRM, before)


def arm() -> None:
    """Start the time of a case."""
    signal.setitimer(signal.ITIMER_REAL, HANG_S)


def disarm() -> None:
    """Stop it."""
    signal.setitimer(signal.ITIMER_REAL, 0)


def mutational(cases: int, seed: int) -> Report:
    """Damage valid messages at random, without any guidance; Ctrl-C ends it early."""
    report = Report("mutate", seed)
    rng = Random(seed)
    weights = list(accumulate(target.weight for target in TARGETS))
    for target in TARGETS:  # what is lazy in libraries is not charged to a case
        with suppress(Exception):
            target.run(target.bases[0])
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with alarmed(), corpus.remembered_graphs(), suppress(KeyboardInterrupt):
        for number in range(cases):
            if number and number % PROGRESS == 0:
                print(f"seed {seed}: {number:,} cases", file=sys.stderr, flush=True)
            (target,) = rng.choices(TARGETS, cum_weights=weights)
            data = mutate(rng, rng.choice(target.bases), corpus.EVERYTHING)
            traced = rng.random() < TRACED or len(data) > LONG_BYTES
            arm()
            report.run(target, data, traced=traced)
    return report


def shared_out(cases: int, seed: int, jobs: int) -> Report:
    """Run the cases in so many processes; each has a seed of its own."""
    if jobs == 1:
        return mutational(cases, seed)
    total = Report(f"mutate in {jobs} processes", seed)
    counts = [cases // jobs + (job < cases % jobs) for job in range(jobs)]
    seeds = [seed + 1_000_003 * job for job in range(jobs)]
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # each process ends itself
    with ProcessPoolExecutor(jobs) as pool:
        for report in pool.map(mutational, counts, seeds):
            total.add(report)
    return total
