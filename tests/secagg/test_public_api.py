import subprocess
import sys
from pathlib import Path

import numpy as np

import secagg

ROOT = Path(__file__).parents[2]


def test_at_most_25_public_names_and_all_exist():
    assert len(secagg.__all__) <= 25
    assert all(hasattr(secagg, name) for name in secagg.__all__)


def test_every_public_name_is_documented():
    for name in secagg.__all__:
        assert getattr(secagg, name).__doc__, name


def test_the_ten_lines_of_the_package_docstring_run():
    lines = secagg.__doc__.split("::\n\n", 1)[1].split("\n\nOver a network")[0]
    names: dict[str, object] = {}
    exec("\n".join(line.removeprefix("    ") for line in lines.splitlines()), names)
    out = names["out"]
    expected = np.mean([i / 10 for i in range(10) if i != 3])
    assert np.abs(out.mean - expected).max() <= out.max_error


def test_the_example_runs_and_prints_the_guarantee_and_the_error():
    ran = subprocess.run(
        [sys.executable, "examples/embed.py"],
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert "10 clients, threshold 7" in ran.stdout
    assert ran.stdout.count("largest error") == 2
    assert "9 survivors" in ran.stdout and "8 survivors" in ran.stdout
