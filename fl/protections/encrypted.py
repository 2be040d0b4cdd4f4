"""Protections by encryption under one key that all clients share; they add no noise."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import secagg
from fl.config import Config
from fl.plans import COUNTS, encoder_for, same
from fl.protection import Protection, UnavailableError
from secagg.he import CompactSum, EncryptedSum, require_compact, require_tenseal

HIDES = (
    "BFV ciphertexts under a key that the server does not have; assumes a server that "
    "follows the protocol, that no client hands the key over, ring learning with "
    "errors at 128 bits, and clients that answer no question about decryption."
)
_PROVES = (
    "The server adds ciphertexts that it cannot open ({how}, the whole update every "
    "round); all clients share one key, so any one of them together with the server "
    "reads everybody's updates. A round is held with {fewest} clients or more, but "
    "nothing stops it if most of them then vanish. It does not bound what the "
    "decrypted sum itself reveals."
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
    return _by(sums(config, clients), "he-bfv", "BFV through TenSEAL", config)


def he_compact(config: Config, clients: int) -> Protection:
    """Return encrypted sums of a third of the bytes, under the secret key itself.

    Raises:
        UnavailableError: TenSEAL is not there, or not what seeds take.
    """
    try:
        require_compact()
    except secagg.ParameterError as error:
        raise UnavailableError(str(error)) from error
    how = "BFV through TenSEAL, under the secret key and half of it sent as a seed"
    encoder = encoder_for(config, config.training.clip_norm_l2)
    return _by(CompactSum(encoder=encoder, clients=clients), "he-compact", how, config)


def sums(config: Config, clients: int) -> EncryptedSum:
    """Return encrypted sums of updates, with a key of their own."""
    encoder = encoder_for(config, config.training.clip_norm_l2)
    return EncryptedSum(encoder=encoder, clients=clients)


def _by(encrypted: EncryptedSum, name: str, how: str, config: Config) -> Protection:
    fewest = config.federation.fewest
    return Protection(
        name=name,
        aggregator=partial(same, encrypted),
        smallest=fewest,
        counter=replace(encrypted, encoder=COUNTS),
        hides_one_upload=HIDES,
        shared_key=encrypted,
        clip_norm_l2=config.training.clip_norm_l2,
        proves=_PROVES.format(how=how, fewest=fewest),
    )
