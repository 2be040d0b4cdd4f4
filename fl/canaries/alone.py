"""Canary clients under local noise: a coin chooses between two opposite updates."""

from __future__ import annotations

import numpy as np

import secagg
from attacks import coins, own_coordinates
from fl import privacy
from fl.canaries.kinds import Dirac, name_of
from fl.canaries.release import stub
from fl.canaries.trial import Guessed, Trial, parameters, seed_of
from fl.course import admit
from fl.round import aggregate, draw_vanishing
from fl.seeds import rng_for, seed_for
from fl.updates import as_sent


def by_own_uploads(trial: Trial) -> Guessed:
    """Let canary clients send one of two opposite updates; score each by its uploads.

    The relation is to replace an update, so a coin chooses between two that are as far
    apart as any, and not whether there is one.
    """
    protection, config, seed = trial.protection, trial.config, seed_of(trial)
    length = parameters(trial)
    places = own_coordinates(min(config.attacks.canaries, length), length)
    first = coins(len(places), seed=seed_for(seed, "canary coins"))
    members = [stub(name_of(one)) for one in range(len(places))]
    number = {member.name: i for i, member in enumerate(members)}
    everybody = np.arange(len(places))
    updates = Dirac(places, length).updates(everybody, protection.clip_norm_l2)
    books = privacy.ledger(privacy.CLIENT, protection.relation, config)
    before, scores = np.zeros(length, dtype=np.float32), np.zeros(len(places))
    for index in range(config.training.rounds):
        joined = rng_for(seed, "canary cohort", index).random(len(places))
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
                updates[one.name] if first[number[one.name]] else -updates[one.name],
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
