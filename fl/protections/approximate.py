"""Encryption under CKKS, as common deployments have it: for comparison with them."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from fl.config import Config
from fl.plans import same
from fl.protection import Protection
from fl.protections.encrypted import he_bfv
from secagg.he.ckks import ApproximateSum

NAME = "he-ckks"
_CLIENTS_ONLY = (
    "what CKKS decrypts to carries noise of the very ciphertexts, from which whoever "
    "has both computes the key (Li and Micciancio, ePrint 2020/1533)"
)
_HIDES = (
    "CKKS ciphertexts under a key that the server does not have; assumes a server that "
    "follows the protocol, that no client hands the key over, ring learning with "
    "errors at 128 bits, and that nothing decrypted reaches the server or an outsider, "
    "no model and no accuracy: " + _CLIENTS_ONLY + "."
)
_PROVES = (
    "The server adds ciphertexts that it cannot open (CKKS through TenSEAL, with the "
    "parameters of common deployments); all clients share one key, so any one of them "
    "together with the server reads everybody's updates. Nothing is proven of a "
    "deployment that publishes the model or shows it to the server. he-bfv is exact, "
    "sends less, and has no such rule."
)


def he_ckks(config: Config, clients: int) -> Protection:
    """Return approximate encrypted sums, whose results stay with the clients.

    Raises:
        UnavailableError: TenSEAL is not there.
    """
    training = config.training
    sums = ApproximateSum(
        clients=clients,
        clip_norm_l2=training.clip_norm_l2,
        weight_max=training.weight_max,
    )
    return replace(
        he_bfv(config, clients),
        name=NAME,
        aggregator=partial(same, sums.at_clients()),
        hides_one_upload=_HIDES,
        shared_key=sums,
        clients_only=f"the released model stays with the clients: {_CLIENTS_ONLY}.",
        proves=_PROVES,
    )
