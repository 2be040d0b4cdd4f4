"""Client-level privacy by noise on every upload: nobody trusted, little learnt."""

from __future__ import annotations

import math

from fl import privacy
from fl.config import Config
from fl.plans import plain
from fl.protection import Protection
from fl.protections.noised import refuse_adaptive, refuse_few


def local_dp(config: Config, clients: int) -> Protection:
    """Return uploads in the clear, each under noise of its own.

    Raises:
        UnavailableError: too few clients, or a clip norm that follows the updates.
    """
    refuse_few(config, clients)
    refuse_adaptive(config, "noise on every upload is sized for one clip norm")
    noise = privacy.local_noise(config)
    usual = max(config.federation.participation * clients, 1.0)
    drowned = noise.std / math.sqrt(usual) / noise.clip_norm_l2
    return Protection(
        name="local-dp",
        aggregator=plain,
        smallest=1,
        counter=None,
        hides_one_upload=None,
        local=noise,
        clip_norm_l2=noise.clip_norm_l2,
        proves=(
            "Each client clips its update and adds noise that alone keeps the bound on "
            "epsilon below, so it holds against everybody, the server with all other "
            "clients included; the unit is one client, whose update may be any other. "
            f"The price: in the mean of the {usual:.0f} uploads of a round every "
            f"coordinate has noise of {drowned:.2g} times the length of the longest "
            "update, so that models of more than a few parameters learn next to "
            "nothing."
        ),
    )
