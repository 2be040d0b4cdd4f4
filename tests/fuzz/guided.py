"""The same cases, guided by the coverage of ``secagg`` (atheris, libFuzzer).

Atheris must see ``secagg`` as it is imported, so everything else is imported here.
Half of the mutations are libFuzzer's, half are those of ``mutate``.  The first byte of
an input chooses the target.
"""

import os
import sys
import tempfile
from bisect import bisect
from itertools import accumulate
from pathlib import Path
from random import Random
from types import ModuleType

import atheris

_SLOTS = 256


def run(cases: int, seed: int) -> int:
    """Run so many cases and end the process; libFuzzer does not return."""
    with atheris.instrument_imports(include=["secagg"]):
        from tests.fuzz import corpus, drive, mutate, targets

    report = drive.Report("atheris", seed)
    slots = _slots(targets)
    longest = max(map(len, corpus.EVERYTHING))

    def one_input(data: bytes) -> None:
        if report.cases >= cases:
            print(report, flush=True)
            os._exit(int(report.findings > 0))
        target = slots[data[0] if data else 0]
        body = data[1:]
        traced = report.cases % int(1 / drive.TRACED) == 0
        drive.arm()
        report.run(target, body, traced=traced)
        drive.disarm()

    def custom(data: bytes, max_size: int, seed: int) -> bytes:
        rng = Random(seed)
        slot = data[0] if data and rng.random() < 0.8 else rng.randrange(_SLOTS)
        if data and rng.random() < 0.5:
            return bytes([slot]) + atheris.Mutate(data[1:], max_size - 1)
        base = rng.choice(slots[slot].bases)
        made = mutate.mutate(rng, base, corpus.EVERYTHING)
        return bytes([slot]) + made[: max_size - 1]

    with tempfile.TemporaryDirectory() as folder, drive.alarmed():
        for i, data in enumerate(_seeds(targets)):
            (Path(folder) / f"{i:04d}").write_bytes(data)
        flags = {
            "seed": seed,
            "runs": -1,  # one_input counts and ends the process
            "max_len": 2 * longest,
            "len_control": 0,
            "print_final_stats": 0,
            "verbosity": 0,
        }
        arguments = [sys.argv[0], *(f"-{k}={v}" for k, v in flags.items()), folder]
        with corpus.remembered_graphs():
            atheris.Setup(arguments, one_input, custom_mutator=custom)
            atheris.Fuzz()
    return 1  # libFuzzer gave up before the cases were run


def _slots(targets: ModuleType) -> list:
    """Give each target one value of a byte, and the others by weight."""
    every = list(targets.TARGETS)
    ends = list(accumulate(target.weight for target in every))
    left = _SLOTS - len(every)
    middle = [(slot + 0.5) / left * ends[-1] for slot in range(left)]
    return every + [every[bisect(ends, at)] for at in middle]


def _seeds(targets: ModuleType) -> list[bytes]:
    """Return some valid messages for every target, behind its slot."""
    seeds = []
    for slot, target in enumerate(targets.TARGETS):
        first = list(dict.fromkeys(target.bases))[:20]
        seeds += [bytes([slot]) + data for data in first]
    return seeds
