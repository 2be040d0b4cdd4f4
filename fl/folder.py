"""The folder of one run: its name, its draft beside it, and what may be begun there.

``runs/<UTC time>-<name>`` with ``runs/latest`` pointing at it, or the folder given by
``--out``. Until the run is finished (or stopped by Ctrl-C, which keeps what was done)
all files live in a hidden sibling, ``.NAME.part``. How it gets from there to its place
is in `fl.writing`.
"""

from __future__ import annotations

import json
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
    cut_off = sorted(str(path) for path in run.glob(f".*{PART}"))
    known = f"; cut off in it: {', '.join(cut_off)}" if cut_off else ""
    raise ResumeError(
        f"{run} is not the folder of a run; give --resume the folder of a stopped "
        f"one{known}."
    )


def _is_run(folder: Path) -> bool:
    names = {path.name for path in folder.iterdir()}
    return not names or bool(names & {CONFIG, "report.json"})
