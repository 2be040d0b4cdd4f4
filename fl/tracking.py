"""TensorBoard and MLflow, as options: the lines of the round log, told once more.

One run of theirs per protection and seed, with the configuration and the seed, and the
scalars of every round. Both packages are imported only when asked for. A tracker that
fails on the way (a server that went away, say) is left out from then on with a sentence
on standard error: it stops no audit.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from importlib.util import find_spec
from typing import Protocol

from fl.begun import Begun
from fl.errors import TrackingError
from fl.folder import RunFolder
from fl.log_settings import LogConfig
from fl.manifest import shown
from fl.round_log import Line, Listener

FOLDER = "tensorboard"


class Tracker(Protocol):
    """Writes rounds to somewhere else."""

    def write(self, protection: str, seed: int, lines: Sequence[Line]) -> None:
        """Write rounds of one run."""

    def close(self) -> None:
        """End all runs; those that lack rounds may be gone on with."""


def require(log: LogConfig) -> None:
    """Check that what the section [log] asks for is installed.

    Raises:
        TrackingError: it is not; the sentence says how to install it.
    """
    asked = (
        ("tensorboard", "log.tensorboard", log.tensorboard),
        ("mlflow", "log.mlflow", bool(log.mlflow)),
    )
    for module, key, wanted in asked:
        if wanted and find_spec(module) is None:
            raise TrackingError(
                f"{key} needs the package {module}, which is not installed; run pip "
                "install 'blindsum[track]'."
            )


@contextmanager
def tracking(begun: Begun, folder: RunFolder) -> Iterator[tuple[Listener, ...]]:
    """Yield what is to be told of every line of the log.

    Raises:
        TrackingError: a tracker cannot be opened.
    """
    log, parameters = begun.config.log, _parameters(begun)
    with ExitStack() as stack:
        listeners: list[Listener] = []
        if log.tensorboard:
            from fl.tensorboard_events import Events

            events = Events(folder.draft / FOLDER, parameters)
            listeners.append(stack.enter_context(_heard(events, "TensorBoard")))
        if log.mlflow:
            from fl.mlflow_runs import Runs

            runs = Runs(log.mlflow, begun, parameters)
            listeners.append(stack.enter_context(_heard(runs, "MLflow")))
        yield tuple(listeners)


@contextmanager
def _heard(tracker: Tracker, name: str) -> Iterator[Listener]:
    """Yield the listener of a tracker, which falls silent at the first fault."""
    broken = False

    def safely(act: Callable[[], None]) -> None:
        nonlocal broken
        if broken:
            return
        try:
            act()
        except Exception as error:  # somebody else's code may raise anything
            broken = True
            said = next(iter(str(error).splitlines()), "")
            print(
                f"blindsum: {name} is left out from here on: {type(error).__name__}: "
                f"{said}",
                file=sys.stderr,
            )

    def listen(lines: Sequence[Line]) -> None:
        for run, own in _by_run(lines).items():
            safely(partial(tracker.write, *run, own))

    try:
        yield listen
    finally:
        safely(tracker.close)


def _by_run(lines: Sequence[Line]) -> dict[tuple[str, int], list[Line]]:
    found: dict[tuple[str, int], list[Line]] = {}
    for line in lines:
        found.setdefault((line["protection"], line["seed"]), []).append(line)
    return found


def _parameters(begun: Begun) -> dict[str, str]:
    """Return the configuration as dotted keys, without the folders of the machine."""
    flat: dict[str, str] = {}

    def walk(value: object, at: str) -> None:
        if isinstance(value, dict) and value:
            for key, inner in value.items():
                walk(inner, f"{at}.{key}" if at else str(key))
        else:
            flat[at] = str(value)

    walk(shown(begun.config), "")
    return flat
