"""Where mutants are made and tested: a copy of the tree, one bug at a time in it.

The tests run in a process of their own, on the copy only.  Whatever was compiled of a
file is deleted whenever the file changes: two mutants may have one size and one time,
which is all that Python compares.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

from tests.mutation.mutant import Mutant, StaleError

ROOT: Final = Path(__file__).resolve().parent.parent.parent
_COPIED: Final = ("secagg", "tests", "examples")
# Plugins that nobody asked for take longer to load than most of the tests to run; and
# one seed for all property tests, so that a run can be repeated.
_ENVIRONMENT: Final = {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "COLUMNS": "240"}
_OPTIONS: Final = (
    "-x -q --tb=no -rfE -p no:cacheprovider -p _hypothesis_pytestplugin "
    "--hypothesis-seed=0 --deselect tests/secagg/test_round.py::"
    "test_every_single_and_double_dropout_with_four_neighbours"  # as long as the rest
).split()
_FAILED: Final = re.compile(
    r"^(?:FAILED|ERROR) \S*/(\S+?\.py(?:::.*?)?)(?: - (.*))?$", re.M
)


class Fate(StrEnum):
    """What became of a mutant."""

    KILLED = "killed"
    TIMED_OUT = "timed out"
    SURVIVED = "survived"
    EQUIVALENT = "equivalent"
    INVALID = "invalid"


@dataclass(frozen=True, slots=True)
class Trial:
    """One mutant, run.

    Attributes:
        mutant: Which.
        fate: What became of it.
        reason: The test that failed and its error, or why the entry is invalid.
        seconds: How long it took.
    """

    mutant: Mutant
    fate: Fate
    reason: str
    seconds: float


class Workshop:
    """A copy of the tree.

    Args:
        folder: An empty folder for the copy.
        limit_s: Seconds after which the tests of one mutant are ended.
    """

    def __init__(self, folder: Path, limit_s: float) -> None:
        self._folder = folder
        self._limit_s = limit_s
        self._process: subprocess.Popen[str] | None = None
        self._closed = False
        for name in _COPIED:
            without = shutil.ignore_patterns("__pycache__", "*.pyc")
            shutil.copytree(ROOT / name, folder / name, ignore=without)
        shutil.copy(ROOT / "pyproject.toml", folder)

    def check_copy_is_tested(self) -> None:
        """See to it that the tests import the copy.

        Raises:
            RuntimeError: They import another ``secagg``; every mutant would survive.
        """
        code = "import secagg; print(secagg.__file__)"
        _, found = self._run([sys.executable, "-c", code])
        if not Path(found.strip()).is_relative_to(self._folder):
            raise RuntimeError(f"the tests would import {found.strip()}, not the copy.")

    def test(self, tests: Iterable[str]) -> tuple[int | None, str]:
        """Run tests; return pytest's exit status (None: time was up) and its output."""
        names = [f"tests/secagg/{test}" for test in tests]
        command = [sys.executable, "-m", "pytest", *_OPTIONS, "-m", "not slow", *names]
        return self._run(command)

    def try_out(self, mutant: Mutant) -> Trial:
        """Plant the bug, run its tests, and take it out again."""
        began = time.monotonic()
        paths = {file: self._folder / "secagg" / file for file in mutant.files}
        sources = {file: path.read_text() for file, path in paths.items()}
        try:
            changed = mutant.applied(sources)
        except StaleError as error:
            return Trial(mutant, Fate.INVALID, str(error), 0.0)
        try:
            for file, text in changed.items():
                _write(paths[file], text)
            status, output = self.test(mutant.tests)
        finally:
            for file, text in sources.items():
                _write(paths[file], text)
        fate, reason = judge(mutant, status, output)
        return Trial(mutant, fate, reason, time.monotonic() - began)

    def close(self) -> None:
        """End the tests that run."""
        self._closed = True
        if self._process is not None:
            _end(self._process)

    def _run(self, command: list[str]) -> tuple[int | None, str]:
        env = os.environ | _ENVIRONMENT | {"PYTHONPATH": str(self._folder)}
        process = subprocess.Popen(
            command,
            cwd=self._folder,
            env=env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,  # Ctrl-C is for us, and must not pass for a kill
        )
        self._process = process
        if self._closed:
            _end(process)
        try:
            output, _ = process.communicate(timeout=self._limit_s)
        except subprocess.TimeoutExpired:
            _end(process)
            output, _ = process.communicate()
            return None, output
        return process.returncode, output


def judge(mutant: Mutant, status: int | None, output: str) -> tuple[Fate, str]:
    """Read pytest's exit status: 0 passed, 1 a test failed, 2 an import failed."""
    found = _FAILED.search(output)
    reason = ": ".join(part for part in found.groups() if part) if found else ""
    if status is None:
        fate = Fate.TIMED_OUT
    elif status == 0:
        fate = Fate.EQUIVALENT if mutant.equivalent else Fate.SURVIVED
    elif status in (1, 2) and found:
        fate = Fate.KILLED
    else:
        last = output.strip().splitlines()[-1:]
        return Fate.INVALID, f"pytest ended with status {status}: {''.join(last)}"
    if mutant.equivalent and fate is not Fate.EQUIVALENT:
        return Fate.INVALID, f"called equivalent, but was {fate}: {reason}"
    return fate, reason


def _write(path: Path, text: str) -> None:
    path.write_text(text)
    for compiled in (path.parent / "__pycache__").glob(f"{path.stem}.*.pyc"):
        compiled.unlink()


def _end(process: subprocess.Popen[str]) -> None:
    """Kill a process and whatever it started."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
