"""Write a report as files: `report.json`, `report.html` and `report.md`.

Every file is written whole beside its final name and then moved onto it (POSIX
rename), after all texts have been made: a fault while making one of them leaves the
folder as it was.

It does NOT choose the folder's name, keep old runs or refuse to overwrite: the
caller does.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fl.report.markdown import markdown
from fl.report.page import page, private_page
from fl.report.pictures import Gallery
from fl.report.plot import Curve
from fl.report.proofs import Claim
from fl.report.schema import Report, to_json

PRIVATE_FOLDER = "private"
_PUBLIC_MODE, _OWNER_ONLY = 0o644, 0o600
_FOLDER_OWNER_ONLY = 0o700


class DisclosureError(ValueError):
    """Pictures of the user's own records were asked onto the page."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """Where the files lie; `pictures` and `exposed` are None where there are none."""

    json: Path
    html: Path
    markdown: Path
    pictures: Path | None
    exposed: Path | None = None


def write(
    report: Report,
    *,
    folder: Path,
    galleries: Sequence[Gallery] = (),
    curves: Sequence[Curve] = (),
    claims: Sequence[Claim] = (),
    exposed: str = "",
    private: bool = True,
) -> Written:
    """Write the report's three files, and the pictures where they may be seen.

    Guarantees that with `private=True` nothing under `report.*` depends on a
    gallery: the pictures go to `private/pictures.html` (mode 0600 in a folder of
    mode 0700). Nor does anything there depend on `exposed` but for being told that the
    list exists. The same arguments give the same bytes.

    Args:
        report: all numbers and sentences.
        folder: an existing folder; files of the same names are replaced.
        galleries: pictures of records.
        curves: plots; aggregates only.
        claims: what is proven and assumed beyond what the report states.
        exposed: the most exposed records as CSV, for `private/exposed.csv` alone; ""
            writes no list.
        private: whether the records are somebody's own; False puts the pictures on
            the page and needs built-in data.

    Returns:
        The paths.

    Raises:
        DisclosureError: private=False for data that are not built in.
        ClaimError: a claim names a protection that the report does not have.
        OSError: the folder cannot be written.
    """
    if not private and report.manifest.data.origin != "built-in":
        raise DisclosureError(
            "private=False shows records on the page, but the data are the user's "
            "own; leave private=True, which puts pictures into private/."
        )
    withheld = private and bool(galleries)
    texts = {
        "report.json": to_json(report),
        "report.html": page(
            report,
            galleries=() if private else galleries,
            curves=curves,
            claims=claims,
            galleries_withheld=withheld,
            exposed_listed=bool(exposed),
        ),
        "report.md": markdown(report, curves=curves, claims=claims),
    }
    apart = private_page(report, galleries) if withheld else None
    pictures = None if apart is None else _write_apart(folder, "pictures.html", apart)
    listed = _write_apart(folder, "exposed.csv", exposed) if exposed else None
    paths = {n: _replace(folder / n, t, _PUBLIC_MODE) for n, t in texts.items()}
    return Written(
        json=paths["report.json"],
        html=paths["report.html"],
        markdown=paths["report.md"],
        pictures=pictures,
        exposed=listed,
    )


def _write_apart(folder: Path, name: str, text: str) -> Path:
    """Write what is of single records where only their owner can read it."""
    hidden = folder / PRIVATE_FOLDER
    hidden.mkdir(mode=_FOLDER_OWNER_ONLY, exist_ok=True)
    hidden.chmod(_FOLDER_OWNER_ONLY)  # mkdir leaves an existing folder's mode
    return _replace(hidden / name, text, _OWNER_ONLY)


def _replace(path: Path, text: str, mode: int) -> Path:
    """Write `text` to `path` whole or not at all."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        Path(name).chmod(mode)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    return path
