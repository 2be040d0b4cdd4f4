"""How good the released model is, and what training without a federation would give.

The baselines are always there: one model on all records in one place, and one model per
client alone, with the same passes over the data. An accuracy stands with an interval
that resamples repetitions and their held-out records.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from fl.config import Config
from fl.federation import Client, Federation
from fl.local import train_local
from fl.models import build
from fl.progress import Task
from fl.seeds import seed_for

CONFIDENCE = 0.95
RESAMPLES = 2000


@dataclass(frozen=True, slots=True, kw_only=True)
class Accuracy:
    """A fraction right, with its bootstrap interval and the predictions behind it."""

    value: float
    low: float
    high: float
    n: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Baseline:
    """Per held-out record, whether each baseline of one repetition is right.

    Attributes:
        pooled: (held out,) bool, of the model trained on all records.
        local_only: one such array per client's own model.
    """

    pooled: NDArray[np.bool_]
    local_only: tuple[NDArray[np.bool_], ...]


def accuracy(correct: Sequence[NDArray[np.bool_]], *, seed: int) -> Accuracy:
    """Return the mean accuracy over models with a 95 % percentile interval.

    Each resample draws models with replacement, then held-out records within each;
    with few models it is narrower than it should be, which n does not show.

    Args:
        correct: per model, (held out,) bool.
        seed: of the resampling.
    """
    rng = np.random.default_rng(seed_for(seed, "accuracy"))
    rates = np.array([one.mean() for one in correct])
    sizes = np.array([len(one) for one in correct])
    chosen = rng.integers(len(correct), size=(RESAMPLES, len(correct)))
    hits = rng.binomial(sizes[chosen], rates[chosen])
    means = (hits / sizes[chosen]).mean(axis=1)
    low, high = np.quantile(means, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    value = float(rates.mean())
    return Accuracy(
        value=value,
        low=min(float(low), value),
        high=max(float(high), value),
        n=int(sizes.sum()),
    )


def baselines(
    federation: Federation, config: Config, *, seed: int, task: Task
) -> Baseline:
    """Train the pooled and the local-only models of one repetition."""
    everyone = Client(
        name="pooled",
        x=torch.cat([client.x for client in federation.clients]),
        y=torch.cat([client.y for client in federation.clients]),
        ids=federation.train_ids,
    )
    pooled = _alone(everyone, federation, config, seed)
    task.advance("pooled")
    local_only = []
    for client in federation.clients:
        local_only.append(_alone(client, federation, config, seed))
        task.advance(client.name)
    return Baseline(pooled=pooled, local_only=tuple(local_only))


def _alone(
    client: Client, federation: Federation, config: Config, seed: int
) -> NDArray[np.bool_]:
    training = config.training
    model = build(
        config.model,
        federation.input_shape,
        federation.classes,
        seed_for(seed, "model"),
    )
    train_local(
        model,
        client.x,
        client.y,
        epochs=training.rounds * training.local_epochs,
        batch_size=training.batch_size,
        learning_rate=training.learning_rate,
        momentum=training.momentum,
        seed=seed_for(seed, "baseline", client.name),
    )
    return federation.held_out.correct(model)
