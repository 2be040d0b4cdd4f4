"""Rounds as TensorBoard events: in the run's folder, one each per protection and seed.

A run that is gone on with has its events written anew from the log, so that no round is
there twice.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from torch.utils.tensorboard import SummaryWriter

from fl.round_log import Line, scalars


class Events:
    """Writes event files; a `fl.tracking.Tracker`."""

    def __init__(self, folder: Path, parameters: Mapping[str, str]) -> None:
        """Start anew in ``folder``; ``parameters`` are shown beside every run."""
        shutil.rmtree(folder, ignore_errors=True)
        self._folder = folder
        self._parameters = parameters
        self._writers: dict[tuple[str, int], SummaryWriter] = {}

    def write(self, protection: str, seed: int, lines: Sequence[Line]) -> None:
        """Write rounds of one run; the step is the number of the round, from 1."""
        writer = self._writer(protection, seed)
        for line in lines:
            for name, value in scalars(line).items():
                writer.add_scalar(name, value, line["index"] + 1)
        writer.flush()

    def close(self) -> None:
        """Close all files."""
        for writer in self._writers.values():
            writer.close()

    def _writer(self, protection: str, seed: int) -> SummaryWriter:
        if (protection, seed) not in self._writers:
            writer = SummaryWriter(str(self._folder / f"{protection}-seed{seed}"))
            told = {**self._parameters, "protection": protection, "run seed": seed}
            text = json.dumps(told, indent=2)
            writer.add_text("configuration", f"```\n{text}\n```")
            self._writers[protection, seed] = writer
        return self._writers[protection, seed]
