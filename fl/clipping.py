"""The clip norm of a round, where it follows the updates of earlier ones.

The server's mechanism, the range of the encoder and the bound that clients clip to all
change with it, and each client's bit goes along behind its update. Whatever moves the
clip norm was released with noise, so it is as public as the model.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

import dp
from fl.config import Config
from fl.plans import encoder_for, masked
from fl.protection import Central, Protection

Vectors = Mapping[str, NDArray[np.float32]]


def at_clip(protection: Protection, config: Config, clip_norm_l2: float) -> Protection:
    """Return the protection of a round with this clip norm.

    Args:
        protection: of the first round, or of any other.
        config: says how finely updates are encoded.
        clip_norm_l2: what is released of the round before; without effect where it is
            fixed.

    Raises:
        dp.ParameterError: the clip norm is outside its public bounds.
    """
    central = protection.central
    if not isinstance(central, dp.AdaptiveSum):
        return protection
    if clip_norm_l2 == protection.clip_norm_l2:
        return protection
    moved = central.at(clip_norm_l2)
    error = protection.sum_error * clip_norm_l2 / protection.clip_norm_l2
    found = replace(
        protection, central=moved, clip_norm_l2=clip_norm_l2, sum_error=error
    )
    if protection.hides_one_upload is None:  # summed in the clear, at any clip norm
        return found
    encoder = encoder_for(config, sent_norm(moved), weights=False)
    # As in `fl.protections.noised`, and for canaries, who may be more than the clients.
    error = 3 * moved.clients * encoder.max_error
    return replace(found, aggregator=partial(masked, config, encoder), sum_error=error)


def sent_norm(central: Central) -> float:
    """Return the bound on the norm of what a client sends, its bit included."""
    if isinstance(central, dp.AdaptiveSum):
        return central.joint.clip_norm_l2
    return central.clip_norm_l2


def with_bits(central: Central, updates: Vectors) -> Vectors:
    """Return what clients send: their updates, with a bit behind where there is one."""
    if not isinstance(central, dp.AdaptiveSum):
        return updates
    return {name: central.attach(update) for name, update in updates.items()}


def clip_of(protection: Protection) -> float | None:
    """Return the clip norm of a round, or None where all rounds have the same."""
    if isinstance(protection.central, dp.AdaptiveSum):
        return protection.clip_norm_l2
    return None
