"""Work in the folder of a run: by one process at a time, moved to its place at the end.

Bad input removes a fresh draft and leaves nothing behind; a kill, a full disk or a
defect leaves it to be gone on with, if it holds anything to go on from. The lock is a
file's, and ends with the process that holds it, however it ends.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fl.errors import ResumeError, UserError
from fl.folder import (
    BEGUN,
    DONE,
    LATEST,
    LOCK,
    RESUME,
    FolderError,
    RunFolder,
    StoppedRun,
    draft_of,
)
from fl.shelf import SUFFIX


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
    folder = RunFolder(draft=draft_of(place), place=place)
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        if folder.draft.exists():  # `choose` has let it be replaced
            folder.resume.mkdir(mode=0o700, exist_ok=True)
            with _locked(folder):
                shutil.rmtree(folder.draft)
        folder.draft.mkdir()
        folder.draft.chmod(0o755)
        folder.resume.mkdir(mode=0o700)
    except OSError as error:
        raise _unwritable(place, error) from error
    with _locked(folder), _settling(folder, link=link, new=True):
        yield folder


@contextmanager
def continuing(folder: RunFolder, *, link: bool) -> Iterator[None]:
    """Work on a run that `find` returned; at the end, or at Ctrl-C, it is in its place.

    Raises:
        ResumeError: another process is at work on it.
        FolderError: the folder cannot be written.
        StoppedRun: Ctrl-C.
    """
    if link:
        _check_link(folder.place.parent / LATEST)
    with _locked(folder), _settling(folder, link=link, new=False):
        yield


@contextmanager
def _settling(folder: RunFolder, *, link: bool, new: bool) -> Iterator[None]:
    """Put the folder where it belongs, however the work in it ends."""
    try:
        yield
    except KeyboardInterrupt as stop:
        _settle(folder)
        raise StoppedRun(folder.place) from stop
    except BaseException as error:
        kept = any(folder.resume.glob(f"*{SUFFIX}"))
        resumable = kept and not isinstance(error, UserError)
        if new and not resumable:
            shutil.rmtree(folder.draft, ignore_errors=True)
        if isinstance(error, OSError) and resumable:
            raise FolderError(
                f"cannot write {folder.place} ({error.strerror or error}); free the "
                f"folder, then go on with --resume {folder.place}."
            ) from error
        if isinstance(error, OSError):
            raise _unwritable(folder.place, error) from error
        raise
    _settle(folder)
    if link:
        _point(folder.place.parent / LATEST, folder.place.name)


def _settle(folder: RunFolder) -> None:
    """Move the draft to its place; drop what nobody needs to go on from."""
    if folder.draft != folder.place:
        _move(folder.draft, folder.place)
    kept = folder.place / RESUME
    if (kept / DONE).exists() or not (kept / BEGUN).exists():
        shutil.rmtree(kept, ignore_errors=True)


@contextmanager
def _locked(folder: RunFolder) -> Iterator[None]:
    """Hold the run for this process; the lock ends with the process, however it ends.

    Raises:
        ResumeError: another process has it.
    """
    with (folder.resume / LOCK).open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ResumeError(
                f"another process is at work on {folder.place}; let it finish, or stop "
                "it first."
            ) from error
        yield


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
