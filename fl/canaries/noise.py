"""How much noise is in a sum whose inputs are known: is it as much as was claimed?

A lower bound on epsilon sees noise that is missing where most of it is. One share of
many that is left out it cannot see, and it need not: an exact test of the variance
does. Whoever runs the canaries knows all that went in, so what is left of a release is
the noise alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import stats

import dp
from fl.canaries.kinds import make, name_of
from fl.canaries.release import Played, paid_rounds, release_of
from fl.canaries.trial import Trial, parameters, seed_of


@dataclass(frozen=True, slots=True, kw_only=True)
class NoiseLeft:
    """What was left of releases, in units of the noise that was claimed.

    Attributes:
        values: coordinates of all rounds.
        ratio: variance found over variance claimed; `low` and `high` bound it at 95 %,
            two-sided.
        p_value: of finding so little or less where all of it was added.
    """

    values: int
    ratio: float
    low: float
    high: float
    p_value: float


def noise_left(trial: Trial) -> NoiseLeft:
    """Play the rounds of one federation, take off all that it sent, and test the rest.

    Under noise in shares the claim is that each client in the sum added its own: with
    fewer, a sum of the fewest clients has less noise than its epsilon counts on. For
    one that vanished before its upload none is expected. Rounding adds to what is left
    and hides at most a quarter of a step of the encoder, squared, for each client.

    Raises:
        ValueError: neither clients' shares nor the server noise each sum by itself, or
            no round gave a sum.
    """
    protection, config, seed = trial.protection, trial.config, seed_of(trial)
    length, clients = parameters(trial), config.federation.clients
    canaries = make("dirac", clients, length, seed)
    inside = np.arange(0, canaries.count, 2)
    silent = np.setdiff1d(np.arange(clients), inside)
    squares, values = 0.0, 0
    for index in paid_rounds(trial, length):
        out = release_of(
            canaries.updates(inside, protection.clip_norm_l2),
            length,
            protection,
            config,
            seed=seed,
            index=index,
            absent=[name_of(one) for one in silent.tolist()],
        )
        if out.sent is None:
            continue
        denominator, variance = _claimed(trial, length, out)
        sent = canaries.updates(inside, 1.0)
        total = out.change.astype(np.float64) * denominator
        for name in out.sent.survivors & sent.keys():
            total -= protection.clip_norm_l2 * np.sign(sent[name])
        squares += float(total @ total) / variance
        values += length
    if not values:
        raise ValueError("no round gave a sum; let fewer clients vanish.")
    spread = stats.chi2(values)
    return NoiseLeft(
        values=values,
        ratio=squares / values,
        low=squares / float(spread.ppf(0.975)),
        high=squares / float(spread.ppf(0.025)),
        p_value=float(spread.cdf(squares)),
    )


def _claimed(trial: Trial, length: int, out: Played) -> tuple[float, float]:
    """Return the public denominator, and the variance of each coordinate of a sum."""
    protection = trial.protection
    if protection.shares is not None and out.sent is not None:
        shares = protection.shares
        steps = shares.at(length).noise.variance * len(out.sent.survivors)
        scale = shares.encoder(length).at(length).scale
        return shares.denominator, steps / scale**2
    central = protection.central
    if not isinstance(central, dp.GaussianSum):
        raise ValueError(f"{protection.name} has no noise of one size on every sum.")
    spread = central.noise_multiplier * central.sensitivity(
        length, protection.sum_error
    )
    return central.denominator, spread**2
