"""Every command and every Python example that the documentation shows is run here.

Audits are made small by `--set`, and folders of the reader's own data are replaced by
made-up files of the same shape; nothing else is changed.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import dp
from attacks import Adversary, Observation, save_observation
from fl.checkpoint import Checkpoint
from fl.cli import run
from fl.diary import RunDiary
from fl.models import build
from fl.pdf import PdfError, find_browser
from fl.settings import ModelConfig
from secagg.store import Store
from tests.fl.synthetic import write_hospitals, write_mnist, write_model

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
SMALL = (
    "--set=training.rounds=2",
    "--set=repeats=1",
    "--set=attacks.victims=2",
    "--set=attacks.iterations=2",
    "--set=attacks.batches=[1]",
    "--set=attacks.canaries=20",
    "--set=data.limit=400",
    "--quiet",
)
FEWEST = "--set=protections.names=['none']"
LONG = ("audit", "attack", "train")


def _blocks(language: str) -> list[tuple[str, str]]:
    return [
        (page.name, match[2])
        for page in PAGES
        for match in FENCE.finditer(page.read_text())
        if match[1] == language
    ]


def _lines() -> list[str]:
    """Return every command line in the pages, comments and repeats taken off."""
    found = [
        line.partition("  #")[0].strip()
        for _, block in _blocks("")
        for line in block.splitlines()
        if line.strip()
    ]
    return list(dict.fromkeys(found))


COMMANDS = [line for line in _lines() if line.startswith("blindsum ")]


def test_the_pages_show_only_commands_that_this_file_knows_how_to_run() -> None:
    strange = [line for line in _lines() if not line.startswith(("blindsum ", "make "))]
    assert not strange
    assert len(COMMANDS) >= 6


def test_files_that_the_pages_name_exist() -> None:
    names = {
        path.name
        for folder in ("secagg", "tests")
        for path in (ROOT / folder).rglob("*.py")
    }
    for page in PAGES:
        quoted = re.findall(r"`([\w/.]+)`", page.read_text())
        for name in (one for one in quoted if one.startswith(("tests/", "secagg/"))):
            assert (ROOT / name).exists(), f"{page.name} names {name}"
        for name in (
            one for one in quoted if re.fullmatch(r"test_\w+\.py|mutants\.py", one)
        ):
            assert name in names, f"{page.name} names {name}"


@pytest.mark.parametrize(
    "line", [line for line in _lines() if line.startswith("make ")]
)
def test_make_targets_in_the_pages_exist(line: str) -> None:
    target = line.split()[1]
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small finished run, for the commands that read one."""
    place = tmp_path_factory.mktemp("finished") / "run"
    few = "--set=protections.names=['none', 'dp-sgd']"
    assert run(["audit", "--out", str(place), few, *SMALL]) == 0
    return place


@pytest.fixture
def stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Make a run of a command that was stopped by Ctrl-C, for those that go on."""

    def make(command: str, place: Path) -> None:
        real, written = RunDiary.write, []

        def write(diary: RunDiary, checkpoint: Checkpoint) -> None:
            real(diary, checkpoint)
            written.append(checkpoint)
            if len(written) == 1:
                raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setenv("BLINDSUM_WORKERS", "1")
            patch.setattr(RunDiary, "write", write)
            assert run([command, "--out", str(place), FEWEST, *SMALL]) == 130

    return make


def _spend(path: Path) -> None:
    """Make a ledger for the commands that read one."""
    with dp.Ledger(
        dp.Budget(epsilon=8.0, delta=1e-5), unit="example", path=path
    ) as ledger:
        ledger.spend("site-1", dp.sampled_gaussian(4.0, 1))


def _observe(path: Path) -> None:
    """Save an update for the commands that attack one."""
    model = build(ModelConfig(kind="logreg"), (1, 8, 8), 10, 0)
    save_observation(
        Observation(
            adversary=Adversary.SERVER,
            view="an update",
            model=model,
            gradient={name: p.detach() for name, p in model.named_parameters()},
            batch_size=1,
            steps=1,
            labels=None,
            input_shape=(1, 8, 8),
            classes=10,
            value_range=(0.0, 1.0),
        ),
        path,
    )


@pytest.mark.parametrize("line", COMMANDS)
def test_commands_in_the_pages_run(
    line: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> None:
    folders = {
        "/srv/heart": write_hospitals(tmp_path),
        "/srv/mnist": write_mnist(tmp_path),
    }
    for shown, made in folders.items():
        line = line.replace(shown, str(made))
    arguments = shlex.split(line)[1:]
    arguments = [
        str(ROOT / word) if word.startswith("examples/") else word for word in arguments
    ]
    resumes = "--resume" in arguments
    if arguments[0] == "audit-model":
        write_model(tmp_path)
    for word in arguments:
        if word.startswith("runs/") and resumes:
            request.getfixturevalue("stopped")(arguments[0], tmp_path / word)
        elif word == "update.npz" and arguments[0] == "attack":
            _observe(tmp_path / word)
        elif word.endswith(".db") and "://" not in word:
            (tmp_path / word).parent.mkdir(parents=True, exist_ok=True)
            if arguments[0] == "dp":
                _spend(tmp_path / word)
            else:
                Store(tmp_path / word).close()
        elif word.startswith("runs/"):
            shutil.copytree(request.getfixturevalue("finished"), tmp_path / word)
    if "--pdf" in arguments and "CI" not in os.environ:
        try:
            find_browser()
        except PdfError as absent:
            pytest.skip(str(absent))
    if arguments[0] in LONG and "--dry-run" not in arguments:
        arguments += ["--quiet"] if resumes else SMALL
    if arguments[0] in LONG and not resumes and line != "blindsum audit":
        chosen = ("--dry-run", "--protection", "--observation", "protections.names")
        if not any(one in line for one in chosen):
            arguments += [FEWEST]  # all of them are run by the first command
    monkeypatch.chdir(tmp_path)
    assert run(arguments) == 0


@pytest.mark.parametrize(
    ("page", "code"), _blocks("python"), ids=[name for name, _ in _blocks("python")]
)
def test_python_in_the_pages_runs(page: str, code: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT), "PATH": ""},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, f"{page}: {done.stderr}"
    assert done.stdout
