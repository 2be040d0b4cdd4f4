"""Protections by noise that the server correlates over the rounds of a whole run."""

from __future__ import annotations

from dataclasses import replace

from fl import privacy
from fl.config import Config
from fl.plans import plain
from fl.protection import Protection
from fl.protections import hiding
from fl.protections.noised import refuse_adaptive, refuse_few

_SCHEDULE = (
    "No client is sampled: each takes part in every {separation} rounds, in a public "
    "order, and is refused where it would take part sooner or more often, or after the "
    "{rounds} planned rounds. "
)


def dp_ftrl(config: Config, clients: int) -> Protection:
    """Return noise by the server on sums that it reads in full.

    Raises:
        UnavailableError: too few clients, or a clip norm that is not fixed.
    """
    refuse_few(config, clients)
    refuse_adaptive(config, "noise correlated over the run is sized for one clip norm")
    noise = privacy.correlated_noise(config, clients)
    limits = noise.strategy.participation
    schedule = _SCHEDULE.format(separation=limits.separation, rounds=limits.rounds)
    return Protection(
        name="dp-ftrl",
        aggregator=plain,
        smallest=1,
        counter=None,
        hides_one_upload=None,
        central=noise,
        # As for central-dp: the mean's rounding to float32 and the arithmetic around.
        sum_error=clients * noise.clip_norm_l2 * 2.0**-22,
        clip_norm_l2=noise.clip_norm_l2,
        proves=(
            f"{schedule}The server adds noise to each sum before it releases a model; "
            "the noise of a round takes back a part of that of earlier ones, and all "
            "rounds together are one release, paid for before the first. The bound on "
            "epsilon below holds for whoever sees released models only; against the "
            "server itself nothing is proven: it reads every update."
        ),
    )


def masked_dp_ftrl(config: Config, clients: int) -> Protection:
    """Return noise by the server on sums whose parts it does not see.

    Raises:
        UnavailableError: too few clients.
    """
    noised = dp_ftrl(config, clients)
    bare = noised.proves.removesuffix(
        "; against the server itself nothing is proven: it reads every update."
    )
    return replace(
        hiding.under_masks(noised, config, clients, norm=noised.clip_norm_l2),
        proves=(
            f"{bare}. The server sees the sum of a round before it adds noise, and no "
            "single masked upload. A round that too few join or finish is filled up "
            "with the zeros of absent clients, so that a sum may hold few honest "
            "updates, in the extreme one; a client which fell silent after its upload "
            "is assumed to answer again."
        ),
    )
