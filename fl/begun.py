"""How a run was begun: what must be the same for whoever goes on with it.

A run is begun once and may be gone on with many times. The bits of it are decided by
the configuration, the data, the user's own code and the software; all four are written
down at the beginning, and a later sitting that differs in any of them is refused with
the one that differs. So is one that finds a piece damaged, before anything is changed.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import platform
import sys
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from fl.checkpoint import from_piece
from fl.config import Config
from fl.data import Dataset, RawTable
from fl.errors import ResumeError
from fl.folder import CONFIG, RunFolder
from fl.manifest import commit, data_hash, versions
from fl.round_log import ROUND_LOG, line_of, rewrite
from fl.shelf import SUFFIX, Piece, Shelf, read, write

ABOUT = {"about": "a run"}
RUN_PIECES = "run-"


@dataclass(frozen=True, slots=True, kw_only=True)
class Begun:
    """How a run was begun.

    Attributes:
        command: that began it and may go on with it, "audit" say.
        config: the resolved configuration.
        makings: by name, what decides the run's bits.
        started: when.
        sat_down: when the last sitting began.
        elapsed_s: seconds of all sittings before that.
        link: whether ``latest`` is to point at it.
        force: whether it replaces what is in its place.
        label: of this run among all, for trackers; random, decides nothing.
    """

    command: str
    config: Config
    makings: Mapping[str, str]
    started: datetime
    sat_down: datetime
    elapsed_s: float
    link: bool
    force: bool
    label: str

    def shelf(self, folder: RunFolder) -> Shelf:
        """Return where the pieces of this run are kept."""
        return Shelf(folder=folder.resume, run=_hash(dict(self.makings)))

    def __post_init__(self) -> None:
        if self.elapsed_s < 0:
            raise ValueError("a sitting cannot have taken less than no time.")


def begin(
    folder: RunFolder,
    config: Config,
    raw: Dataset | RawTable,
    *,
    command: str,
    started: datetime,
    link: bool,
    force: bool,
) -> Begun:
    """Write down in a fresh folder how the run was begun."""
    begun = Begun(
        command=command,
        config=config,
        makings=makings(config, raw),
        started=started,
        sat_down=started,
        elapsed_s=0.0,
        link=link,
        force=force,
        label=uuid.uuid4().hex,
    )
    folder.log(CONFIG, config.resolved())
    _write(begun, folder)
    return begun


def begun_in(folder: RunFolder, command: str) -> Begun:
    """Return how the run in ``folder`` was begun.

    Raises:
        ResumeError: it was begun by another command, or its files were changed.
    """
    about, piece = read(folder.begun)
    if about != ABOUT:
        raise ResumeError(f"{folder.begun} says nothing of a run; start it anew.")
    try:
        begun = _from_fields(piece.fields)
        shown = json.loads((folder.draft / CONFIG).read_text(encoding="utf-8"))
    except (KeyError, TypeError, ValueError, OSError, ValidationError) as error:
        raise ResumeError(
            f"{folder.begun} does not fit this version; start the run anew."
        ) from error
    if shown != begun.config.resolved():
        raise ResumeError(
            f"{folder.draft / CONFIG} is not what the run was begun with; put it back, "
            "or start a new run with it."
        )
    if begun.command != command:
        raise ResumeError(
            f"{folder.place} was begun by `blindsum {begun.command}`; go on with "
            f"`blindsum {begun.command} --resume {folder.place}`."
        )
    return begun


def sit_down(begun: Begun, folder: RunFolder, raw: Dataset | RawTable) -> Begun:
    """Check everything that is kept, put the log right, and begin another sitting.

    Raises:
        ResumeError: something differs from how the run was begun, or is damaged;
            nothing was changed.
    """
    here = makings(begun.config, raw)
    for name in sorted({*here, *begun.makings}):
        was, now = begun.makings.get(name, "absent"), here.get(name, "absent")
        if was != now:
            raise ResumeError(
                f"{folder.place} was begun with {name} {_short(was)} and here is "
                f"{_short(now)}, which may change its bits; bring that back, or start "
                "the run anew."
            )
    lines = _lines(begun, folder)
    again = replace(
        begun,
        sat_down=datetime.now(UTC),
        elapsed_s=begun.elapsed_s + _sat_for(begun, folder),
    )
    rewrite(folder.draft / ROUND_LOG, lines)
    _write(again, folder)
    return again


def makings(config: Config, raw: Dataset | RawTable) -> dict[str, str]:
    """Return by name all that decides a run's bits, as hashes and versions."""
    found = {
        "configuration": _hash(config.resolved()),
        "data": data_hash(raw),
        "blindsum": importlib.metadata.version("blindsum"),
        "commit": commit() or "none",
        "Python": platform.python_version(),
        **versions(),
    }
    if ":" in config.model.kind:
        module = sys.modules[config.model.kind.partition(":")[0]]
        source = Path(module.__file__ or "")
        found["model code"] = hashlib.sha256(source.read_bytes()).hexdigest()
    return found


def _lines(begun: Begun, folder: RunFolder) -> list[dict[str, Any]]:
    """Read every piece once; return the log as the checkpoints tell it."""
    shelf, config = begun.shelf(folder), begun.config
    found = {name: shelf.get(name) for name in shelf.names()}
    lines = []
    for seed in range(config.seed, config.seed + config.repeats):
        for protection in config.protections.names:
            piece = found.get(f"{RUN_PIECES}{protection}-seed{seed}")
            if piece is not None:
                rounds = from_piece(piece).rounds
                lines += [line_of(protection, seed, one) for one in rounds]
    return lines


def _sat_for(begun: Begun, folder: RunFolder) -> float:
    """Return how long the last sitting took, by its last sign of life."""
    signs = [path.stat().st_mtime for path in folder.resume.glob(f"*{SUFFIX}")]
    signs.append(folder.begun.stat().st_mtime)
    return max(0.0, max(signs) - begun.sat_down.timestamp())


def _write(begun: Begun, folder: RunFolder) -> None:
    fields = {
        "command": begun.command,
        # As given, not as resolved: who asked by name is refused, others are left out.
        "config": begun.config.model_dump(mode="json", exclude_unset=True),
        "makings": dict(begun.makings),
        "started": begun.started.isoformat(),
        "sat_down": begun.sat_down.isoformat(),
        "elapsed_s": begun.elapsed_s,
        "link": begun.link,
        "force": begun.force,
        "label": begun.label,
    }
    write(folder.begun, ABOUT, Piece(fields=fields))


def _from_fields(fields: Mapping[str, Any]) -> Begun:
    return Begun(
        command=str(fields["command"]),
        config=Config.model_validate(fields["config"], strict=False),
        makings=dict(fields["makings"]),
        started=datetime.fromisoformat(fields["started"]),
        sat_down=datetime.fromisoformat(fields["sat_down"]),
        elapsed_s=float(fields["elapsed_s"]),
        link=bool(fields["link"]),
        force=bool(fields["force"]),
        label=str(fields["label"]),
    )


def _hash(value: Mapping[str, object]) -> str:
    plain = json.dumps(value, sort_keys=True, allow_nan=False)
    return hashlib.sha256(plain.encode()).hexdigest()


def _short(value: str) -> str:
    return value[:12]
