"""Canaries: made-up members whose presence is decided by a coin, guessed from releases.

Each plays through the protection's own clip, encoder, messages, noise, cohorts and
dropouts, for as many rounds as the training has; what the adversary of the guarantee
sees is scored, and a lower bound on epsilon follows from how many coins are guessed
right (Steinke, Nasr and Jagielski 2023; the bound is `attacks.one_run_audit`).

A canary client sends one coordinate of the largest allowed norm (a Dirac canary), so
that canaries do not disturb one another. A canary record is a real held-out record
under a wrong label, trained on with a client's own records. A canary subject is a made-
up person with as many copies of such a record as one person may have in a step.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

import dp
import secagg
from attacks import coins, dirac, own_coordinates
from fl import privacy
from fl.clipping import at_clip
from fl.config import Config
from fl.course import admit, open_books
from fl.federation import Client, Federation
from fl.models import build, load_vector, parameter_count, to_vector
from fl.protection import Protection, in_the_clear
from fl.round import (
    Released,
    aggregate,
    draw_cohort,
    draw_vanishing,
    released,
    run_one,
)
from fl.seeds import rng_for, seed_for
from fl.updates import as_sent

Scores = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One run with canaries: a protection, a federation and a seed."""

    protection: Protection
    federation: Federation
    config: Config
    seed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Guessed:
    """What a run with canaries gives: a score (higher: was in) and a coin for each."""

    scores: Scores
    included: NDArray[np.bool_]


def play(trial: Trial) -> Guessed:
    """Run one trial under the unit of its protection.

    Raises:
        ValueError: the protection has no differential privacy to audit.
    """
    if isinstance(trial.protection.central, dp.CorrelatedSum):
        return _scheduled(trial, trial.protection.central)
    if trial.protection.central is not None:
        return _clients(trial)
    if trial.protection.local is not None:
        return _alone(trial)
    if trial.protection.shares is not None:
        return _uploaders(trial, trial.protection.shares.clients)
    if trial.protection.example is not None:
        own = trial.protection.example.settings
        alike = own.max_records_per_subject if own.unit == privacy.SUBJECT else 1
        # The bound holds for whoever reads an upload, so nothing is hidden from us.
        bare = in_the_clear(trial.protection)
        return play_records(replace(trial, protection=bare), alike)
    raise ValueError(f"{trial.protection.name} claims no epsilon to audit.")


def _clients(trial: Trial) -> Guessed:
    """Let canary clients in by their coins; score each by its own coordinate."""
    protection, config, seed = trial.protection, trial.config, _seed(trial)
    length = parameters(trial)
    count = min(config.attacks.canaries, length)
    included = coins(count, seed=seed_for(seed, "canary coins"))
    places = own_coordinates(count, length)
    protection = _for_all(protection, count)
    scores, clip = np.zeros(count), protection.clip_norm_l2
    for index in range(config.training.rounds):
        joined = rng_for(seed, "canary cohort", index).random(count)
        inside = np.flatnonzero(included & (joined < config.federation.participation))
        out = release_of(
            places[inside],
            length,
            at_clip(protection, config, clip),
            config,
            seed=seed,
            index=index,
        )
        # Noise and canaries are as large as the clip norm of their round.
        scores += out.change[places].astype(np.float64) / clip
        clip = out.clip_norm_l2
    return Guessed(scores=scores, included=included)


def _uploaders(trial: Trial, enrolled: int) -> Guessed:
    """Let canary clients in by their coins, in federations of `enrolled` of them.

    All upload in every round, zeros if they are not in, or if their coin of the round
    says so. Federations are disjoint, so all of it is one mechanism with one epsilon.
    """
    protection, config, seed = trial.protection, trial.config, _seed(trial)
    length = parameters(trial)
    count = min(config.attacks.canaries, length)
    included = coins(count, seed=seed_for(seed, "canary coins"))
    places = own_coordinates(count, length)
    scores, groups = np.zeros(count), range(0, count, enrolled)
    for index in range(config.training.rounds):
        joined = rng_for(seed, "canary cohort", index).random(count)
        sending = included & (joined < config.federation.participation)
        for number, start in enumerate(groups):
            own = slice(start, start + enrolled)
            zeros = enrolled - int(sending[own].sum())
            out = release_of(
                places[own][sending[own]],
                length,
                protection,
                config,
                seed=seed,
                index=index * len(groups) + number,
                absent=[_stub(place) for place in range(length, length + zeros)],
            )
            scores[own] += out.change[places[own]]
    return Guessed(scores=scores, included=included)


def _scheduled(trial: Trial, mechanism: dp.CorrelatedSum) -> Guessed:
    """Let canary clients in by their coins, in their scheduled rounds.

    All rounds of a canary's own coordinate are known, and with them how the noise of a
    round goes on in later ones; the score is the best linear one: w . rounds with
    Cov w = (1 in its own rounds), scaled to noise of one size for all canaries.
    """
    protection, config, seed = trial.protection, trial.config, _seed(trial)
    length, rounds = parameters(trial), config.training.rounds
    separation = mechanism.strategy.participation.separation
    count = min(config.attacks.canaries, length)
    included = coins(count, seed=seed_for(seed, "canary coins"))
    places = own_coordinates(count, length)
    turns = rng_for(seed, "canary schedule").permutation(count) % separation
    protection = _for_all(protection, count)
    seen = np.zeros((rounds, count))
    for index in range(rounds):
        inside = np.flatnonzero(included & (turns == index % separation))
        out = release_of(
            places[inside], length, protection, config, seed=seed, index=index
        )
        seen[index] = out.change[places]
    own = (np.arange(rounds)[:, None] % separation == turns).astype(np.float64)
    weights = np.linalg.solve(_covariance(mechanism.strategy, rounds), own)
    spread = np.sqrt((weights * own).sum(axis=0)).clip(min=np.finfo(float).tiny)
    return Guessed(scores=(weights * seen).sum(axis=0) / spread, included=included)


def _covariance(strategy: dp.Strategy, rounds: int) -> Scores:
    """Return how the noise of one round varies with that of another."""
    rows = 2 * rounds  # nodes of trees; bands take half of them
    units = np.eye(rows)
    noise = np.array(list(strategy.noises(lambda row: units[row])))
    return np.asarray(noise @ noise.T)


def _alone(trial: Trial) -> Guessed:
    """Let canary clients send one of two opposite updates; score each by its uploads.

    The relation is to replace an update, so a coin chooses between two that are as far
    apart as any, and not whether there is one.
    """
    protection, config, seed = trial.protection, trial.config, _seed(trial)
    length = parameters(trial)
    count = min(config.attacks.canaries, length)
    first = coins(count, seed=seed_for(seed, "canary coins"))
    places = own_coordinates(count, length)
    members = [_stub(place) for place in places.tolist()]
    number = {member.name: i for i, member in enumerate(members)}
    updates = [
        (1 if one else -1) * loudest(place, length, protection.clip_norm_l2)
        for place, one in zip(places.tolist(), first.tolist(), strict=True)
    ]
    books = privacy.ledger(privacy.CLIENT, protection.relation, config)
    before, scores = np.zeros(length, dtype=np.float32), np.zeros(count)
    for index in range(config.training.rounds):
        joined = rng_for(seed, "canary cohort", index).random(count)
        cohort = [
            member
            for member, coin in zip(members, joined, strict=True)
            if coin < config.federation.participation
        ]
        admitted = admit(
            books, cohort, protection, index=index, length=length, attendance=None
        )
        sent = {
            one.name: as_sent(
                updates[number[one.name]],
                protection,
                seed=seed_for(seed, "canary", index, one.name),
            )
            for one in admitted
        }
        vanish = draw_vanishing(admitted, config, seed=seed, index=index)
        try:
            snapshot = aggregate(
                sent,
                dict.fromkeys(sent, 1),
                before,
                protection,
                config,
                vanish=vanish,
                seed=seed,
                name=("canaries", index),
            )
        except secagg.AbortError:  # nobody uploaded
            continue
        for name, upload in snapshot.aggregate.transcript.uploads().items():
            scores[number[name]] += upload.vector[places[number[name]]]
    return Guessed(scores=scores, included=first)


def _for_all(protection: Protection, canaries: int) -> Protection:
    """Let the mechanism divide by the number of canaries, where they are more.

    Its noise on the sum stays what it is; only the public denominator grows.
    """
    central = protection.central
    if central is None or canaries <= central.clients:
        return protection
    return replace(
        protection,
        central=replace(central, clients=canaries),
        sum_error=protection.sum_error * canaries / central.clients,
    )


def release_of(
    places: NDArray[np.int64],
    length: int,
    protection: Protection,
    config: Config,
    *,
    seed: int,
    index: int,
    absent: Sequence[Client] = (),
) -> Released:
    """Return what is released when just these canary clients take part in a round.

    Args:
        places: the coordinate of each canary client that takes part.
        length: of an update.
        protection: with the noise under audit.
        config: the resolved configuration.
        seed: of the trial.
        index: of the round.
        absent: further clients, who upload zeros.
    """
    members = [_stub(place) for place in places.tolist()]
    name = ("canaries", index)
    before = np.zeros(length, dtype=np.float32)
    updates = {
        member.name: loudest(place, length, protection.clip_norm_l2)
        for place, member in zip(places.tolist(), members, strict=True)
    }
    try:
        sent = aggregate(
            updates,
            dict.fromkeys(updates, 1),
            before,
            protection,
            config,
            vanish=draw_vanishing([*members, *absent], config, seed=seed, index=index),
            seed=seed,
            name=name,
            absent=[one.name for one in absent],
        )
    except secagg.AbortError:  # nobody is in the sum, or too few finished
        return released(protection, None, length, seed=seed, name=name)
    return Released(sent.released, sent.clip_norm_l2)


def loudest(place: int, length: int, bound: float) -> NDArray[np.float32]:
    """Return a canary client's update: twice the bound at its place, then clipped."""
    return dp.clip_l2(dirac(place, length, 2 * bound), bound).vector


def _stub(place: int) -> Client:
    nothing = torch.zeros(0)
    return Client(
        name=f"canary-{place:08d}",
        x=nothing,
        y=nothing.long(),
        ids=np.zeros(0, dtype=np.int64),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Planted:
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
    protection, config, seed = trial.protection, trial.config, _seed(trial)
    planted = _plant(trial, copies)
    federation = replace(trial.federation, clients=_with(trial.federation, planted))
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
                gradient = _gradient(probe, planted.x[number], planted.y[number])
                scores[number] -= float(uploads[names[owner]].vector @ gradient)
    return Guessed(scores=scores, included=planted.included)


def _plant(trial: Trial, copies: int = 1) -> _Planted:
    federation, seed = trial.federation, _seed(trial)
    rng = rng_for(seed, "canary records")
    clients = len(federation.clients)
    held_out = federation.held_out
    each = -(-trial.config.attacks.canaries // clients)
    each = max(1, min(each, len(held_out.ids) // clients))
    count = min(each * clients, len(held_out.ids))
    rows = torch.from_numpy(rng.permutation(len(held_out.ids))[:count])
    shift = torch.from_numpy(rng.integers(1, federation.classes, size=count))
    return _Planted(
        x=held_out.x[rows],
        y=(held_out.y[rows] + shift) % federation.classes,
        owner=np.arange(count) % clients,
        included=coins(count, seed=seed_for(seed, "canary coins")),
        copies=copies,
    )


def _with(federation: Federation, planted: _Planted) -> tuple[Client, ...]:
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


def _gradient(model: torch.nn.Module, x: torch.Tensor, y: torch.Tensor) -> Scores:
    """Return the direction of one record's gradient, of norm 1."""
    loss = torch.nn.functional.cross_entropy(model(x[None]), y[None])
    parts = torch.autograd.grad(loss, list(model.parameters()))
    flat = torch.cat([part.reshape(-1) for part in parts]).double().numpy()
    return np.asarray(flat / max(float(np.linalg.norm(flat)), 1e-12))


def _seed(trial: Trial) -> int:
    # Not the run's own: a play must not share its noise and its batches.
    return seed_for(trial.seed, "canaries")


def parameters(trial: Trial) -> int:
    """Return how long an update of the trial's model is."""
    federation = trial.federation
    model = build(trial.config.model, federation.input_shape, federation.classes, 0)
    return parameter_count(model)
