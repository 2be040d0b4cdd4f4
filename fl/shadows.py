"""Shadow models: the same federated training on records that the attacker chose.

Fills ``attacks.Trainer``: membership bits in, logits out. A shadow is trained exactly
as the target was, with the same noise and ledger; its updates are summed in the clear,
since the sum is the same.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from fl.config import Config
from fl.federation import Federation
from fl.local import predict_logits
from fl.models import build, load_vector
from fl.parallel import each
from fl.progress import Task
from fl.protection import Protection, in_the_clear
from fl.run import train
from fl.seeds import seed_for


class FederatedTrainer:
    """Trains shadow federations; an ``attacks.Trainer``."""

    def __init__(
        self, federation: Federation, protection: Protection, config: Config, task: Task
    ) -> None:
        self._federation = federation
        self._protection = in_the_clear(protection)
        self._config = config
        self._task = task

    def logits(self, members: NDArray[np.bool_], *, seed: int) -> NDArray[np.float32]:
        """Train one model per row of ``members``; return its logits on all records.

        Args:
            members: (shadows, records) bool.
            seed: everything random in the shadows follows from it.

        Returns:
            (shadows, records, classes) float32.
        """
        jobs = (
            _Job(
                federation=self._federation,
                protection=self._protection,
                config=self._config,
                rows=np.flatnonzero(row).astype(np.int64),
                seed=seed_for(seed, number),
            )
            for number, row in enumerate(members)
        )
        logits = []
        for one in each(_train_one, jobs, count=len(members)):
            logits.append(one)
            self._task.advance()
        return np.stack(logits)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Job:
    federation: Federation
    protection: Protection
    config: Config
    rows: NDArray[np.int64]
    seed: int


def _train_one(job: _Job) -> NDArray[np.float32]:
    """Train one shadow federation; return its model's logits on all records."""
    config, seed = job.config, job.seed
    federation = job.federation.redealt(job.rows, config, seed_for(seed, "partition"))
    done = train(federation, job.protection, config, seed=seed, keep=())
    model = build(config.model, federation.input_shape, federation.classes, 0)
    load_vector(model, done.final)
    return predict_logits(model, torch.from_numpy(federation.dataset.features))
