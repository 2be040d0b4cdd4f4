"""One sitting at a run: begun anew, or gone on with where it was cut off.

Either way the same things are ready at the end: checked data, a folder that nobody else
works on, the shelf of finished pieces, and the trackers.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from fl.begun import Begun, begin, begun_in, sit_down
from fl.config import Config
from fl.errors import ResumeError
from fl.folder import FolderError, RunFolder, choose, find
from fl.ledgers import LEDGER, LedgerFiles
from fl.preparation import Ready, prepare
from fl.progress import Reporter
from fl.stages import Setting
from fl.tracking import require, tracking
from fl.writing import continuing, writing


@dataclass(frozen=True, slots=True, kw_only=True)
class Sitting:
    """One sitting at a run: what is run, where, and since when."""

    ready: Ready
    setting: Setting
    begun: Begun
    began: float

    @property
    def folder(self) -> RunFolder:
        """Return the folder that the run is written to."""
        return self.setting.folder

    @property
    def seconds(self) -> float:
        """Return the seconds of all sittings so far."""
        return self.begun.elapsed_s + time.perf_counter() - self.began


@contextmanager
def beginning(
    config: Config, out: Path | None, command: str, progress: Reporter, *, force: bool
) -> Iterator[Sitting]:
    """Begin a run in a folder of its own.

    Raises:
        UserError: bad input; nothing was written.
    """
    started, began = datetime.now(UTC), time.perf_counter()
    require(config.log)
    ready = prepare(config)
    place = choose(out, Path(config.output.out), config.name, started, force=force)
    with writing(place, link=out is None) as folder:
        begun = begin(
            folder,
            config,
            ready.raw,
            command=command,
            started=started,
            link=out is None,
            force=force,
        )
        with _seated(ready, folder, begun, progress, began) as sitting:
            yield sitting


@contextmanager
def going_on(run: Path, command: str, progress: Reporter) -> Iterator[Sitting]:
    """Go on with a run in its own folder.

    Raises:
        ResumeError: see `fl.begun`; nothing was changed.
    """
    began = time.perf_counter()
    folder = find(run)
    begun = begun_in(folder, command)
    require(begun.config.log)
    if folder.draft != folder.place and folder.place.exists() and not begun.force:
        raise FolderError(f"{folder.place} exists by now; move it away, then go on.")
    shared = _ledgers(begun, folder).shared
    if shared is not None and not shared.exists():
        # A new file in its place would be a new budget.
        raise ResumeError(
            f"{shared}, where this run spends, is not there; go on in the working "
            "directory that the run was begun in, or start it anew."
        )
    with continuing(folder, link=begun.link):
        ready = prepare(begun.config)
        begun = sit_down(begun, folder, ready.raw)
        with _seated(ready, folder, begun, progress, began) as sitting:
            yield sitting


@contextmanager
def _seated(
    ready: Ready, folder: RunFolder, begun: Begun, progress: Reporter, began: float
) -> Iterator[Sitting]:
    shelf = begun.shelf(folder)
    with tracking(begun, folder) as trackers:
        setting = ready.setting(
            folder,
            progress,
            shelf=shelf,
            trackers=trackers,
            ledgers=_ledgers(begun, folder),
        )
        yield Sitting(ready=ready, setting=setting, begun=begun, began=began)


def _ledgers(begun: Begun, folder: RunFolder) -> LedgerFiles:
    shared = begun.config.privacy.ledger
    return LedgerFiles(
        own=folder.draft.absolute() / LEDGER,
        shared=Path(shared).expanduser().absolute() if shared else None,
        run=begun.label,
    )
