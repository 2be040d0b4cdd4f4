"""All that is needed to run an audit again: versions, commit, seeds, machine, data.

Times and the machine are the only parts that differ between two runs of one seed.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import platform
import subprocess
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fl.config import Config
from fl.data import Dataset, RawTable
from fl.report import DataSource, Machine, Manifest

PACKAGES = (
    "numpy cryptography pycryptodome msgspec torch opacus dp-accounting scikit-learn "
    "scipy pydantic"
).split()
OPTIONAL = ("tenseal",)


def manifest(
    config: Config, raw: Dataset | RawTable, *, started: datetime, seconds: float
) -> Manifest:
    """Return the manifest of one audit."""
    return Manifest(
        run=config.name,
        version=importlib.metadata.version("blindsum"),
        commit=commit(),
        seed=config.seed,
        seeds={f"repeat {i}": config.seed + i for i in range(config.repeats)},
        config=shown(config),
        started_utc=started.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        seconds=round(seconds, 1),
        machine=machine(),
        simulation=True,
        data=DataSource(
            origin="built-in" if raw.builtin else "user",
            provenance=raw.provenance,
            sha256=data_hash(raw),
        ),
        packages=versions(),
    )


def shown(config: Config) -> dict[str, Any]:
    """Return the configuration without the folders and hosts of who ran it."""
    found: dict[str, Any] = config.model_dump(mode="json")
    for section, key in (("data", "folder"), ("output", "out")):
        found[section][key] = Path(found[section][key]).name or found[section][key]
    if found["log"]["mlflow"]:
        found["log"]["mlflow"] = "given"
    if found["data"]["sites"]:
        del found["data"]["source"]  # the sites take its place
    return found


def versions() -> dict[str, str]:
    """Return the versions of the packages that a run rests on."""
    found = {name: importlib.metadata.version(name) for name in PACKAGES}
    for name in OPTIONAL:
        with suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


def data_hash(raw: Dataset | RawTable) -> str:
    """Return the SHA-256 of the records as loaded, labels included."""
    values = raw.values if isinstance(raw, RawTable) else raw.features
    digest = hashlib.sha256()
    for array in (values, raw.labels):
        contiguous = np.ascontiguousarray(array)
        digest.update(f"{contiguous.dtype.str}{contiguous.shape}".encode())
        digest.update(contiguous.tobytes())
    return digest.hexdigest()


def machine() -> Machine:
    """Return the machine that this runs on."""
    return Machine(
        cpu=_cpu(),
        cores=os.cpu_count() or 1,
        python=platform.python_version(),
        torch=str(torch.__version__),
    )


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if "model name" in line]
    return names[0] if names else platform.machine()


def commit() -> str | None:
    """Return the commit of the checkout that this file lies in, if it is one."""
    here = Path(__file__).resolve().parent
    if not (here.parent / ".git").exists():
        return None
    try:
        shown = subprocess.run(
            ["git", "-C", str(here), "rev-parse", "HEAD"],
            capture_output=True,
            text=True,
            timeout=10,
        )
    except OSError:
        return None
    return shown.stdout.strip() or None
