"""From the configuration to the sums: encoders, plans, aggregators by cohort.

Everything here can be sent to a worker process.
"""

from __future__ import annotations

import secagg
from fl.config import Config

# Vectors of counts: norm below 2^20 and resolution 2^-11, so that the counts of fewer
# than 1000 clients come back exactly; every client weighs the same.
COUNTS = secagg.Encoder(clip_norm_l2=2.0**20, value_bits=32, weight_max=1)


def plan(
    config: Config, cohort: int, *, encoder: secagg.Encoder | None = None
) -> secagg.Plan:
    """Return the secure-aggregation plan that the configuration asks for.

    Args:
        config: says who may collude and vanish.
        cohort: how many clients take part.
        encoder: None for the one of updates.

    Raises:
        secagg.ParameterError: there is no such plan.
    """
    return secagg.plan(
        clients=cohort,
        corrupt=config.federation.corrupt,
        drop=config.federation.drop,
        graph="complete",  # what the page says of crowds and lies holds there
        encoder=encoder or encoder_for(config, config.training.clip_norm_l2),
    )


def smallest_cohort(config: Config) -> int:
    """Return the fewest clients that a round of secure aggregation is held with."""
    federation = config.federation
    return federation.clients if federation.participation == 1 else federation.fewest


def promise(config: Config) -> str:
    """Say what the plan guarantees in every round, whoever joins."""
    fewest = plan(config, smallest_cohort(config))
    if config.federation.participation == 1:
        return str(fewest)
    return (
        f"About {config.federation.cohort} clients join a round, never fewer than "
        f"{fewest.clients}; with so few: {fewest}"
    )


def encoder_for(config: Config, clip: float, *, weights: bool = True) -> secagg.Encoder:
    """Return how updates of norm up to ``clip`` become integers.

    Args:
        config: says how finely, and which weights clients may claim.
        clip: bound on the norm.
        weights: False where every client weighs one.
    """
    return secagg.Encoder(
        clip_norm_l2=clip,
        value_bits=config.training.value_bits,
        weight_max=config.training.weight_max if weights else 1,
    )


def plain(cohort: int) -> secagg.Aggregator:
    """Return the sum in the clear."""
    return secagg.PlainSum()


def masked(config: Config, encoder: secagg.Encoder, cohort: int) -> secagg.Aggregator:
    """Return secure aggregation for a cohort of this size."""
    return secagg.PairwiseMask(plan(config, cohort, encoder=encoder))


def same(aggregator: secagg.Aggregator, cohort: int) -> secagg.Aggregator:
    """Return the one aggregator that serves cohorts of every size."""
    return aggregator
