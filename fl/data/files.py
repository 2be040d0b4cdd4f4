"""Read a data file's bytes, or say in one sentence why they cannot be read."""

from __future__ import annotations

import hashlib
from pathlib import Path

from fl.errors import DataError

# Hex digits of a file's SHA-256 in the record: enough to tell versions apart.
DIGEST_CHARS = 16


def read_bytes(path: Path, key: str) -> bytes:
    """Return the file's contents.

    Args:
        path: the file.
        key: the configuration key that named it, for the error's text.

    Raises:
        DataError: no such file, or it cannot be read.
    """
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise DataError(
            f"{key}: no file {path}; correct the name, or set data.folder to the "
            f"folder that holds it."
        ) from error
    except OSError as error:
        raise DataError(
            f"{key}: {path} cannot be read ({error.strerror}); give a readable file."
        ) from error


def provenance_of(path: Path, content: bytes) -> str:
    """Return what goes on record of a file: its name and the start of its SHA-256."""
    digest = hashlib.sha256(content).hexdigest()[:DIGEST_CHARS]
    return f"{path.name} (sha256 {digest})"
