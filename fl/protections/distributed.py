"""Client-level privacy by noise in shares: no party is trusted to add it."""

from __future__ import annotations

from functools import partial

import dp
import secagg
from fl.config import Config
from fl.plans import same
from fl.protection import Protection, UnavailableError
from fl.protections.hiding import HIDES_MASKED
from fl.protections.noised import refuse_adaptive, refuse_few
from fl.shares import NoisedMasks, Shares

NAME = "distributed-dp"
# What can be said before the model is known; the noise of no model is far from it.
_SHORT = 64


def distributed_dp(config: Config, clients: int) -> Protection:
    """Return masks over updates that every client has noised.

    Raises:
        UnavailableError: too few clients or honest ones, more that vanish than the
            plan survives, or noise that no ring holds.
    """
    refuse_few(config, clients)
    refuse_adaptive(config, "noise in shares is sized for one clip norm")
    shares = _shares(config, clients)
    try:
        honest = shares.honest
        shares.plan(_SHORT)
    except (secagg.ParameterError, dp.ParameterError) as error:
        raise UnavailableError(f"no sum can carry the noise in shares: {error}") from (
            error
        )
    _refuse_thin(config, clients, honest)
    return Protection(
        name=NAME,
        aggregator=partial(same, NoisedMasks(shares)),
        smallest=clients,
        counter=None,
        hides_one_upload=HIDES_MASKED.format(corrupt=shares.corrupt),
        shares=shares,
        clip_norm_l2=shares.clip_norm_l2,
        proves=(
            f"Each of {clients} clients adds its share of the noise before masking, so "
            "the bound on epsilon below holds against the server too, together with "
            f"at most {shares.corrupt} colluding clients: it counts the noise of the "
            f"{honest} honest clients that the plan leaves in every sum. It assumes a "
            "server that follows the protocol, and that the honest clients clip and "
            "add their noise. All upload in every round, zeros where their own secret "
            "coin says so; a round in which more vanish than planned releases nothing "
            "and is spent all the same."
        ),
    )


def _shares(config: Config, clients: int) -> Shares:
    privacy, federation = config.privacy, config.federation
    return Shares(
        epsilon=privacy.epsilon,
        delta=privacy.delta,
        rounds=config.training.rounds,
        clients=clients,
        corrupt=federation.corrupt,
        drop=federation.drop,
        rate=federation.participation,
        clip_norm_l2=privacy.client.clip_norm_l2,
        value_bits=privacy.distributed.value_bits,
        mechanism=privacy.distributed.noise,
    )


def _refuse_thin(config: Config, clients: int, honest: int) -> None:
    """Refuse where most noise is not counted, or where rounds would rarely finish."""
    federation = config.federation
    if 2 * honest < clients and not config.privacy.allow_useless:
        raise UnavailableError(
            f"of {clients} clients the plan leaves only {honest} honest ones in a sum, "
            "and noise is scaled to theirs, so that over half of what is added would "
            "be for nothing; lower federation.corrupt or federation.drop, or "
            "--allow-useless to see for yourself."
        )
    if federation.dropout * clients > federation.drop:
        raise UnavailableError(
            f"all {clients} enrolled clients upload in every round, and dropout = "
            f"{federation.dropout} lets more of them vanish on average than drop = "
            f"{federation.drop} plans for; raise federation.drop or lower "
            "federation.dropout."
        )
