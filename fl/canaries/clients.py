"""Canary clients in sums: each sends its own update, or nothing, and is read from sums.

`fl.canaries.kinds` says what they send.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

import dp
from attacks import coins
from fl.canaries.colluders import noise_of
from fl.canaries.kinds import KindName, make, name_of
from fl.canaries.release import paid_rounds, release_of
from fl.canaries.trial import Guessed, Scores, Trial, parameters, seed_of
from fl.clipping import at_clip
from fl.protection import Protection
from fl.seeds import rng_for, seed_for
from fl.shares import Shares


def by_sum(trial: Trial, kind: KindName) -> Guessed:
    """Let canary clients in by their coins, all in one cohort."""
    protection, config, seed = trial.protection, trial.config, seed_of(trial)
    length = parameters(trial)
    canaries = make(kind, config.attacks.canaries, length, seed)
    count = canaries.count
    included = coins(count, seed=seed_for(seed, "canary coins"))
    protection = _for_all(protection, count)
    scores, clip = np.zeros(count), protection.clip_norm_l2
    for index in paid_rounds(trial, length):
        joined = rng_for(seed, "canary cohort", index).random(count)
        inside = np.flatnonzero(included & (joined < config.federation.participation))
        own = at_clip(protection, config, clip)
        out = release_of(
            canaries.updates(inside, own.clip_norm_l2),
            length,
            own,
            config,
            seed=seed,
            index=index,
        )
        # Noise and canaries are as large as the clip norm of their round.
        scores += canaries.read(out.change) / clip
        clip = out.clip_norm_l2
    return Guessed(scores=scores, included=included)


def by_everybody(trial: Trial, shares: Shares, kind: KindName) -> Guessed:
    """Let canary clients in by their coins, in federations of all who are enrolled.

    All upload in every round, zeros if they are not in, or if their coin of the round
    says so. Federations are disjoint, so all of it is one mechanism with one epsilon,
    and the canaries of each are the same vectors anew.

    The server sees who vanished before its upload: such a round says nothing of that
    canary, in or out, and adds nothing to its score; the others add how far they are
    above half of what an update would leave. Who colludes with it is no canary, and
    its noise is taken off (`fl.canaries.colluders`).
    """
    protection, config, seed = trial.protection, trial.config, seed_of(trial)
    length, count = parameters(trial), config.attacks.canaries
    canaries = make(kind, shares.clients - shares.corrupt, length, seed)
    colluders = {name_of(shares.clients - 1 - one) for one in range(shares.corrupt)}
    included = coins(count, seed=seed_for(seed, "canary coins"))
    scores, groups = np.zeros(count), range(0, count, canaries.count)
    half = protection.clip_norm_l2 / shares.denominator / 2
    for index in paid_rounds(trial, length):
        joined = rng_for(seed, "canary cohort", index).random(count)
        sending = included & (joined < config.federation.participation)
        for number, start in enumerate(groups):
            sends = sending[start : start + canaries.count]
            turn = index * len(groups) + number
            silent = np.setdiff1d(np.arange(shares.clients), np.flatnonzero(sends))
            out = release_of(
                canaries.updates(np.flatnonzero(sends), protection.clip_norm_l2),
                length,
                protection,
                config,
                seed=seed,
                index=turn,
                absent=[name_of(one) for one in silent.tolist()],
            )
            if out.sent is None:
                continue
            inside = out.sent.survivors
            there = np.array([name_of(one) in inside for one in range(len(sends))])
            known = noise_of(
                colluders & inside, shares, length, config, seed=seed, index=turn
            )
            change = out.change - known / shares.denominator
            found = canaries.read(change)[: len(sends)]
            scores[start : start + len(sends)] += np.where(there, found - half, 0.0)
    return Guessed(scores=scores, included=included)


def by_schedule(trial: Trial, mechanism: dp.CorrelatedSum, kind: KindName) -> Guessed:
    """Let canary clients in by their coins, in their scheduled rounds.

    What all rounds hold of a canary is known, and with it how the noise of a round goes
    on in later ones; the score is the best linear one: w . rounds with
    Cov w = (1 in its own rounds), scaled to noise of one size for all canaries.
    """
    protection, config, seed = trial.protection, trial.config, seed_of(trial)
    length, rounds = parameters(trial), config.training.rounds
    canaries = make(kind, config.attacks.canaries, length, seed)
    count, separation = canaries.count, mechanism.strategy.participation.separation
    included = coins(count, seed=seed_for(seed, "canary coins"))
    turns = rng_for(seed, "canary schedule").permutation(count) % separation
    protection = _for_all(protection, count)
    seen = np.zeros((rounds, count))
    for index in paid_rounds(trial, length):
        inside = np.flatnonzero(included & (turns == index % separation))
        out = release_of(
            canaries.updates(inside, protection.clip_norm_l2),
            length,
            protection,
            config,
            seed=seed,
            index=index,
        )
        seen[index] = canaries.read(out.change)
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
