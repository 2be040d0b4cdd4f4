"""From the name of a protection in the configuration to the aggregator that runs it.

One table. What each protection proves, and under which assumption, stands beside it, so
that the page never says more than the protocol does.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import secagg
from fl.config import Config

# Vectors of counts: norm below 2^20 and resolution 2^-11, so that the counts of fewer
# than 1000 clients come back exactly; every client weighs the same.
COUNTS = secagg.Encoder(clip_norm_l2=2.0**20, value_bits=32, weight_max=1)

HIDES_ONE_UPLOAD = (
    "pairwise and self masks make one upload indistinguishable from uniform in the "
    "ring; assumes a server that follows the protocol, at most {corrupt} colluding "
    "clients, X25519 and AES-256."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Protection:
    """One way of protecting the updates, ready to run.

    Attributes:
        name: as in the configuration.
        aggregator: what moves the updates.
        counter: the same for counts, which come back exactly; what is
            learnt from the data before training goes through it.
        hides_one_upload: the rule and assumption by which a single upload tells the
            server nothing, or None when uploads are in the clear.
        proves: what is proven of it, for the page.
    """

    name: str
    aggregator: secagg.Aggregator
    counter: secagg.Aggregator
    hides_one_upload: str | None
    proves: str


def build(name: str, config: Config, clients: int) -> Protection:
    """Return the protection called ``name`` for ``clients`` clients.

    Raises:
        secagg.ParameterError: the caller's numbers admit no such protection.
    """
    return _TABLE[name](config, clients)


def plan(config: Config, clients: int) -> secagg.Plan:
    """Return the secure-aggregation plan that the configuration asks for."""
    encoder = secagg.Encoder(
        clip_norm_l2=config.training.clip_norm_l2,
        value_bits=config.training.value_bits,
        weight_max=config.training.weight_max,
    )
    return secagg.plan(
        clients=clients,
        corrupt=config.federation.corrupt,
        drop=config.federation.drop,
        encoder=encoder,
    )


def _none(config: Config, clients: int) -> Protection:
    return Protection(
        name="none",
        aggregator=secagg.PlainSum(),
        counter=secagg.PlainSum(),
        hides_one_upload=None,
        proves="Nothing: the server reads every update and every weight.",
    )


def _secagg(config: Config, clients: int) -> Protection:
    agreed = plan(config, clients)
    return Protection(
        name="secagg",
        aggregator=secagg.PairwiseMask(agreed),
        counter=secagg.PairwiseMask(replace(agreed, encoder=COUNTS)),
        hides_one_upload=HIDES_ONE_UPLOAD.format(corrupt=agreed.corrupt),
        proves=f"{agreed} It does not bound what the sum itself reveals.",
    )


_TABLE: dict[str, Callable[[Config, int], Protection]] = {
    "none": _none,
    "secagg": _secagg,
}
NAMES = tuple(_TABLE)
