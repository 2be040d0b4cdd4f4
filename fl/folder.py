"""The folder of one run: built beside its place, moved there whole, never overwriting.

``runs/<UTC time>-<name>`` with ``runs/latest`` pointing at it, or the folder given by
``--out``. Until the run is finished (or stopped by Ctrl-C, which keeps what was done)
all files live in a hidden sibling; an error removes that and leaves nothing behind.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, is_dataclass
from datetime import UTC, datetime
from pathlib import Path

from fl.errors import UserError

LATEST = "latest"
CONFIG = "config.json"


class StoppedRun(KeyboardInterrupt):
    """Ctrl-C ended a run before there was a page; ``place`` keeps what was done."""

    def __init__(self, place: Path) -> None:
        super().__init__(f"stopped by Ctrl-C; {place} keeps what was finished.")
        self.place = place


class FolderError(UserError):
    """The run's folder cannot be made; the sentence says which and why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFolder:
    """A run being written.

    Attributes:
        draft: where the files are now.
        place: where they will be.
    """

    draft: Path
    place: Path

    def log(self, name: str, record: object) -> None:
        """Append ``record`` (a dataclass or a dict) as one line of JSON to ``name``."""
        plain = (
            asdict(record)
            if is_dataclass(record) and not isinstance(record, type)
            else record
        )
        with (self.draft / name).open("a", encoding="utf-8") as file:
            file.write(json.dumps(plain, allow_nan=False) + "\n")


def choose(
    out: Path | None, parent: Path, name: str, started: datetime, *, force: bool
) -> Path:
    """Return where the run goes, without making anything yet.

    Raises:
        FolderError: ``out`` exists and ``force`` is off, or it is no folder.
    """
    if out is None:
        stamp = started.astimezone(UTC).strftime("%Y%m%dT%H%M%SZ")
        place = parent / f"{stamp}-{name}"
        number = 2
        while place.exists():
            place = parent / f"{stamp}-{name}-{number}"
            number += 1
        return place
    if out.is_symlink():
        raise FolderError(f"{out} is a link; give --out the folder it points at.")
    if out.exists() and not out.is_dir():
        raise FolderError(f"{out} is a file; give --out a folder.")
    if not out.name:
        raise FolderError(f"{out} has no name of its own; give --out a folder in it.")
    here = Path.cwd().resolve()
    if out.exists() and (here / out).resolve() in (here, *here.parents):
        raise FolderError(f"{out} holds the working directory; give another --out.")
    if out.exists() and force and not _is_run(out):
        raise FolderError(
            f"{out} is not the folder of a run, so --force does not replace it; give "
            "another --out."
        )
    if out.exists() and not force:
        raise FolderError(
            f"{out} exists and nothing is ever overwritten; give another --out, or "
            "--force to replace it."
        )
    return out


@contextmanager
def writing(place: Path, *, link: bool) -> Iterator[RunFolder]:
    """Yield the draft of ``place``; move it there at the end, or at Ctrl-C.

    Args:
        place: the final folder; if it exists it is replaced as a whole.
        link: point ``latest``, beside it, at it.

    Raises:
        FolderError: the folder cannot be written.
        StoppedRun: Ctrl-C; the draft is in its place, ``latest`` is as it was.
    """
    if link:
        _check_link(place.parent / LATEST)
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(prefix=f".{place.name}-", dir=place.parent))
        draft.chmod(0o755)
    except OSError as error:
        raise _unwritable(place, error) from error
    keep = finished = False
    try:
        yield RunFolder(draft=draft, place=place)
        keep = finished = True
    except KeyboardInterrupt as stop:
        keep = True
        raise StoppedRun(place) from stop
    except OSError as error:
        raise _unwritable(place, error) from error
    finally:
        if keep:
            _move(draft, place)
            if link and finished:
                _point(place.parent / LATEST, place.name)
        else:
            shutil.rmtree(draft, ignore_errors=True)


def _is_run(folder: Path) -> bool:
    names = {path.name for path in folder.iterdir()}
    return not names or bool(names & {CONFIG, "report.json"})


def _move(draft: Path, place: Path) -> None:
    if not place.exists():
        os.replace(draft, place)
        return
    old = Path(tempfile.mkdtemp(prefix=f".{place.name}-old-", dir=place.parent))
    os.replace(place, old / "run")
    os.replace(draft, place)
    shutil.rmtree(old)


def _check_link(link: Path) -> None:
    if link.exists() and not link.is_symlink():
        raise FolderError(
            f"{link} is not the link that a run points at itself; move it away."
        )


def _point(link: Path, target: str) -> None:
    _check_link(link)
    fresh = link.with_name(f".{link.name}-{os.getpid()}")
    fresh.symlink_to(target)
    os.replace(fresh, link)


def _unwritable(place: Path, error: OSError) -> FolderError:
    return FolderError(
        f"cannot write {place} ({error.strerror or error}); choose another --out or "
        "free the folder."
    )
