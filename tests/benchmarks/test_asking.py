"""A peer's process: what it answers, and how it fails in one sentence."""

from __future__ import annotations

import os
import select
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from benchmarks import digits
from benchmarks.peers import environment
from benchmarks.peers.asking import MissingError, asking

ECHO = """
from benchmarks.peers.asking import answer
from benchmarks.work import Rounds, load_work
def run(path, rounds):
    print("noise")
    work = load_work(path)
    return Rounds(ms=work.rows[:rounds, 0, 0] + 0.5, first=work.before, last=work.y)
answer(run)
"""


def python(code: str) -> list[str]:
    return [sys.executable, "-P", "-c", code]


def test_a_peer_answers_one_workload_after_the_other_whatever_it_prints() -> None:
    with asking(python(ECHO)) as ask:
        for net in ("mlp", "cnn"):
            work = digits.work(net, 1)
            rounds = ask(work, 4)
            assert np.array_equal(rounds.ms, work.rows[:4, 0, 0] + 0.5)
            assert np.array_equal(rounds.first, work.before)


def test_a_peer_that_crashes_is_quoted() -> None:
    crash = "import sys; sys.stdin.readline(); raise ValueError('no such client')"
    with asking(python(crash)) as ask, pytest.raises(MissingError) as caught:
        ask(digits.work("mlp", 1), 1)
    assert str(caught.value) == "it failed: ValueError: no such client"


def test_a_peer_that_ends_without_a_word_is_said_to_have_failed() -> None:
    with asking(python("")) as ask, pytest.raises(MissingError, match="it failed"):
        ask(digits.work("mlp", 1), 1)


def test_a_peer_that_hangs_is_ended_with_all_it_started(tmp_path: Path) -> None:
    # The peer's own child holds the writing end of a pipe for as long as it lives.
    pipe = tmp_path / "alive"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    child = f"import time; f = open({str(pipe)!r}, 'w'); print('x', file=f, flush=True)"
    hang = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}"
    hang += " + '; time.sleep(600)'])"
    with asking(python(hang), limit_s=4) as ask, pytest.raises(MissingError) as caught:
        ask(digits.work("mlp", 1), 1)
    assert str(caught.value) == "no answer within 4 s"
    try:
        assert os.read(reader, 9) == b"x\n"
        ready, _, _ = select.select([reader], [], [], 10)
        assert ready and os.read(reader, 9) == b""
    finally:
        os.close(reader)


@pytest.fixture
def wheel(tmp_path: Path) -> Path:
    """A package that no registry has to be asked for."""
    path = tmp_path / "tinypeer-1.0-py3-none-any.whl"
    about = "tinypeer-1.0.dist-info"
    files = {
        "tinypeer.py": "ANSWER = 42\n",
        f"{about}/METADATA": "Metadata-Version: 2.1\nName: tinypeer\nVersion: 1.0\n",
        f"{about}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\n"
        "Root-Is-Purelib: true\nTag: py3-none-any\n",
        f"{about}/RECORD": "",
    }
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return path


def test_an_environment_has_its_own_packages_and_ours_and_is_made_once(
    wheel: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(environment, "ROOT", tmp_path)
    made = environment.python_of("tiny", ["--no-index", str(wheel)])
    code = "import tinypeer, numpy; print(tinypeer.ANSWER, numpy.__version__)"
    done = subprocess.run([made, "-c", code], capture_output=True, text=True)
    assert done.stdout.split() == ["42", np.__version__]
    before = os.stat(made, follow_symlinks=False).st_mtime_ns
    assert environment.python_of("tiny", ["--no-index", str(wheel)]) == made
    assert os.stat(made, follow_symlinks=False).st_mtime_ns == before
    environment.python_of("tiny", ["--no-index", "--no-deps", str(wheel)])
    assert os.stat(made, follow_symlinks=False).st_mtime_ns > before


def test_an_environment_that_cannot_be_made_says_why_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(environment, "ROOT", tmp_path)
    with pytest.raises(MissingError, match=r"could not be installed: .*nowhere\.whl"):
        environment.python_of("tiny", ["--no-index", str(tmp_path / "nowhere.whl")])
    assert not (tmp_path / ".venv-peers" / "tiny").exists()
