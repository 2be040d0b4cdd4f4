"""The folder of one run: built beside its place, moved there whole, never overwriting.

``runs/<UTC time>-<name>`` with ``runs/latest`` pointing at it, or the folder given by
``--out``. Until the run is finished (or stopped by Ctrl-C, which keeps what was done)
all files live in a hidden sibling, ``.NAME.part``. Bad input removes that and leaves
nothing behind; a kill, a full disk or a defect leaves it to be gone on with, if it
holds anything to go on from. One process at a time works on a run (a file lock, which
ends with the process).
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, is_dataclass
from datetime import UTC, datetime
from pathlib import Path

from fl.errors import ResumeError, UserError

LATEST = "latest"
CONFIG = "config.json"
PART = ".part"
# What it takes to go on with a run, in a folder of its owner's within the run's.
RESUME = "resume"
BEGUN, DONE, LOCK = "begun", "done", "lock"


class StoppedRun(KeyboardInterrupt):
    """Ctrl-C ended a run before there was a page; ``place`` keeps what was done."""

    def __init__(self, place: Path) -> None:
        super().__init__(
            f"stopped by Ctrl-C; {place} keeps what was finished, and --resume {place} "
            "goes on with it."
        )
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

    @property
    def resume(self) -> Path:
        """Return the folder of what it takes to go on with the run."""
        return self.draft / RESUME

    @property
    def begun(self) -> Path:
        """Return the file that says which run this is; without it none goes on."""
        return self.resume / BEGUN

    def finish(self) -> None:
        """Say that nothing is left to do, whatever happens from now on."""
        (self.resume / DONE).touch()

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
        while place.exists() or draft_of(place).exists():
            place = parent / f"{stamp}-{name}-{number}"
            number += 1
        return place
    if out.name and not force and (draft_of(out) / RESUME / BEGUN).exists():
        raise FolderError(
            f"{out} was cut off before it was finished; go on with it by --resume "
            f"{out}, or start anew with --force."
        )
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


def draft_of(place: Path) -> Path:
    """Return where the run is made that will appear in ``place``."""
    return place.with_name(f".{place.name}{PART}")


def find(run: Path) -> RunFolder:
    """Return a run that may be gone on with, from its place, its draft or a link.

    Raises:
        ResumeError: it is finished, or no run; the sentence says which.
    """
    if run.is_symlink():
        run = run.parent / run.readlink()
    name = run.name
    if name.startswith(".") and name.endswith(PART):
        folder = RunFolder(draft=run, place=run.with_name(name[1 : -len(PART)]))
    else:
        draft = draft_of(run) if name else run
        folder = RunFolder(draft=draft if draft.is_dir() else run, place=run)
    if folder.begun.exists() and not (folder.resume / DONE).exists():
        return folder
    if (folder.draft / CONFIG).exists():
        raise ResumeError(f"{run} is finished; there is nothing left to do.")
    raise ResumeError(
        f"{run} is not the folder of a run; give --resume the folder of a stopped one."
    )


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
        resumable = folder.begun.exists() and not isinstance(error, UserError)
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
