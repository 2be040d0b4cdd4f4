"""The neighbour game on who takes part: does a release tell how many did?

Under adding or removing one client the number of clients is as secret as what they
send. A sum that is divided by that number has less noise in it the more take part,
whatever they send, and everywhere; so each canary decides by its coin over the size of
a federation of its own, and is scored by how little noise is in all other coordinates.
"""

from __future__ import annotations

import numpy as np

import dp
from attacks import coins
from fl.canaries.kinds import make, name_of
from fl.canaries.release import paid_rounds, release_of
from fl.canaries.trial import Guessed, Trial, parameters, seed_of
from fl.clipping import at_clip
from fl.seeds import seed_for


def by_cohort_size(trial: Trial) -> Guessed:
    """Let each canary client in by its coin, into a federation of its own.

    The others, the fewest that a plan can serve, are always there and send zeros.

    Raises:
        ValueError: the server does not noise each round's sum by itself.
    """
    protection, config, seed = trial.protection, trial.config, seed_of(trial)
    if not isinstance(protection.central, dp.GaussianSum | dp.AdaptiveSum):
        raise ValueError(f"{protection.name} has no noise of its own on every sum.")
    length = parameters(trial)
    canary = make("dirac", 1, length, seed)
    others = [name_of(1 + one) for one in range(config.federation.fewest)]
    included = coins(config.attacks.canaries, seed=seed_for(seed, "canary coins"))
    scores = np.zeros(len(included))
    rounds = tuple(paid_rounds(trial, length))
    for number, inside in enumerate(included.tolist()):
        clip = protection.clip_norm_l2
        for index in rounds:
            own = at_clip(protection, config, clip)
            out = release_of(
                canary.updates(np.arange(int(inside)), own.clip_norm_l2),
                length,
                own,
                config,
                seed=seed,
                index=number * len(rounds) + index,
                absent=others,
            )
            noise = out.change[1:].astype(np.float64) / clip
            scores[number] -= float(noise @ noise)
            clip = out.clip_norm_l2
    return Guessed(scores=scores, included=included)
