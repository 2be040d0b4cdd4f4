"""Work on all cores gives what work on one gives, in the same order."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import joblib
import pytest
import torch

from fl.errors import ConfigError
from fl.evidence import Evidence
from fl.folder import RunFolder
from fl.inversion import Assault, assault, battery
from fl.local.thread import allowed
from fl.parallel import WORKERS, WORTH_STARTING, each, workers
from fl.progress import Silent
from fl.shots import from_run
from fl.stages import Setting, training
from tests.fl import tiny
from tests.fl.equal import plain


def _sum_of_squares(seed: int) -> tuple[float, int]:
    """A sum whose last digits depend on how many threads add it up."""
    draw = torch.randn(400_000, generator=torch.Generator().manual_seed(seed))
    return float((draw * draw).sum()), torch.get_num_threads()


def _serial(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 1)


def test_results_come_in_the_order_of_the_items_whoever_made_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    count = 2 * WORTH_STARTING
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    spread = list(each(_sum_of_squares, range(count), count=count))
    _serial(monkeypatch)
    alone = list(each(_sum_of_squares, range(count), count=count))
    assert spread == alone
    assert {threads for _, threads in alone} == {1}


def _chunks_allowed(_: int) -> int:
    return allowed()


def test_workers_start_no_threads_beside_each_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    count = 2 * WORTH_STARTING
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    assert set(each(_chunks_allowed, range(count), count=count)) == {1}


def _where(seed: int) -> tuple[int, tuple[float, int]]:
    return os.getpid(), _sum_of_squares(seed)


def test_the_callers_joblib_backend_does_the_work(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv(WORKERS, raising=False)
    wanted = [_sum_of_squares(seed) for seed in range(WORTH_STARTING)]
    with joblib.parallel_config(backend="loky", n_jobs=2):
        assert workers() == 2
        found = list(each(_where, range(WORTH_STARTING), count=WORTH_STARTING))
    assert os.getpid() not in {pid for pid, _ in found}
    assert [value for _, (value, _) in found] == [value for value, _ in wanted]


def test_the_callers_threads_are_left_as_they_were(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _serial(monkeypatch)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        for _ in each(_sum_of_squares, range(2), count=2):
            assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_items_are_taken_as_they_are_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    _serial(monkeypatch)
    taken: list[int] = []

    def items() -> Iterator[int]:
        for number in range(100):
            taken.append(number)
            yield number

    stream = each(_sum_of_squares, items(), count=100)
    next(stream)
    assert len(taken) == 1


def _fails_at_three(number: int) -> int:
    if number == 3:
        raise ValueError("three")
    return number


@pytest.mark.parametrize("cores", [1, 2])
def test_a_failure_in_a_piece_reaches_the_caller(
    cores: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: cores)
    with pytest.raises(ValueError, match="three"):
        list(each(_fails_at_three, range(WORTH_STARTING), count=WORTH_STARTING))


@pytest.mark.slow  # whole audits are compared in test_audit
def test_attacks_find_the_same_on_one_core_and_on_two(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings = tiny.config()
    run, fed = tiny.trained(settings, "secagg")
    protection = tiny.protection("secagg", settings)
    jobs = [
        Assault(shot=shot, attacks=battery(4))
        for shot in from_run(run, fed, protection, settings)
    ]
    assert len(jobs) >= WORTH_STARTING
    found = []
    for cores in (1, 2):
        monkeypatch.setattr(os, "cpu_count", lambda cores=cores: cores)
        results = each(assault, jobs, count=len(jobs))
        found.append(
            [
                (one.attack, one.metrics, one.exact, one.certified, one.refused)
                for attempts in results
                for one in attempts
            ]
        )
    assert found[0] == found[1]


def _trained(count: int, folder: Path, patch: pytest.MonkeyPatch) -> tuple[object, ...]:
    """Return the records and the log of a training stage with so many workers."""
    patch.setenv(WORKERS, str(count))
    names = ("none", "secagg", "dp-sgd")
    settings = tiny.config(f"protections.names={list(names)}", "training.rounds=2")
    folder.mkdir()
    evidence = Evidence()
    training.run(
        Setting(
            raw=tiny.dataset(),
            protections=tuple(tiny.protection(name, settings) for name in names),
            config=settings,
            folder=RunFolder(draft=folder, place=folder),
            progress=Silent(),
        ),
        evidence,
    )
    log = (folder / training.ROUND_LOG).read_text().splitlines()
    runs = [run for repeat in evidence.repeats for run in repeat.runs.values()]
    return plain(runs), plain([json.loads(line) for line in log])


@pytest.mark.slow
def test_one_two_and_four_workers_train_the_same_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone, two, four = (
        _trained(count, tmp_path / str(count), monkeypatch) for count in (1, 2, 4)
    )
    assert alone == two
    assert alone == four


def test_the_environment_says_how_many_workers_there_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv(WORKERS, raising=False)
    assert workers() == os.cpu_count()
    monkeypatch.setenv(WORKERS, "3")
    assert workers() == 3
    for bad in ("0", "-1", "two", "1.5", "9999"):
        monkeypatch.setenv(WORKERS, bad)
        with pytest.raises(ConfigError, match=f"{WORKERS}={bad} must be a whole"):
            workers()


def _thread(_: int) -> str:
    return threading.current_thread().name


def test_threads_do_no_work_that_shares_torchs_generator(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv(WORKERS, raising=False)
    here = threading.current_thread().name
    with joblib.parallel_config(backend="threading", n_jobs=2):
        assert set(each(_thread, range(9), count=9)) == {here}
        assert here not in set(each(_thread, range(9), count=9, threads=True))


def test_what_the_environment_says_goes_before_the_callers_number(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(WORKERS, "1")
    with joblib.parallel_config(backend="loky", n_jobs=2):
        assert workers() == 1


RAY = """
import os, warnings
warnings.simplefilter("ignore")
import joblib, ray
from ray.util.joblib import register_ray
from fl.parallel import each
from tests.fl.test_parallel import _sum_of_squares, _where
ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
register_ray()
with joblib.parallel_config(backend="ray"):
    found = list(each(_where, range(4), count=4))
assert os.getpid() not in {pid for pid, _ in found}
assert [value for _, (value, _) in found] == [
    next(each(_sum_of_squares, [seed], count=1))[0] for seed in range(4)
]
print("ray did it")
"""


@pytest.mark.slow
def test_ray_does_the_work_where_the_caller_says_so() -> None:
    pytest.importorskip("ray")
    own = {name: value for name, value in os.environ.items() if name != WORKERS}
    done = subprocess.run(
        [sys.executable, "-c", RAY],
        env=own | {"PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.stdout.endswith("ray did it\n"), done.stderr
