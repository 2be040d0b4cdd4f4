"""Plant each bug of the table, run its tests, and say how many were found.

``python -m tests.mutation [--only NAME ...] [--list] [--json OUT] [--jobs N]`` works on
a copy of the tree.  Exit status: 0 if at least 95 % of the mutants are killed, 1 if
fewer are or the table is stale, 2 if the tests fail without any mutant, or on bad
arguments.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from queue import SimpleQueue
from typing import Final

from tests.mutation.mutant import Bug, Mutant
from tests.mutation.table import MUTANTS
from tests.mutation.workshop import Fate, Trial, Workshop

GOAL: Final = 0.95
LIMIT_S: Final = 120.0
_DEAD: Final = (Fate.KILLED, Fate.TIMED_OUT)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status."""
    given = _parser().parse_args(arguments)
    unknown = set(given.only or ()) - {one.name for one in MUTANTS}
    if unknown:
        print(f"no mutant is named {', '.join(sorted(unknown))}; see --list.")
        return 2
    chosen = [one for one in MUTANTS if not given.only or one.name in given.only]
    if given.list:
        for one in chosen:
            print(f"{one.name:<44} {'+'.join(sorted(one.files)):<26} {one.bug}")
        return 0
    with tempfile.TemporaryDirectory(prefix="blindsum-mutation-") as folder:
        shops = [
            Workshop(_made(Path(folder, str(job))), LIMIT_S)
            for job in range(min(given.jobs, len(chosen)))
        ]
        if not _pass_unchanged(shops[0], chosen):
            return 2
        trials = list(_tried(shops, chosen))
    if given.json:
        Path(given.json).write_text(json.dumps(_record(trials), indent=1) + "\n")
    return _report(trials, len(chosen))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.mutation")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="these mutants")
    parser.add_argument("--list", action="store_true", help="name them, run nothing")
    parser.add_argument("--json", metavar="OUT", help="write the results to a file")
    cores = min(2, os.cpu_count() or 1)
    parser.add_argument("--jobs", type=int, default=cores, help="processes at a time")
    return parser


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder.resolve()


def _pass_unchanged(shop: Workshop, chosen: Sequence[Mutant]) -> bool:
    """Run all tests on the unchanged copy: a test that fails anyway kills nothing."""
    shop.check_copy_is_tested()
    by_file: dict[str, set[str]] = {}
    for test in (test for one in chosen for test in one.tests):
        by_file.setdefault(test.partition("::")[0], set()).add(test)
    for file, tests in by_file.items():  # one by one: the limit is that of one mutant
        status, output = shop.test([file] if file in tests else sorted(tests))
        if status != 0:
            print(f"tests/secagg/{file} does not pass without a mutant:\n{output}")
            return False
    print(f"the tests of {len(by_file)} files pass without a mutant.", flush=True)
    return True


def _tried(shops: Sequence[Workshop], chosen: Sequence[Mutant]) -> Iterator[Trial]:
    """Try out mutants, each in whichever workshop is free; end early on Ctrl-C."""
    free = SimpleQueue[Workshop]()
    for shop in shops:
        free.put(shop)

    def try_out(one: Mutant) -> Trial:
        shop = free.get()
        try:
            return shop.try_out(one)
        finally:
            free.put(shop)

    with ThreadPoolExecutor(len(shops)) as pool:
        waiting = [pool.submit(try_out, one) for one in chosen]
        try:
            for done, future in enumerate(as_completed(waiting), start=1):
                trial = future.result()
                print(f"[{done}/{len(chosen)}] {_line(trial)}", flush=True)
                yield trial
        except KeyboardInterrupt:
            print("interrupted; what follows is what was done so far.")
            pool.shutdown(wait=False, cancel_futures=True)
            for shop in shops:
                shop.close()


def _line(trial: Trial) -> str:
    how = f" ({trial.reason[:150]})" if trial.reason else ""
    return f"{trial.fate:<10} {trial.seconds:5.1f} s  {trial.mutant.name}{how}"


def _record(trials: Sequence[Trial]) -> list[dict[str, object]]:
    return [
        {
            "name": trial.mutant.name,
            "bug": trial.mutant.bug,
            "files": sorted(trial.mutant.files),
            "consequence": trial.mutant.consequence,
            "fate": trial.fate,
            "reason": trial.reason,
            "seconds": round(trial.seconds, 2),
        }
        for trial in trials
    ]


def _report(trials: Sequence[Trial], wanted: int) -> int:
    """Print the table per class and the share that was killed; return the status."""
    cells = Counter((trial.mutant.bug, trial.fate) for trial in trials)
    print(f"\n{'planted bug':<50}" + "".join(f"{fate:>12}" for fate in Fate))
    for bug in Bug:
        row = [cells[bug, fate] for fate in Fate]
        if any(row):
            print(f"{bug:<50}" + "".join(f"{count:>12}" for count in row))
    totals = Counter(trial.fate for trial in trials)
    print(f"{'all':<50}" + "".join(f"{totals[fate]:>12}" for fate in Fate))
    for fate in (Fate.SURVIVED, Fate.INVALID):
        for trial in trials:
            if trial.fate is fate:
                why = trial.reason or trial.mutant.consequence
                print(f"{fate}: {trial.mutant.name}: {why}")
    dead = sum(totals[fate] for fate in _DEAD)
    counted = len(trials) - totals[Fate.EQUIVALENT] - totals[Fate.INVALID]
    share = dead / counted if counted else 0.0
    print(f"{dead} of {counted} mutants killed, {share:.1%}; the goal is {GOAL:.0%}.")
    whole = len(trials) == wanted and not totals[Fate.INVALID]
    return 0 if whole and share >= GOAL else 1


if __name__ == "__main__":
    sys.exit(main())
