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
from fl.ensemble import train_ensemble
from fl.federation import Federation
from fl.local import predict_logits
from fl.models import build, load_vector
from fl.parallel import each
from fl.progress import Task
from fl.protection import Protection, in_the_clear
from fl.seeds import seed_for

# Shadows trained as one stack. Fixed: the bits may depend on it, never on the machine.
TOGETHER = 8


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
        seeds = [seed_for(seed, number) for number in range(len(members))]
        jobs = (
            _Job(
                federation=self._federation,
                protection=self._protection,
                config=self._config,
                rows=[np.flatnonzero(row) for row in members[start : start + TOGETHER]],
                seeds=seeds[start : start + TOGETHER],
            )
            for start in range(0, len(members), TOGETHER)
        )
        logits = []
        for some in each(_train, jobs, count=len(members)):
            logits += some
            for _ in some:
                self._task.advance()
        return np.stack(logits)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Job:
    federation: Federation
    protection: Protection
    config: Config
    rows: list[NDArray[np.int64]]
    seeds: list[int]


def _train(job: _Job) -> list[NDArray[np.float32]]:
    """Train some shadow federations; return each model's logits on all records."""
    config = job.config
    federations = [
        job.federation.redealt(rows, config, seed_for(seed, "partition"))
        for rows, seed in zip(job.rows, job.seeds, strict=True)
    ]
    finals = train_ensemble(federations, job.protection, config, seeds=job.seeds)
    shape, classes = job.federation.input_shape, job.federation.classes
    model = build(config.model, shape, classes, 0)
    records = torch.from_numpy(job.federation.dataset.features)
    logits = []
    for final in finals:
        load_vector(model, final)
        logits.append(predict_logits(model, records))
    return logits
