"""The options that several commands share, with the words that --help says of them."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from fl.errors import ConfigError
from fl.parallel import WORKERS, WORKERS_MAX


class Profile(StrEnum):
    """How hard the attacks try."""

    quick = "quick"
    standard = "standard"
    full = "full"


class AttackFamily(StrEnum):
    """Which attacks to benchmark."""

    inversion = "inversion"
    membership = "membership"
    property = "property"


ConfigFile = Annotated[
    Path | None,
    typer.Argument(
        metavar="[CONFIG.toml]",
        show_default=False,
        help="What to run; the built-in digits if not given.",
    ),
]
Out = Annotated[Path | None, typer.Option(help="Write the run into this folder.")]
Sets = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="SECTION.KEY=VALUE", help="Override one key."),
]
Seed = Annotated[int | None, typer.Option(help="The seed of the first repetition.")]
Effort = Annotated[Profile | None, typer.Option(help="How hard the attacks try.")]
Force = Annotated[bool, typer.Option("--force", help="Replace an existing --out.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="Show no progress.")]


def _share(jobs: int | None) -> int | None:
    """Set how many processes share the work; see `fl.parallel`."""
    if jobs is not None:
        os.environ[WORKERS] = str(jobs)
    return jobs


# Changes no result and stands in no record: a run may be gone on with by any number.
Jobs = Annotated[
    int | None,
    typer.Option(
        "--jobs",
        metavar="N",
        min=1,
        max=WORKERS_MAX,
        callback=_share,
        help="Share the work among so many processes; one a core if not given.",
    ),
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")
]

Useless = Annotated[
    bool,
    typer.Option(
        "--allow-useless",
        help="Run client-level noise for fewer than 50 clients.",
    ),
]
Resume = Annotated[
    Path | None,
    typer.Option(
        metavar="RUN",
        help="Go on with a run that was stopped, as it was configured.",
    ),
]
TensorBoard = Annotated[
    bool, typer.Option("--tensorboard", help="Write the rounds for TensorBoard too.")
]
MLflow = Annotated[
    str | None,
    typer.Option("--mlflow", metavar="URI", help="Log the rounds to MLflow too."),
]


def refuse_others(*others: object) -> None:
    """Refuse whatever would change a run that is gone on with.

    Raises:
        ConfigError: something beside --resume was given.
    """
    if any(one is not None and one != [] for one in others):
        raise ConfigError(
            "--resume goes on with a run as it was configured; leave out CONFIG.toml "
            "and all other options but --quiet."
        )


def with_trackers(
    sets: Sequence[str] | None, tensorboard: bool, mlflow: str | None
) -> list[str]:
    """Add the flags that stand for keys of the section [log]."""
    found = list(sets or ())
    if tensorboard:
        found.append("log.tensorboard=true")
    if mlflow is not None:
        found.append(f"log.mlflow={json.dumps(mlflow)}")
    return found
