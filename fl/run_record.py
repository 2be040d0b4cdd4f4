"""What is written down of a training run: its rounds, its ledger, its final model.

Frozen values; the loop that fills them is `fl.run`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fl.round import Snapshot


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundRecord:
    """What one round did, in numbers; bytes and CPU seconds are means per client.

    An aborted round (too few clients were left) sends no sum; its bytes and CPU seconds
    are not counted. ``bytes_down`` includes the released model. ``epsilon`` bounds what
    the party that spent most has spent so far; None without differential privacy.
    ``cohort`` counts whose coin said yes, ``refused`` those of them whose budget would
    not last, ``dropouts`` those of the rest who fell silent at some step; ``seconds``
    is wall time. ``clip_norm_l2`` is the bound on the round's updates where it follows
    earlier ones, None where it is the same in all rounds.
    """

    index: int
    aborted: bool
    accuracy: float
    loss: float
    survivors: int = 0
    bytes_up: float = 0.0
    bytes_down: float = 0.0
    client_cpu_s: float = 0.0
    server_cpu_s: float = 0.0
    max_error: float = 0.0
    epsilon: float | None = None
    cohort: int = 0
    refused: int = 0
    dropouts: int = 0
    seconds: float = 0.0
    clip_norm_l2: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """What one party's ledger says at the end of a run.

    Attributes:
        party: a client, or all of them where they share one mechanism.
        unit: of privacy.
        releases: how often something about it was released.
        refused: rounds that the ledger refused, since the budget would not last.
        epsilon: spent over the whole run, at the budget's delta.
    """

    party: str
    unit: str
    releases: int
    refused: int
    epsilon: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRecord:
    """One federated training run.

    Attributes:
        protection: its name.
        seed: everything random in the run follows from it (a simulation).
        rounds: one record per round.
        snapshots: the rounds kept whole for the audit.
        final: the released model, (parameters,) float32.
        correct: per held-out record, whether the released model is right.
        accounts: of the ledger; empty without differential privacy.
        seconds: wall time of the training.
    """

    protection: str
    seed: int
    rounds: tuple[RoundRecord, ...]
    snapshots: tuple[Snapshot, ...]
    final: NDArray[np.float32]
    correct: NDArray[np.bool_]
    accounts: tuple[Account, ...]
    seconds: float
