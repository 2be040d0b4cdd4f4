"""What clients put into a round: trained on their own records, clipped.

Clients of one federation, or of many at once that start from models of their own: all
are one stack. Who else trains moves a change by float32 rounding at most.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

import dp
from dp.sgd import DpSgd
from fl.config import Config
from fl.federation import Client
from fl.local import (
    Member,
    PrivateRecipe,
    Rule,
    recipe_for,
    train_private,
    train_stacked,
)
from fl.privacy import SUBJECT, ExampleNoise
from fl.protection import Protection
from fl.seeds import bytes_for, seed_for


@dataclass(frozen=True, slots=True)
class Turn:
    """One client's turn to train.

    Attributes:
        client: whose records.
        start: which of the released models it starts from.
        seed: of the repetition that it belongs to.
        clip_norm_l2: of its change; None for the protection's.
    """

    client: Client
    start: int
    seed: int
    clip_norm_l2: float | None = None


def local_updates(
    model: torch.nn.Module,
    before: NDArray[np.float32],
    clients: Sequence[Client],
    protection: Protection,
    config: Config,
    *,
    seed: int,
    index: int,
) -> dict[str, NDArray[np.float32]]:
    """Return the clipped change that each client makes to ``before``, as float32.

    Args:
        model: says the architecture; left as it was.
        before: the released model, (parameters,) float32.
        clients: of the round.
        protection: with its noise per record or person, and its clip norm.
        config: how they train.
        seed: of the repetition.
        index: of the round.
    """
    turns = [Turn(client, 0, seed) for client in clients]
    changes = clipped_changes(model, before[None], turns, protection, config, index)
    return {
        client.name: change for client, change in zip(clients, changes, strict=True)
    }


def clipped_changes(
    model: torch.nn.Module,
    starts: NDArray[np.float32],
    turns: Sequence[Turn],
    protection: Protection,
    config: Config,
    index: int,
) -> list[NDArray[np.float32]]:
    """Return each turn's clipped change, (parameters,) float32.

    Args:
        model: says the architecture; left as it was.
        starts: (models, parameters) released models.
        turns: one or more clients of one or more federations.
        protection: of all of them.
        config: of all of them.
        index: of the round.
    """
    seeds = [seed_for(one.seed, "batches", index, one.client.name) for one in turns]
    members = [
        Member(one.client.x, one.client.y, own, one.start, one.client.subjects)
        for one, own in zip(turns, seeds, strict=True)
    ]
    device = torch.device(config.training.device)
    if protection.example is None:
        recipe = recipe_for(config.training, index)
        changes = train_stacked(model, members, recipe, starts=starts, device=device)
    else:
        changes = train_private(
            model,
            members,
            private_recipe(protection.example),
            noise_seeds=[bytes_for(own, "noise") for own in seeds],
            starts=starts,
            device=device,
        )
    return [
        as_sent(one, protection, seed=own, clip_norm_l2=turn.clip_norm_l2)
        for one, own, turn in zip(changes, seeds, turns, strict=True)
    ]


def as_sent(
    change: NDArray[np.floating],
    protection: Protection,
    *,
    seed: int,
    clip_norm_l2: float | None = None,
) -> NDArray[np.float32]:
    """Return what a client puts into a round: clipped, and noised if it trusts nobody.

    Args:
        change: of the model, (parameters,).
        protection: with the clip norm, and the noise of an upload.
        seed: of this client in this round.
        clip_norm_l2: of this round, where it follows the updates.
    """
    if protection.local is None:
        return dp.clip_l2(change, clip_norm_l2 or protection.clip_norm_l2).vector
    return protection.local.release(change, seed=bytes_for(seed, "local noise"))


def private_recipe(noise: ExampleNoise) -> PrivateRecipe:
    """Return the DP-SGD of every client of a round."""
    own = noise.settings
    return PrivateRecipe(
        steps=own.steps,
        mechanism=DpSgd(
            sampling_rate=own.sampling_rate,
            batch_size=own.batch_size,
            clip_norm_l2=own.clip_norm_l2,
            noise_multiplier=noise.noise_multiplier,
        ),
        rule=Rule(
            optimizer=own.optimizer,
            learning_rate=own.learning_rate,
            momentum=own.momentum,
        ),
        most_records=own.max_records_per_subject if own.unit == SUBJECT else None,
    )
