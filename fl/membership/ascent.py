"""Nasr's active attack: a malicious server raises the loss of records, and waits.

It walks an early model of the run up the loss of the records that it asks about,
members and others alike, and sends that out as if it were the released one. The clients
train on it as always and answer through the protection's own messages. Where a record's
loss is pulled back further, somebody trained on it.

This is a round of its own, beside the run: it moves no ledger, as the worst case of
gradient inversion does not (`fl.worst_case`).
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import cross_entropy

import secagg
from attacks.membership.federated import nasr_active
from attacks.membership.federated.nasr import ACTIVE
from attacks.membership.federated.registry import Signal
from fl.config import Config
from fl.federation import Federation
from fl.finding import Finding, Group, Measure, Missing, Ranking
from fl.local import learning_rate_at
from fl.membership.asked import asked_of
from fl.membership.attacked import Attacked
from fl.membership.changes import BY_CLIENT, SUM, Kind, sights
from fl.models import build, load_vector, to_vector
from fl.protection import Protection
from fl.round import absent_from, aggregate, draw_cohort
from fl.seeds import seed_for
from fl.sensitivity import fitted
from fl.shots import WORST_CASE
from fl.updates import local_updates

# Steps up the hill; Nasr et al. take one per record, at a rate that they search for.
STEPS = 5
AFTER = "after gradient ascent, "
KINDS = BY_CLIENT | {Kind.COHORT, Kind.HONEST}


def findings(
    runs: Sequence[Attacked], protection: Protection, config: Config
) -> list[Finding]:
    """Play one such round for each run, and attack what comes back."""
    seeds, began = tuple(one.run.seed for one in runs), time.perf_counter()
    views = [
        one
        for one in sights(protection, config.federation.corrupt)
        if one.kind in KINDS
    ]
    try:
        played: Sequence[Attacked] | Missing = [_played(one) for one in runs]
    except secagg.AbortError:
        played = Missing(metric="AUC", why="too few clients joined the round.")
    rows = []
    for sight in views:
        measure = (
            played if isinstance(played, Missing) else _measure(played, sight.kind)
        )
        rows += [
            Finding(
                protection=protection.name,
                adversary=adversary,
                view=AFTER + sight.name,
                scenario=WORST_CASE,
                attack=ACTIVE,
                measures=(measure,),
                seeds=seeds,
                seconds=time.perf_counter() - began,
                prevented=sight.prevented,
            )
            for adversary in sight.adversaries
        ]
    return rows


def _played(one: Attacked) -> Attacked:
    """Return the run with the attacker's round in the place of its own."""
    federation, config = one.federation, one.config
    protection = fitted(one.protection, federation, config.model)
    # The earliest model knows least of anybody's records, and the attacker may choose.
    start = one.run.snapshots[0].before
    seed = seed_for(one.run.seed, "ascent")
    cohort = draw_cohort(federation, config, seed=seed, index=0)
    names = {client.name for client in cohort}
    asked = asked_of(names, federation, config.federation.corrupt, seed=one.run.seed)
    inside, outside = asked.together()
    raised = _raised(start, federation, np.union1d(inside, outside), config)
    model = build(config.model, federation.input_shape, federation.classes, 0)
    updates = local_updates(
        model, raised, cohort, protection, config, seed=seed, index=0
    )
    snapshot = aggregate(
        updates,
        {client.name: protection.weight(client.records) for client in cohort},
        raised,
        protection,
        config,
        vanish={},
        seed=seed,
        name=("ascent", 0),
        absent=[each.name for each in absent_from(federation, cohort, protection)],
    )
    return Attacked(
        run=replace(one.run, snapshots=(snapshot,)),
        federation=federation,
        protection=protection,
        config=config,
    )


def _raised(
    vector: NDArray[np.float32],
    federation: Federation,
    rows: NDArray[np.int64],
    config: Config,
) -> NDArray[np.float32]:
    """Return the model after some steps up the mean loss of these records."""
    model = build(config.model, federation.input_shape, federation.classes, 0)
    load_vector(model, vector)
    model.eval()
    x = torch.from_numpy(federation.dataset.features[rows])
    y = torch.from_numpy(federation.dataset.labels[rows])
    rate = learning_rate_at(config.training, 0)
    parameters = list(model.parameters())
    for _ in range(STEPS if len(rows) else 0):
        loss = cross_entropy(model(x), y)
        slopes = torch.autograd.grad(loss, parameters, materialize_grads=True)
        with torch.no_grad():
            for parameter, slope in zip(parameters, slopes, strict=True):
                parameter.add_(slope, alpha=rate)
    return to_vector(model)


def _measure(played: Sequence[Attacked], kind: Kind) -> Measure:
    groups = tuple(group for one in played for group in _groups(one, kind))
    if not groups:
        return Missing(metric="AUC", why="the round holds no honest client's update.")
    return Ranking(groups=groups)


def _groups(one: Attacked, kind: Kind) -> list[Group]:
    (snapshot,), asked = one.run.snapshots, one.asked
    sent = -one.measurer.of_model(Signal.LOSS, snapshot.before)
    sides = {
        name: (asked.members[name], asked.nonmembers[name]) for name in asked.members
    }
    if kind not in BY_CLIENT:
        sides = {SUM: asked.together()}
    return [
        one.group(nasr_active(sent[None], -back[name][None]), *side)
        for back in one.rounds(kind, Signal.LOSS)
        for name, side in sides.items()
        if name in back and all(len(rows) for rows in side)
    ]
