"""Protections that hide single uploads, and none at all; they add no noise."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import secagg
from fl.config import Config
from fl.plans import COUNTS, encoder_for, masked, plain, plan, promise
from fl.protection import Protection

HIDES_MASKED = (
    "pairwise and self masks make one upload indistinguishable from uniform in the "
    "ring; assumes a server that follows the protocol, at most {corrupt} colluding "
    "clients, X25519 and AES-256."
)


def none(config: Config, clients: int) -> Protection:
    """Return no protection at all."""
    return Protection(
        name="none",
        aggregator=plain,
        smallest=1,
        counter=secagg.PlainSum(),
        hides_one_upload=None,
        clip_norm_l2=config.training.clip_norm_l2,
        proves="Nothing: the server reads every update and every weight.",
    )


def masks(config: Config, clients: int) -> Protection:
    """Return pairwise masks: the server learns sums only."""
    federation = config.federation
    return Protection(
        name="secagg",
        aggregator=partial(
            masked, config, encoder_for(config, config.training.clip_norm_l2)
        ),
        smallest=config.federation.fewest,
        counter=secagg.PairwiseMask(replace(plan(config, clients), encoder=COUNTS)),
        hides_one_upload=HIDES_MASKED.format(corrupt=federation.corrupt),
        clip_norm_l2=config.training.clip_norm_l2,
        proves=f"{promise(config)} It does not bound what the sum itself reveals.",
    )


def under_masks(
    noised: Protection, config: Config, clients: int, *, norm: float
) -> Protection:
    """Return the same noise on sums whose parts the server does not see.

    Args:
        noised: adds its noise to uploads, or to a sum, in the clear.
        config: of the federation.
        clients: how many there are.
        norm: bound on what a client sends.
    """
    hidden = masks(config, clients)
    encoder = encoder_for(config, norm, weights=False)
    # Once for the sum, twice for taking the zeros of absent clients out of it.
    error = 3 * clients * encoder.max_error
    return replace(
        noised,
        name=f"secagg+{noised.name}",
        aggregator=partial(masked, config, encoder),
        smallest=hidden.smallest,
        hides_one_upload=hidden.hides_one_upload,
        sum_error=noised.sum_error if noised.central is None else error,
    )
