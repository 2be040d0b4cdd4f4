"""A virtual environment for a peer whose requirements clash with ours.

Its own packages come first; what it does not bring (torch, NumPy, SciPy) comes from the
environment that runs this, so both sides compute with the same libraries.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Sequence

from benchmarks.peers.asking import ROOT, MissingError

LIMIT_S = 300.0


def python_of(
    name: str, requirements: Sequence[str], *, bare: Sequence[str] = ()
) -> str:
    """Return the interpreter of `.venv-peers/NAME`, made now unless it is there.

    It is made again when the requirements or our own environment have changed, or when
    making it was cut short.

    Args:
        name: of the environment.
        requirements: installed with all that they ask for.
        bare: installed without what they ask for.

    Raises:
        MissingError: it could not be made; nothing is left behind.
    """
    folder = ROOT / ".venv-peers" / name
    python, made = folder / "bin" / "python", folder / "made.json"
    ours = sysconfig.get_path("purelib")
    wanted = json.dumps([sys.version, ours, *requirements, *bare])
    if made.is_file() and made.read_text() == wanted:
        return str(python)
    print(f"{name}: setting up {folder.relative_to(ROOT)}")
    shutil.rmtree(folder, ignore_errors=True)
    _run([sys.executable, "-m", "venv", "--without-pip", str(folder)])
    where = sysconfig.get_path("purelib", vars={"base": str(folder)})
    (folder / where / "ours.pth").write_text(f"{ours}\n")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    install = [*pip, "--python", str(python), "install", "--quiet"]
    try:
        _run([*install, *requirements])
        if bare:
            _run([*install, "--no-deps", *bare])
    except MissingError:
        shutil.rmtree(folder)
        raise
    made.write_text(wanted)
    return str(python)


def _run(command: list[str]) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S)
    except subprocess.TimeoutExpired:
        raise MissingError(f"it could not be installed within {LIMIT_S:g} s") from None
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines()
        raise MissingError(
            f"it could not be installed: {said[-1] if said else 'no reason'}"
        )
