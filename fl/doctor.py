"""``blindsum doctor``: what is installed, what is missing, what works on this machine.

It runs one small sum of each kind for real and checks it; it changes nothing.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import sys
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

import secagg
from fl.pdf import PdfError, find_browser
from secagg.he import EncryptedSum, ThresholdUnavailableError, require_threshold

# Distribution -> the module in it, and what it is for.
OPTIONAL = {
    "tenseal": ("tenseal", "homomorphic encryption: pip install 'blindsum[he]'"),
    "flwr": ("flwr", "Flower: pip install 'blindsum[flower]'"),
    "tensorboard": ("tensorboard", "TensorBoard: pip install 'blindsum[track]'"),
    "mlflow-skinny": ("mlflow", "MLflow: pip install 'blindsum[track]'"),
}
REQUIRED = (
    "numpy cryptography pycryptodome msgspec torch opacus dp-accounting "
    "scikit-learn scipy pydantic typer rich jinja2 matplotlib joblib"
).split()


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the doctor's answer."""

    name: str
    ok: bool
    detail: str


def examine() -> Iterator[Check]:
    """Yield every check, in the order in which a failure would matter."""
    version = platform.python_version()
    yield Check("Python", sys.version_info >= (3, 11), f"{version} (3.11 or newer)")
    for name in REQUIRED:
        yield _package(name)
    for name, (module, cure) in OPTIONAL.items():
        yield _optional(name, module, cure)
    yield Check("cores", True, str(os.cpu_count()))
    yield _browser()
    yield _aggregate()
    if importlib.util.find_spec("tenseal") is not None:
        yield _encrypt()
    yield _threshold()


def _package(name: str) -> Check:
    try:
        return Check(name, True, importlib.metadata.version(name))
    except importlib.metadata.PackageNotFoundError:
        return Check(name, False, "missing; run pip install 'blindsum[fl]'")


def _optional(name: str, module: str, cure: str) -> Check:
    if importlib.util.find_spec(module) is None:
        return Check(name, True, f"not installed ({cure})")
    return Check(name, True, _version(module, name))


def _version(module: str, name: str) -> str:
    """Return the version of whichever distribution brought the module."""
    found = importlib.metadata.packages_distributions().get(module, [name])
    return importlib.metadata.version(found[0])


def _browser() -> Check:
    try:
        return Check("browser", True, find_browser())
    except PdfError:
        return Check("browser", True, "none (needed for report --pdf only)")


def _encrypt() -> Check:
    updates = {f"client-{i}": np.full(8, i / 4, np.float32) for i in range(3)}
    out = EncryptedSum(encoder=secagg.Encoder(), clients=3).aggregate(
        updates,
        dict.fromkeys(updates, 1),
        context=secagg.context(b"doctor"),
        session=b"doctor",
    )
    error = float(np.abs(out.mean - 0.25).max())
    return Check(
        "encrypted sum",
        error <= out.max_error,
        f"3 clients, error {error:.1e} (bound {out.max_error:.1e})",
    )


def _threshold() -> Check:
    try:
        require_threshold()
    except ThresholdUnavailableError as error:
        return Check("key in shares", True, f"none: {error}")


def _aggregate() -> Check:
    plan = secagg.plan(clients=5, corrupt=1, drop=1)
    updates = {f"client-{i}": np.full(8, i, np.float32) for i in range(5)}
    out = secagg.run_round(plan, updates, vanish={"client-4": "masked_input"})
    error = float(np.abs(out.mean - 1.5).max())
    return Check(
        "secure aggregation",
        error <= out.max_error,
        f"5 clients, one vanished, error {error:.1e} (bound {out.max_error:.1e})",
    )
