"""What every stage is given."""

from __future__ import annotations

from dataclasses import dataclass

from fl.config import Config
from fl.data import Dataset, RawTable
from fl.folder import RunFolder
from fl.ledgers import LedgerFiles
from fl.progress import Reporter
from fl.protection import Protection
from fl.round_log import Listener
from fl.shelf import Shelf

# Effort of the attacks by profile: victims, matching iterations.
EFFORT = {"quick": (0.5, 0.3), "standard": (1.0, 1.0), "full": (4.0, 3.0)}
# Rounds kept whole per run, spread from the first to the last.
KEPT_ROUNDS = 4
# The full profile has no fewer victims in a view than these.
FULL_VICTIMS = 50
# Gradient matching is slow: of the worst case it looks at this many of the smallest
# batch sizes, and at one victim in so many; at all where few are left.
MATCHED_BATCHES = 1
MATCHED_EVERY, FEW_VICTIMS = 2, 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """One audit: its data, its protections, and where it is written.

    Attributes:
        raw: the loaded records.
        protections: in the order of the report.
        config: the resolved configuration.
        folder: that the run is written to.
        progress: told of long work.
        shelf: keeps finished pieces for a later sitting; None keeps none.
        trackers: told of every round.
        ledgers: on disk, that every round is spent in; None keeps none.
    """

    raw: Dataset | RawTable
    protections: tuple[Protection, ...]
    config: Config
    folder: RunFolder
    progress: Reporter
    shelf: Shelf | None = None
    trackers: tuple[Listener, ...] = ()
    ledgers: LedgerFiles | None = None


def effort(config: Config) -> tuple[int, int]:
    """Return the worst case's victims per view and the iterations of matching."""
    victims, iterations = EFFORT[config.profile]
    least = FULL_VICTIMS if config.profile == "full" else 2
    return (
        max(least, round(config.attacks.victims * victims)),
        max(1, round(config.attacks.iterations * iterations)),
    )


def matched_every(victims: int) -> int:
    """Return of how many victims one is searched: one alone would give no interval."""
    return MATCHED_EVERY if victims >= FEW_VICTIMS else 1
