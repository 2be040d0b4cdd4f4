"""Attribute inference on every model that somebody gets to see.

Of a training record all is known but one column: is it named right more often than by
imputation, which never sees the model? And is the truth favoured more for records that
the model was trained on than for others? Only the second is about the records; the
first may be what the model has learnt of people in general.

The attacker's own records, from which it learns how columns go together, are one half
of the held-out records; the others of them are those to compare members with.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from attacks import ParameterError
from attacks.property import impute, levels_of, posterior, substituted
from attacks.property.attributes import level_numbers
from fl.config import Config
from fl.finding import Finding, Group, Measure, Missing, Paired, Ranking
from fl.local import predict_logits
from fl.membership import targets
from fl.membership.targets import Runs, Target
from fl.models import build, load_vector
from fl.named import field_of
from fl.protection import Protection
from fl.seeds import rng_for
from fl.shots import AS_CONFIGURED

ATTACK = "attribute inference: {name}"
METRIC = "named right (fraction)"
# Records of either kind asked about under one model: their number decides the interval.
ASKED = 400

Indices = NDArray[np.int64]


def findings(runs: Runs, protection: Protection, config: Config) -> list[Finding]:
    """Guess each column that ``attacks.attributes`` names, under every model seen."""
    seeds = tuple(run.seed for run, _ in runs)
    views = [targets.released(runs, protection)]
    views += targets.inside(runs, protection, config)
    found = []
    for name in config.attacks.attributes:
        for view in views:
            began = time.perf_counter()
            measures = _measures(name, view.targets, config)
            seconds = time.perf_counter() - began
            found += [
                Finding(
                    protection=protection.name,
                    adversary=adversary,
                    view=view.name,
                    scenario=AS_CONFIGURED,
                    attack=ATTACK.format(name=name),
                    measures=measures,
                    seeds=seeds,
                    seconds=seconds,
                )
                for adversary in view.adversaries
            ]
    return found


@dataclass(frozen=True, slots=True)
class _Answers:
    """What is said of some records.

    Attributes:
        favour: how much likelier the model finds the label under the true value than
            under the others on average, in log; imputation has no part in it.
        right: whether model and imputation together name the true value.
        imputed: whether imputation alone does.
    """

    favour: NDArray[np.float64]
    right: NDArray[np.bool_]
    imputed: NDArray[np.bool_]


def _measures(
    name: str, attacked: Sequence[Target], config: Config
) -> tuple[Measure, ...]:
    values, nulls, groups = [], [], []
    try:
        for number, target in enumerate(attacked):
            members, others, known = _chosen(target, number, len(attacked), config)
            ids = np.concatenate([members, others])
            said = _answer(name, target, ids, known, config)
            inside = np.arange(len(ids)) < len(members)
            whose = target.federation.dataset.subjects
            persons = None if whose is None else whose[ids]
            own = None if persons is None else persons[inside]
            values.append(_each(said.right[inside], own))
            nulls.append(_each(said.imputed[inside], own))
            groups.append(
                Group(scores=said.favour, members=inside, records=ids, persons=persons)
            )
    except ParameterError as error:
        return (Missing(metric=METRIC, why=str(error)),)
    return (
        Paired(
            metric=METRIC,
            support=(0.0, 1.0),
            values=np.concatenate(values),
            nulls=np.concatenate(nulls),
        ),
        Ranking(groups=tuple(groups)),
    )


def _each(named: NDArray[np.bool_], persons: Indices | None) -> NDArray[np.float64]:
    """Return the share of a person's records that were named right, per person.

    A person's records are alike: only persons are independent victims.
    """
    if persons is None:
        return named.astype(np.float64)
    _, of = np.unique(persons, return_inverse=True)
    return np.asarray(np.bincount(of, weights=named) / np.bincount(of))


def _chosen(
    target: Target, number: int, models: int, config: Config
) -> tuple[Indices, Indices, Indices]:
    """Return members and others to ask about, and the attacker's own records.

    Models of one page take turns at the records, or at the persons whose they are, so
    that nobody is asked about twice and victims stay independent.
    """
    rng = rng_for(config.seed, "attribute inference")
    dataset = target.federation.dataset
    persons = dataset.subjects
    if persons is None:
        persons = np.arange(len(dataset.labels))
    known_persons, of = np.unique(persons, return_inverse=True)
    turn = (rng.permutation(len(known_persons)) % models)[of]
    held = rng.permutation(target.federation.held_out.ids)
    known, rest = held[: len(held) // 2], held[len(held) // 2 :]
    members = rng.permutation(target.members)
    mine = members[turn[members] == number][:ASKED]
    rest = np.intersect1d(rest, target.nonmembers)
    others = rest[turn[rest] == number][:ASKED]
    if not len(mine) or not len(others):
        raise ParameterError(
            "Too few records are left to ask about; lower repeats or add records."
        )
    return mine, others, known


def _answer(
    name: str, target: Target, ids: Indices, known: Indices, config: Config
) -> _Answers:
    """Guess the column of each record by imputation, and by it and the model."""
    federation = target.federation
    features, labels = federation.dataset.features, federation.dataset.labels
    field = field_of(federation, name)
    levels = levels_of(features[known], field)
    prior = impute(
        features[known], labels[known], features[ids], labels[ids], field, levels
    )
    likely = _likelihood(
        target, substituted(features[ids], field, levels), labels[ids], config
    )
    after = posterior(prior, likely)
    truth = level_numbers(features[ids], field, levels)
    at = np.arange(len(ids)), truth.clip(min=0)  # -1: a value that nobody guesses
    rest = likely.copy()
    rest[at] = -np.inf
    odds = likely[at] - np.logaddexp.reduce(rest, axis=1) + np.log(len(levels) - 1)
    return _Answers(
        favour=np.where(truth >= 0, odds, 0.0),
        right=after.argmax(axis=1) == truth,
        imputed=prior.argmax(axis=1) == truth,
    )


def _likelihood(
    target: Target,
    copies: NDArray[np.float32],
    labels: NDArray[np.int64],
    config: Config,
) -> NDArray[np.float64]:
    """Return log p(label | record with each value), (records, values)."""
    federation = target.federation
    model = build(config.model, federation.input_shape, federation.classes, 0)
    load_vector(model, target.parameters.astype(np.float32))
    said = [predict_logits(model, torch.from_numpy(copy)) for copy in copies]
    logits = torch.from_numpy(np.stack(said)).double()
    logs = torch.log_softmax(logits, dim=-1).numpy()
    return np.asarray(logs[:, np.arange(len(labels)), labels].T)
