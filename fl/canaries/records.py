"""Canary records and subjects, trained on with a client's own records.

A canary record is a real held-out record under a wrong label. A canary subject is a
made-up person with as many copies of such a record as one person may have in a step.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

import secagg
from attacks import coins
from fl.canaries.trial import Guessed, Scores, Trial, seed_of
from fl.course import admit, open_books
from fl.federation import Client, Federation
from fl.models import build, load_vector, to_vector
from fl.round import draw_cohort, run_one
from fl.seeds import rng_for, seed_for


@dataclass(frozen=True, slots=True, kw_only=True)
class Planted:
    """Canary records, how often each comes, and the client that it would belong to."""

    x: torch.Tensor
    y: torch.Tensor
    owner: NDArray[np.int64]
    included: NDArray[np.bool_]
    copies: int


def play_records(trial: Trial, copies: int) -> Guessed:
    """Plant canary records; score each by its gradient in its client's uploads.

    Args:
        trial: under a protection whose clients add noise to their steps.
        copies: records of one canary, all alike and all of one person.
    """
    protection, config, seed = trial.protection, trial.config, seed_of(trial)
    planted = plant(trial, copies)
    federation = replace(trial.federation, clients=grown_by(trial.federation, planted))
    model = build(
        config.model,
        federation.input_shape,
        federation.classes,
        seed_for(seed, "canary model"),
    )
    books = open_books(protection, config)
    names = [client.name for client in federation.clients]
    scores = np.zeros(len(planted.owner))
    for index in range(config.training.rounds):
        cohort = draw_cohort(federation, config, seed=seed, index=index)
        before = to_vector(model)
        admitted = admit(
            books,
            cohort,
            protection,
            index=index,
            length=len(before),
            attendance=None,
        )
        try:
            sent = run_one(model, admitted, protection, config, seed=seed, index=index)
        except secagg.AbortError:
            continue
        uploads = sent.aggregate.transcript.uploads()
        probe = build(config.model, federation.input_shape, federation.classes, 0)
        load_vector(probe, before)
        for number, owner in enumerate(planted.owner):
            if names[owner] in uploads:
                gradient = direction_of(probe, planted.x[number], planted.y[number])
                scores[number] -= float(uploads[names[owner]].vector @ gradient)
    return Guessed(scores=scores, included=planted.included)


def plant(trial: Trial, copies: int = 1) -> Planted:
    """Draw canary records, their clients and their coins."""
    federation, seed = trial.federation, seed_of(trial)
    rng = rng_for(seed, "canary records")
    clients = len(federation.clients)
    held_out = federation.held_out
    each = -(-trial.config.attacks.canaries // clients)
    each = max(1, min(each, len(held_out.ids) // clients))
    count = min(each * clients, len(held_out.ids))
    rows = torch.from_numpy(rng.permutation(len(held_out.ids))[:count])
    shift = torch.from_numpy(rng.integers(1, federation.classes, size=count))
    return Planted(
        x=held_out.x[rows],
        y=(held_out.y[rows] + shift) % federation.classes,
        owner=np.arange(count) % clients,
        included=coins(count, seed=seed_for(seed, "canary coins")),
        copies=copies,
    )


def grown_by(federation: Federation, planted: Planted) -> tuple[Client, ...]:
    """Return the clients with the canaries that their coins let in."""
    grown = []
    for number, client in enumerate(federation.clients):
        own = np.flatnonzero((planted.owner == number) & planted.included)
        own = np.repeat(own, planted.copies)
        ids = np.full(len(own), -1, dtype=np.int64)  # rows of no data set
        people = client.subjects
        if people is not None:  # below zero nobody else is
            people = np.concatenate([people, -1 - own])
        grown.append(
            Client(
                name=client.name,
                x=torch.cat([client.x, planted.x[own]]),
                y=torch.cat([client.y, planted.y[own]]),
                ids=np.concatenate([client.ids, ids]),
                subjects=people,
            )
        )
    return tuple(grown)


def direction_of(model: torch.nn.Module, x: torch.Tensor, y: torch.Tensor) -> Scores:
    """Return the direction of one record's gradient, of norm 1."""
    loss = torch.nn.functional.cross_entropy(model(x[None]), y[None])
    parts = torch.autograd.grad(loss, list(model.parameters()))
    flat = torch.cat([part.reshape(-1) for part in parts]).double().numpy()
    return np.asarray(flat / max(float(np.linalg.norm(flat)), 1e-12))
