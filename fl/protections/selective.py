"""A part of every update encrypted, the rest masked or open, as declared."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from fl.config import Config
from fl.plans import encoder_for, masked, plain, promise
from fl.protection import Protection
from fl.protections import encrypted, hiding
from fl.selective import Selective, not_chosen

NAME = "he-selective"
_CHOICE = (
    "{percent:g} % of the coordinates of every update are encrypted, those whose "
    "gradient moves most with the label on made-up records: a public ranking, which "
    "tells nothing of the clients' records. "
)
_OPEN = (
    "Nothing is proven of a whole update: the server reads the other coordinates and "
    "the weight of every client, and the attacks on this page are run on what it "
    "reads. The encrypted part is hidden from a server without any client's help; all "
    "clients share one key, so any one of them together with the server reads "
    "everybody. Masks hide more for fewer bytes."
)
_MASKED = (
    "The others are masked: {promise} All clients share the key of the encrypted part, "
    "so any one of them together with the server reads that part of everybody. It does "
    "not bound what the sum itself reveals."
)
_HIDES = "{encrypted} The other coordinates: {masked}"


def he_selective(config: Config, clients: int) -> Protection:
    """Return encryption of the most sensitive coordinates.

    Raises:
        UnavailableError: TenSEAL is not there.
    """
    whole, asked = encrypted.he_bfv(config, clients), config.he
    choice = _CHOICE.format(percent=100 * asked.fraction)
    is_open = asked.rest == "plain"
    masks = partial(masked, config, encoder_for(config, config.training.clip_norm_l2))
    hidden = encrypted.sums(config, clients)
    return replace(
        whole,
        name=NAME,
        aggregator=not_chosen,
        hides_one_upload=None if is_open else _rule(config),
        shared_key=hidden,
        selective=Selective(
            fraction=asked.fraction,
            encrypted=hidden,
            rest=plain if is_open else masks,
            is_open=is_open,
        ),
        proves=choice + (_OPEN if is_open else _MASKED.format(promise=promise(config))),
    )


def _rule(config: Config) -> str:
    return _HIDES.format(
        encrypted=encrypted.HIDES,
        masked=hiding.HIDES_MASKED.format(corrupt=config.federation.corrupt),
    )
