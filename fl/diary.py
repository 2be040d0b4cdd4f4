"""The diary of one run: a line in the log for every round, and checkpoints.

It can be sent to a worker process. A worker whose parent is gone writes nothing more:
the run may be gone on with by then.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field
from pathlib import Path

from fl.checkpoint import Checkpoint, from_piece, to_piece
from fl.round_log import append, line_of
from fl.shelf import Shelf


class OrphanError(RuntimeError):
    """The process that gave out the work is gone."""


@dataclass(slots=True, kw_only=True)
class RunDiary:
    """Writes down one run; a `fl.run.Diary`.

    Attributes:
        protection: its name.
        seed: of the repetition.
        rounds: planned.
        every_s: a checkpoint is kept after a round if the one before is so many
            seconds old, and after the last round; this bounds what it costs.
        log: the file that gets the lines.
        shelf: that gets the checkpoints; None keeps none.
        home: the process that gives out the work.
    """

    protection: str
    seed: int
    rounds: int
    every_s: float
    log: Path
    shelf: Shelf | None
    home: int = field(default_factory=os.getpid)
    kept_at: float = field(default_factory=time.monotonic)

    @property
    def name(self) -> str:
        """Return the name of its checkpoint."""
        return f"run-{self.protection}-seed{self.seed}"

    def read(self) -> Checkpoint | None:
        """Return where the run stands, or None at its beginning."""
        self.kept_at = time.monotonic()
        piece = None if self.shelf is None else self.shelf.get(self.name)
        return None if piece is None else from_piece(piece)

    def write(self, checkpoint: Checkpoint) -> None:
        """Append the round's line; keep the checkpoint if it is time.

        A kill between the two costs nothing: the log is put right from the checkpoints.
        """
        if self.home not in (os.getpid(), os.getppid()):
            raise OrphanError("the run that this work is for has ended.")
        append(self.log, line_of(self.protection, self.seed, checkpoint.rounds[-1]))
        # Until a round was finished there is nothing to lose, and an error to explain.
        begun = not all(one.aborted for one in checkpoint.rounds)
        last = len(checkpoint.rounds) == self.rounds
        due = last or time.monotonic() - self.kept_at >= self.every_s
        if self.shelf is not None and begun and due:
            self.shelf.put(self.name, to_piece(checkpoint))
            self.kept_at = time.monotonic()
