"""Protections that hide single uploads, and none at all; they add no noise."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import secagg
from fl.config import Config
from fl.plans import COUNTS, encoder_for, masked, plain, plan, promise, same
from fl.protection import Protection, UnavailableError
from secagg.he import EncryptedSum, require_tenseal

HIDES_MASKED = (
    "pairwise and self masks make one upload indistinguishable from uniform in the "
    "ring; assumes a server that follows the protocol, at most {corrupt} colluding "
    "clients, X25519 and AES-256."
)
HIDES_ENCRYPTED = (
    "BFV ciphertexts under a key that the server does not have; assumes a server that "
    "follows the protocol, that no client hands the key over, ring learning with "
    "errors at 128 bits, and clients that answer no question about decryption."
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


def he_bfv(config: Config, clients: int) -> Protection:
    """Return encrypted sums, under one key of all clients.

    Raises:
        UnavailableError: TenSEAL is not there.
    """
    try:
        require_tenseal()
    except secagg.ParameterError as error:
        raise UnavailableError(str(error)) from error
    clip, sums = config.training.clip_norm_l2, encrypted(config, clients)
    return Protection(
        name="he-bfv",
        aggregator=partial(same, sums),
        smallest=config.federation.fewest,
        counter=EncryptedSum(encoder=COUNTS, clients=clients),
        hides_one_upload=HIDES_ENCRYPTED,
        shared_key=sums,
        clip_norm_l2=clip,
        proves=(
            "The server adds ciphertexts that it cannot open (BFV through TenSEAL, the "
            "whole update every round); all clients share one key, so any one of them "
            "together with the server reads everybody's updates. A round is held with "
            f"{config.federation.fewest} clients or more, but nothing stops it if most "
            "of them then vanish. It does not bound what the decrypted sum itself "
            "reveals."
        ),
    )


def encrypted(config: Config, clients: int) -> EncryptedSum:
    """Return encrypted sums of updates, with a key of their own."""
    encoder = encoder_for(config, config.training.clip_norm_l2)
    return EncryptedSum(encoder=encoder, clients=clients)
