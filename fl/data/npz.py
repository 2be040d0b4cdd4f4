"""Read a NumPy archive: x_train and y_train, x and y, or features and labels.

x_test and y_test, when they are there, are the held-out set; `sites` names the site
of each training record, and the array that data.subject names whose it is.
Pickled objects inside are never loaded.
"""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fl.data.arrays import Arrays
from fl.data.files import provenance_of, read_bytes
from fl.data.subjects import TEST
from fl.errors import DataError

# Pairs of names that are tried in this order.
NAMES = (("x_train", "y_train"), ("x", "y"), ("features", "labels"))


def read_npz(path: Path, subject: str = "") -> Arrays:
    """Return the arrays of the archive by their roles.

    Args:
        path: of the archive.
        subject: name of the array that says whose each record is, or "".

    Raises:
        DataError: not an archive, no known pair of names, or objects inside.
    """
    content = read_bytes(path, "data.source")
    where = provenance_of(path, content)
    try:
        archive = np.load(io.BytesIO(content), allow_pickle=False)
    except (ValueError, EOFError, OSError, zipfile.BadZipFile) as error:
        raise DataError(
            f"{path} is not a .npz archive; write it with numpy.savez."
        ) from error
    if not isinstance(archive, np.lib.npyio.NpzFile):
        raise DataError(f"{path} holds one bare array; write it with numpy.savez.")
    with archive:
        names = set(archive.files)
        pair = next((p for p in NAMES if names.issuperset(p)), None)
        if pair is None:
            raise DataError(
                f"{path} holds {', '.join(sorted(names)) or 'nothing'}; want x_train "
                f"and y_train, x and y, or features and labels."
            )
        others = {"x_test", "y_test", "sites", subject, subject + TEST}
        taken = [*pair, *(names & (others - {"", TEST}))]
        found = {name: _member(archive, name, path) for name in taken}
    return Arrays(
        x=found[pair[0]],
        y=found[pair[1]],
        x_test=found.get("x_test"),
        y_test=found.get("y_test"),
        sites=found.get("sites"),
        subjects=found.get(subject),
        subjects_test=found.get(subject + TEST),
        source=where,
    )


def _member(
    archive: np.lib.npyio.NpzFile, name: str, path: Path
) -> NDArray[np.generic]:
    try:
        member: NDArray[np.generic] = archive[name]
    except (ValueError, EOFError, OSError, zipfile.BadZipFile) as error:
        raise DataError(
            f"{path}: {name} is damaged or holds Python objects, which are never "
            f"loaded; save plain numbers or strings."
        ) from error
    return member
