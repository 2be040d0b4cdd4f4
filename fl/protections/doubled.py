"""Noise at each client's steps, and uploads that the server cannot read, together."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from fl.config import Config
from fl.plans import encoder_for, same
from fl.protection import Protection
from fl.protections import encrypted, hiding
from fl.protections.noised import dp_sgd
from secagg.he import EncryptedSum

_BESIDES = (
    "{noised} Uploads are hidden besides: {hidden} Should that fail, the bound on "
    "epsilon holds all the same."
)


def masked_dp_sgd(config: Config, clients: int) -> Protection:
    """Return DP-SGD on every client under pairwise masks."""
    noised, hidden = dp_sgd(config, clients), hiding.masks(config, clients)
    return replace(
        hiding.under_masks(noised, config, clients, norm=noised.clip_norm_l2),
        proves=_BESIDES.format(noised=noised.proves, hidden=hidden.proves),
    )


def encrypted_dp_sgd(config: Config, clients: int) -> Protection:
    """Return DP-SGD on every client under encryption.

    Raises:
        UnavailableError: TenSEAL is not there.
    """
    noised, hidden = dp_sgd(config, clients), encrypted.he_bfv(config, clients)
    encoder = encoder_for(config, noised.clip_norm_l2, weights=False)
    sums = EncryptedSum(encoder=encoder, clients=clients)
    return replace(
        noised,
        name="he-bfv+dp-sgd",
        aggregator=partial(same, sums),
        smallest=hidden.smallest,
        hides_one_upload=hidden.hides_one_upload,
        shared_key=sums,
        proves=_BESIDES.format(noised=noised.proves, hidden=hidden.proves),
    )
