"""Canary clients: each sends one coordinate of the largest allowed norm, or nothing.

So canaries do not disturb one another (Dirac canaries), and each is scored by its own
coordinate of what is released.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

import dp
from fl.canaries.release import release_of, stub
from fl.canaries.trial import Guessed, Scores, Trial, place, seed_of
from fl.clipping import at_clip
from fl.protection import Protection
from fl.seeds import rng_for


def by_coordinate(trial: Trial) -> Guessed:
    """Let canary clients in by their coins; score each by its own coordinate."""
    protection, config, seed = trial.protection, trial.config, seed_of(trial)
    placed = place(trial)
    places, included, length = placed.places, placed.included, placed.length
    count = len(places)
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


def by_everybody(trial: Trial, enrolled: int) -> Guessed:
    """Let canary clients in by their coins, in federations of `enrolled` of them.

    All upload in every round, zeros if they are not in, or if their coin of the round
    says so. Federations are disjoint, so all of it is one mechanism with one epsilon.
    """
    protection, config, seed = trial.protection, trial.config, seed_of(trial)
    placed = place(trial)
    places, included, length = placed.places, placed.included, placed.length
    count = len(places)
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
                absent=[stub(one) for one in range(length, length + zeros)],
            )
            scores[own] += out.change[places[own]]
    return Guessed(scores=scores, included=included)


def by_schedule(trial: Trial, mechanism: dp.CorrelatedSum) -> Guessed:
    """Let canary clients in by their coins, in their scheduled rounds.

    All rounds of a canary's own coordinate are known, and with them how the noise of a
    round goes on in later ones; the score is the best linear one: w . rounds with
    Cov w = (1 in its own rounds), scaled to noise of one size for all canaries.
    """
    protection, config, seed = trial.protection, trial.config, seed_of(trial)
    placed, rounds = place(trial), config.training.rounds
    places, included, length = placed.places, placed.included, placed.length
    count, separation = len(places), mechanism.strategy.participation.separation
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
