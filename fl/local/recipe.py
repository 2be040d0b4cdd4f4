"""What a client does with its records in one round: passes, batches, optimiser."""

from __future__ import annotations

import math
from dataclasses import dataclass

from fl.local.optimiser import Rule
from fl.settings import TrainingConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """One round's local training.

    Attributes:
        epochs: passes over the records, each in its own order.
        batch_size: records per step; the last step of an epoch may have fewer.
        rule: how a step follows from a gradient.
        proximal: mu of FedProx (Li et al., "Federated optimization in heterogeneous
            networks", MLSys 2020, eq. 2): mu (w - w0) is added to every gradient,
            w0 the model that the round began from. 0 for FedAvg.
    """

    epochs: int
    batch_size: int
    rule: Rule
    proximal: float = 0.0


def recipe_for(training: TrainingConfig, index: int) -> Recipe:
    """Return the configured recipe for round ``index``, with its learning rate."""
    return Recipe(
        epochs=training.local_epochs,
        batch_size=training.batch_size,
        rule=Rule(
            optimizer=training.optimizer,
            learning_rate=learning_rate_at(training, index),
            momentum=training.momentum,
            weight_decay=training.weight_decay,
        ),
        proximal=training.proximal,
    )


def learning_rate_at(training: TrainingConfig, index: int) -> float:
    """Return the learning rate of round ``index``, from 0.

    It climbs in equal steps over the warm-up rounds, then is constant, or falls along
    half a cosine to a hundredth of itself in the last round, or is halved three times.
    """
    full, warm = training.learning_rate, training.warmup
    if index < warm:
        return full * (index + 1) / (warm + 1)
    done = (index - warm) / max(training.rounds - 1 - warm, 1)
    if training.schedule == "cosine":
        return full * (0.01 + 0.99 * (1 + math.cos(math.pi * done)) / 2)
    if training.schedule == "step":
        return full * 0.5 ** min(int(4 * done), 3)
    return full
