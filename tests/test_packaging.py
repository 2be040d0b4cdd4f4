"""The wheel as its users get it: built, opened, installed bare, run among strangers."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
TOP_LEVEL = {"secagg", "dp", "attacks", "fl", "blindsum.py"}
pytestmark = pytest.mark.packaging


def _run(*command: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=300,
    )


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    # A clean copy: a build folder left in the checkout must not reach the wheel.
    listed = _run(
        "git", "ls-files", "--cached", "--others", "--exclude-standard", cwd=ROOT
    )
    assert listed.returncode == 0, listed.stderr
    for name in listed.stdout.splitlines():
        if (ROOT / name).is_file():
            target = source / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes((ROOT / name).read_bytes())
    pip = (sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps")
    built = _run(*pip, "-w", folder, source, cwd=folder)
    assert built.returncode == 0, built.stderr
    (path,) = folder.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def bare(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bare")
    made = _run(sys.executable, "-m", "venv", folder / "venv", cwd=folder)
    assert made.returncode == 0, made.stderr
    binaries = folder / "venv" / "bin"
    installed = _run(binaries / "pip", "install", "--quiet", wheel, cwd=folder)
    assert installed.returncode == 0, installed.stderr
    return binaries


def test_the_wheel_holds_exactly_the_four_packages_and_the_facade(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    top = {name.split("/")[0] for name in names if ".dist-info/" not in name}
    assert top == TOP_LEVEL


def test_the_wheel_ships_types_licence_and_schema(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    for package in ("secagg", "dp", "attacks", "fl"):
        assert f"{package}/py.typed" in names
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert "fl/report/report.schema.json" in names


def test_a_bare_install_imports_secagg_and_aggregates(bare: Path) -> None:
    code = (
        "import importlib.util as u, numpy as np, secagg\n"
        "for name in ('torch', 'opacus', 'tenseal', 'flwr'):\n"
        "    assert u.find_spec(name) is None, name\n"
        "plan = secagg.plan(clients=5, corrupt=1, drop=1)\n"
        "updates = {f'c{i}': np.full(3, i, np.float32) for i in range(5)}\n"
        "out = secagg.run_round(plan, updates)\n"
        "assert abs(out.mean - 2).max() <= out.max_error, out.mean\n"
        "from blindsum import secagg as again\n"
        "assert again is secagg\n"
    )
    done = _run(bare / "python", "-c", code, cwd=bare)
    assert done.returncode == 0, done.stderr


def test_a_bare_command_says_in_one_sentence_what_to_install(bare: Path) -> None:
    done = _run(bare / "blindsum", "doctor", cwd=bare)
    assert done.returncode == 2
    assert "pip install 'blindsum[fl]'" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


@pytest.fixture
def hostile(tmp_path: Path) -> Path:
    shout = "raise SystemExit('hostile code ran')\n"
    for name in ("attacks.py", "dp.py", "fl/__init__.py", "fl/cli.py"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(shout)
    return tmp_path


def test_the_command_runs_from_a_folder_with_hostile_namesakes(hostile: Path) -> None:
    command = Path(sys.executable).with_name("blindsum")
    done = _run(command, "doctor", cwd=hostile)
    assert done.returncode == 0, done.stderr
    assert "hostile" not in done.stdout + done.stderr


def test_foreign_namesakes_are_named_in_one_sentence_and_not_run(hostile: Path) -> None:
    code = "import sys; sys.path.insert(0, '.')\nfrom blindsum import attacks\n"
    done = _run(sys.executable, "-c", code, cwd=hostile)
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert str(hostile / "attacks.py") in last
    assert "sys.path" in last
    assert "hostile code ran" not in done.stderr
