"""A side that plays encrypted rounds in its own process, and times itself there."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.peers.asking import obey, telling
from benchmarks.sealed import Bill, Side, Work, load_bill, load_work, play, save

Player = Callable[[Work], Bill]
# The slowest plays a hundred clients.
LIMIT_S = 900.0


@contextmanager
def started(python: str, module: str) -> Iterator[Player]:
    """Start a side; inside, the function given lets it play rounds.

    Args:
        python: its interpreter.
        module: calls `serve`.

    Raises:
        MissingError: by the function: it failed, or said nothing in time.
    """
    command = [python, "-P", "-m", module]
    with (
        tempfile.TemporaryDirectory() as folder,
        telling(command, limit_s=LIMIT_S) as tell,
    ):

        def player(work: Work) -> Bill:
            asked, given = Path(folder) / "work.npz", Path(folder) / "bill.npz"
            save(asked, work)
            tell({"work": str(asked), "out": str(given)})
            return load_bill(given)

        yield player


def serve(make: Callable[[Work], Side]) -> None:
    """Play what a parent asks for until it stops asking; each round has new keys."""
    logging.disable(logging.CRITICAL)

    def do(said: dict[str, str]) -> None:
        work = load_work(Path(said["work"]))
        save(Path(said["out"]), play(work, make(work)))

    obey(do)
