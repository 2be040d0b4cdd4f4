"""The drill: would this page have caught a mechanism that forgot its noise?

One mechanism that claims epsilon 1 (canary clients through secure aggregation and the
server's Gaussian noise) is run twice: as it should be, and with its noise left out. The
second must come out as a violation. It is no protection of the run's own model.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

import dp
import secagg
from attacks import EpsilonBound, coins, one_run_audit, own_coordinates
from fl.canaries.kinds import Dirac
from fl.canaries.release import release_of
from fl.config import Config
from fl.protection import Protection
from fl.seeds import seed_for
from fl.settings import HONEST_MIN

CLAIMED = 1.0
NAME = "secagg+central-dp on canary clients"
# Canaries that may join one sum; about half of them do, which any such plan serves.
GROUP = 40
CORRUPT, DROP = 2, 3
CONFIDENCE = 0.975  # two statements, together 95 %
# The drill tests the instrument, not the run: its numbers are its own.
CANARIES, DELTA = 200, 1e-5


@dataclass(frozen=True, slots=True, kw_only=True)
class Drilled:
    """What came out of one of the two runs."""

    noise: bool
    delta: float
    bound: EpsilonBound


class Forgetful(dp.GaussianSum):
    """The planted fault: the mechanism without its noise."""

    def release(
        self,
        total: NDArray[np.float64] | None,
        *,
        length: int,
        sum_error: float,
        seed: bytes | None,
    ) -> NDArray[np.float64]:
        """Return the bare mean, which is what nobody may ever do."""
        bare = np.zeros(length) if total is None else total
        return np.asarray(bare / self.denominator)


def drill(config: Config, length: int) -> tuple[Drilled, Drilled]:
    """Run the drill with its noise and without; the sound one comes first.

    Args:
        config: of the run; its clip norm and precision are used.
        length: number of parameters of the run's model.
    """
    clip = config.privacy.client.clip_norm_l2
    sigma = dp.noise_multiplier_for(CLAIMED, DELTA, 1.0, 1)
    nobody_vanishes = config.federation.model_copy(update={"dropout": 0.0})
    config = config.model_copy(update={"federation": nobody_vanishes})
    make = partial(
        _protection, clip=clip, noise_multiplier=sigma, bits=config.training.value_bits
    )
    seed, size = seed_for(config.seed, "drill"), max(length, GROUP)
    return (
        _run(make(dp.GaussianSum), config, size, seed, noise=True),
        _run(make(Forgetful), config, size, seed, noise=False),
    )


def _run(
    protection: Protection, config: Config, length: int, seed: int, *, noise: bool
) -> Drilled:
    """Release each group of canaries once, in a sum of its own.

    Groups are disjoint, so that all of it is one mechanism with the same epsilon.
    """
    included = coins(CANARIES, seed=seed_for(seed, "coins"))
    scores = np.zeros(len(included))
    for start in range(0, len(included), GROUP):
        group = included[start : start + GROUP]
        places = own_coordinates(len(group), length)
        members = Dirac(places, length)
        updates = members.updates(np.flatnonzero(group), protection.clip_norm_l2)
        out = release_of(updates, length, protection, config, seed=seed, index=start)
        scores[start : start + GROUP] = members.read(out.change)
    bound = one_run_audit(scores, included, delta=DELTA, confidence=CONFIDENCE)
    return Drilled(noise=noise, delta=DELTA, bound=bound)


def _protection(
    mechanism: type[dp.GaussianSum], *, clip: float, noise_multiplier: float, bits: int
) -> Protection:
    encoder = secagg.Encoder(clip_norm_l2=clip, value_bits=bits, weight_max=1)
    return Protection(
        name=NAME,
        aggregator=partial(_masked, encoder),
        smallest=CORRUPT + DROP + HONEST_MIN,
        counter=None,
        hides_one_upload=None,
        central=mechanism(
            clip_norm_l2=clip,
            noise_multiplier=noise_multiplier,
            sampling_rate=1.0,
            clients=GROUP,
        ),
        sum_error=2 * GROUP * encoder.max_error,
        clip_norm_l2=clip,
        proves=f"Epsilon {CLAIMED:g} for each canary client.",
    )


def _masked(encoder: secagg.Encoder, cohort: int) -> secagg.Aggregator:
    agreed = secagg.plan(clients=cohort, corrupt=CORRUPT, drop=DROP, encoder=encoder)
    return secagg.PairwiseMask(agreed)
