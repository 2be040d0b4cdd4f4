"""Protections by noise that each client adds to its steps, or the server to the sum."""

from __future__ import annotations

from dataclasses import replace

import dp
from fl import privacy
from fl.clipping import sent_norm
from fl.config import Config
from fl.plans import plain
from fl.protection import Protection, UnavailableError
from fl.protections import hiding


def dp_sgd(config: Config, clients: int) -> Protection:
    """Return DP-SGD on every client, uploads in the clear."""
    noise = privacy.example_noise(config)
    unit = "person" if noise.settings.unit == privacy.SUBJECT else "record"
    return Protection(
        name="dp-sgd",
        aggregator=plain,
        smallest=1,
        counter=None,
        hides_one_upload=None,
        example=noise,
        clip_norm_l2=config.training.clip_norm_l2,
        proves=(
            "Each client adds noise before it uploads, so the bound on epsilon below "
            "holds against everybody, the server with all other clients included; the "
            f"unit is one {unit}, not one client."
        ),
    )


def central_dp(config: Config, clients: int) -> Protection:
    """Return noise by the server on a sum that it reads in full.

    Raises:
        UnavailableError: too few clients.
    """
    refuse_few(config, clients)
    adaptive = config.privacy.client.clip == "adaptive"
    noise: dp.GaussianSum | dp.AdaptiveSum
    noise = (privacy.adaptive_noise if adaptive else privacy.client_noise)(
        config, clients
    )
    return Protection(
        name="central-dp",
        aggregator=plain,
        smallest=1,
        counter=None,
        hides_one_upload=None,
        central=noise,
        # The mean is rounded to float32; twice that, for the arithmetic around it.
        sum_error=clients * sent_norm(noise) * 2.0**-22,
        clip_norm_l2=noise.clip_norm_l2,
        proves=(
            "The server adds noise to the sum before it releases a model, so the bound "
            "on epsilon below holds for whoever sees released models only; against the "
            "server itself nothing is proven: it reads every update."
        ),
    )


def masked_central_dp(config: Config, clients: int) -> Protection:
    """Return noise by the server on a sum whose parts it does not see.

    Raises:
        UnavailableError: too few clients.
    """
    noised = central_dp(config, clients)
    if noised.central is None:
        raise AssertionError("central-dp without noise")
    norm = sent_norm(noised.central)
    return replace(
        hiding.under_masks(noised, config, clients, norm=norm),
        proves=(
            "The server sees the sum of a round before it adds noise, and no single "
            "masked upload. A round that too few join or finish is filled up with the "
            "zeros of absent clients and not aborted, which would tell who had joined; "
            "so a sum may hold few honest updates, in the extreme one. The bound on "
            "epsilon below holds for whoever sees released models only; it assumes "
            "that a client which fell silent after its upload answers again."
        ),
    )


def refuse_few(config: Config, clients: int) -> None:
    """Refuse to hide one client among few, unless the user insists.

    Raises:
        UnavailableError: fewer than `privacy.FEWEST_CLIENTS`.
    """
    if clients < privacy.FEWEST_CLIENTS and not config.privacy.allow_useless:
        raise UnavailableError(
            f"client-level differential privacy hides one client among {clients}, and "
            f"below {privacy.FEWEST_CLIENTS} clients the noise that this takes drowns "
            "the model; use dp-sgd, whose unit is one record, or --allow-useless to "
            "see for yourself."
        )


def refuse_adaptive(config: Config, why: str) -> None:
    """Refuse a clip norm that moves, where it cannot.

    Raises:
        UnavailableError: privacy.client.clip is not "fixed".
    """
    if config.privacy.client.clip == "adaptive":
        raise UnavailableError(
            f'{why}; set privacy.client.clip = "fixed", or use central-dp.'
        )
