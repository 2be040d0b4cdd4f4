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
    config: Config,
    cohort: int,
    *,
    clip: float | None = None,
    encoder: secagg.Encoder | None = None,
) -> secagg.Plan:
    """Return the secure-aggregation plan that the configuration asks for.

    Args:
        config: says who may collude and vanish.
        cohort: how many clients take part.
        clip: bound on an update's norm; None for that of the training.
        encoder: None for the one of updates.

    Raises:
        secagg.ParameterError: there is no such plan.
    """
    bound = config.training.clip_norm_l2 if clip is None else clip
    return secagg.plan(
        clients=cohort,
        corrupt=config.federation.corrupt,
        drop=config.federation.drop,
        encoder=encoder or encoder_for(config, bound),
    )


def encoder_for(config: Config, clip: float) -> secagg.Encoder:
    """Return how updates of norm up to ``clip`` become integers."""
    return secagg.Encoder(
        clip_norm_l2=clip,
        value_bits=config.training.value_bits,
        weight_max=config.training.weight_max,
    )


def plain(cohort: int) -> secagg.Aggregator:
    """Return the sum in the clear."""
    return secagg.PlainSum()


def masked(config: Config, clip: float, cohort: int) -> secagg.Aggregator:
    """Return secure aggregation for a cohort of this size."""
    return secagg.PairwiseMask(plan(config, cohort, clip=clip))


def same(aggregator: secagg.Aggregator, cohort: int) -> secagg.Aggregator:
    """Return the one aggregator that serves cohorts of every size."""
    return aggregator
