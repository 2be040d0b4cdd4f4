"""How good the released model is, and what training without a federation would give.

The baselines are always there: one model on all records in one place, and models of
single clients, with the same passes over the data. An accuracy stands with an interval
that resamples repetitions and held-out records; a record that recurs in several
repetitions is resampled as a whole.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from attacks import clopper_pearson
from fl.config import Config
from fl.federation import Federation
from fl.local import Member, Recipe, recipe_for, train_stacked
from fl.models import build, load_vector, to_vector
from fl.seeds import seed_for

CONFIDENCE = 0.95
RESAMPLES = 2000
# Clients whose own models are trained, at most, evenly chosen.
LOCAL_ONLY = 20
_CHUNK = 100  # resamples held in memory at once


@dataclass(frozen=True, slots=True, kw_only=True)
class Accuracy:
    """A fraction right, its interval, and n, the distinct records behind it."""

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


def accuracy(
    correct: Sequence[NDArray[np.bool_]],
    records: Sequence[NDArray[np.int64]],
    *,
    seed: int,
) -> Accuracy:
    """Return the mean accuracy over models with a 95 % interval.

    Percentiles of a bootstrap that draws models with replacement and weighs records
    jointly across models (Bayesian bootstrap, Rubin 1981), united with Clopper-Pearson
    over the distinct records, so that an accuracy of one has an interval too. With few
    models it is narrower than it should be, which n does not show.

    Args:
        correct: per model, (held out,) bool.
        records: per model, (held out,) which record each entry is.
        seed: of the resampling.
    """
    rng = np.random.default_rng(seed_for(seed, "accuracy"))
    distinct = np.unique(np.concatenate(records))
    places = [np.searchsorted(distinct, one) for one in records]
    models = len(correct)
    means = []
    for start in range(0, RESAMPLES, _CHUNK):
        size = min(_CHUNK, RESAMPLES - start)
        chosen = rng.multinomial(models, [1 / models] * models, size=size)
        weights = rng.standard_exponential((size, len(distinct)))
        rates = [
            (weights[:, place] @ one) / weights[:, place].sum(axis=1)
            for place, one in zip(places, correct, strict=True)
        ]
        means.append((chosen * np.stack(rates, axis=1)).sum(axis=1) / models)
    tails = [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2]
    low, high = np.quantile(np.concatenate(means), tails)
    value = float(np.mean([one.mean() for one in correct]))
    fixed = clopper_pearson(round(value * len(distinct)), len(distinct), CONFIDENCE)
    return Accuracy(
        value=value,
        # A ratio of sums may pass one by a rounding.
        low=min(float(low), fixed.low, value),
        high=min(1.0, max(float(high), fixed.high, value)),
        n=len(distinct),
    )


def baselines(federation: Federation, config: Config, *, seed: int) -> Baseline:
    """Train the pooled and some local-only models of one repetition."""
    model = build(
        config.model,
        federation.input_shape,
        federation.classes,
        seed_for(seed, "model"),
    )
    return Baseline(
        local_only=tuple(_local_only(model, federation, config, seed)),
        pooled=_pooled(model, federation, config, seed),
    )


def _local_only(
    model: torch.nn.Module, federation: Federation, config: Config, seed: int
) -> Iterator[NDArray[np.bool_]]:
    """Yield what clients' own models get right; leave ``model`` as it was."""
    step = -(-len(federation.clients) // LOCAL_ONLY)
    members = [
        Member(client.x, client.y, seed_for(seed, "baseline", client.name))
        for client in federation.clients[::step]
    ]
    before = to_vector(model)
    changes = train_stacked(
        model, members, _recipe(config), device=torch.device(config.training.device)
    )
    for change in changes:
        load_vector(model, before + change)
        yield federation.held_out.correct(model)
    load_vector(model, before)


def _pooled(
    model: torch.nn.Module, federation: Federation, config: Config, seed: int
) -> NDArray[np.bool_]:
    """Train ``model`` on all records in one place; return what it gets right."""
    everything = Member(
        torch.cat([client.x for client in federation.clients]),
        torch.cat([client.y for client in federation.clients]),
        seed_for(seed, "baseline", "pooled"),
    )
    (change,) = train_stacked(
        model,
        [everything],
        _recipe(config),
        device=torch.device(config.training.device),
    )
    load_vector(model, to_vector(model) + change)
    return federation.held_out.correct(model)


def _recipe(config: Config) -> Recipe:
    """Return all passes of a federated run as one training, without FedProx.

    The learning rate is that of the middle round.
    """
    training = config.training
    one_round = recipe_for(training, training.rounds // 2)
    epochs = training.rounds * training.local_epochs
    return replace(one_round, epochs=epochs, proximal=0.0)
