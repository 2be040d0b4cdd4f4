"""Finished pieces of a run on disk, each whole or absent, for a run that goes on later.

One file per piece: a line with the format and the SHA-256 of all that follows, a line
of JSON, then the arrays as `.npz` (nothing that carries code is ever read). Written
beside its name, synced, then moved onto it, so that a kill at any moment leaves the
piece before or the piece after. Every piece names the run it belongs to.

The hash finds damage, not malice: who may write to the folder may forge a piece.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fl.errors import ResumeError

FORMAT = "blindsum.resume/1"
SUFFIX = ".piece"


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """One finished piece: JSON-able fields, and arrays of numbers by name."""

    fields: Mapping[str, Any]
    arrays: Mapping[str, NDArray[Any]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Shelf:
    """Where the pieces of one run lie; can be sent to a worker.

    Attributes:
        folder: that holds them; need not exist yet.
        run: the hash of all that decides the run's bits.
    """

    folder: Path
    run: str

    def put(self, name: str, piece: Piece) -> None:
        """Keep a piece, in place of an older one of the same name."""
        self.folder.mkdir(mode=0o700, exist_ok=True)
        write(self._path(name), {"run": self.run, "name": name}, piece)

    def get(self, name: str) -> Piece | None:
        """Return the piece, or None if it was never kept.

        Raises:
            ResumeError: it is damaged, or another run's.
        """
        path = self._path(name)
        if not path.exists():
            return None
        about, piece = read(path)
        if about != {"run": self.run, "name": name}:
            raise ResumeError(
                f"{path} belongs to another run or piece; delete it to have that part "
                "done again."
            )
        return piece

    def names(self) -> tuple[str, ...]:
        """Return the names of all pieces, sorted."""
        return tuple(
            sorted(path.name[: -len(SUFFIX)] for path in self.folder.glob(f"*{SUFFIX}"))
        )

    def _path(self, name: str) -> Path:
        return self.folder / f"{name}{SUFFIX}"


def write(path: Path, about: Mapping[str, str], piece: Piece) -> None:
    """Write a sealed file whole or not at all.

    Raises:
        ValueError: a field is no JSON (a NaN, say), or an array carries objects.
    """
    fields = {"about": dict(about), "fields": dict(piece.fields)}
    body = json.dumps(fields, allow_nan=False, sort_keys=True).encode() + b"\n"
    if any(array.dtype.hasobject for array in piece.arrays.values()):
        raise ValueError("an array of objects cannot be kept.")
    if piece.arrays:
        packed = io.BytesIO()
        np.savez(packed, **dict[str, Any](piece.arrays))
        body += packed.getvalue()
    seal = f"{FORMAT} {hashlib.sha256(body).hexdigest()}\n".encode()
    replace(path, seal + body)


def read(path: Path) -> tuple[Mapping[str, str], Piece]:
    """Return what a sealed file is about, and what it holds.

    Raises:
        ResumeError: it cannot be read, or not one bit of it may be trusted.
    """
    try:
        seal, _, body = path.read_bytes().partition(b"\n")
    except OSError as error:
        raise ResumeError(
            f"{path} cannot be read ({error.strerror}); make it readable."
        ) from error
    digest = hashlib.sha256(body).hexdigest()
    if seal != f"{FORMAT} {digest}".encode():
        raise _damaged(path)
    line, _, packed = body.partition(b"\n")
    try:
        found = json.loads(line)
        arrays = _unpacked(packed) if packed else {}
        return found["about"], Piece(fields=found["fields"], arrays=arrays)
    except (ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise _damaged(path) from error


def replace(path: Path, content: bytes) -> None:
    """Put ``content`` in the place of a file, whole or not at all."""
    fresh = path.with_name(f".{path.name}-{os.getpid()}")
    try:
        with fresh.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(fresh, path)
    except BaseException:
        fresh.unlink(missing_ok=True)
        raise


def _unpacked(packed: bytes) -> dict[str, NDArray[Any]]:
    with np.load(io.BytesIO(packed), allow_pickle=False) as arrays:
        return {name: arrays[name] for name in arrays.files}


def _damaged(path: Path) -> ResumeError:
    return ResumeError(
        f"{path} is damaged or of another version; delete it to have that part done "
        "again."
    )
