"""Which coordinates of an update tell most: a ranking from public things alone.

The measure is that of FedML-HE (Jin et al., arXiv:2303.10837): how much the gradient of
a parameter w moves with the label y of a record, `|d/dy (d loss / d w)|`. For softmax
cross-entropy that is `|d log p_y / d w|`. There it is taken over the clients' records,
and the map tells of them; here over made-up records from the declared range of values,
under a freshly initialised model of the agreed architecture. So the map tells nothing,
anybody can compute it, and it knows nothing of these records either: coordinates that
only they make sensitive are not found.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache, partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import log_softmax

from fl.federation import Federation
from fl.local.thread import one_thread
from fl.models import build, parameter_count
from fl.plans import plain
from fl.protection import Protection
from fl.seeds import rng_for, seed_for
from fl.settings import ModelConfig
from secagg.he import Selection, SelectiveSum

# Made-up records, each with one class: the mean of so many ranks layers apart.
PROBES = 64


def fitted(
    protection: Protection, federation: Federation, model: ModelConfig
) -> Protection:
    """Return the protection with the coordinates chosen that it encrypts.

    Args:
        protection: returned as it is unless it encrypts selectively.
        federation: shapes, classes and the range of values are read from it.
        model: the section [model].
    """
    selective = protection.selective
    if selective is None:
        return protection
    chosen = selection(
        model,
        federation.input_shape,
        federation.classes,
        federation.value_range,
        selective.fraction,
    )
    return replace(
        protection,
        aggregator=partial(selective.aggregator, chosen),
        shared_key=SelectiveSum(chosen, selective.encrypted, plain(1)),
    )


@lru_cache(maxsize=8)
def selection(
    model: ModelConfig,
    input_shape: tuple[int, ...],
    classes: int,
    value_range: tuple[float, float],
    fraction: float,
) -> Selection:
    """Return the public choice of the most sensitive coordinates.

    Raises:
        ModelError: the model does not fit the records (caller).
        secagg.ParameterError: the model has a single parameter (caller).
    """
    return Selection.top(
        sensitivity(model, input_shape, classes, value_range), fraction
    )


def sensitivity(
    model: ModelConfig,
    input_shape: tuple[int, ...],
    classes: int,
    value_range: tuple[float, float],
) -> NDArray[np.float64]:
    """Return how sensitive each parameter's gradient is, (parameters,), >= 0.

    Equal arguments give equal bits on one machine; across machines, one party computes
    it and hands it out, which costs nothing but trust in who computed it.
    """
    net = build(model, input_shape, classes, seed_for(0, "sensitivity")).eval()
    low, high = value_range
    made_up = rng_for(0, "sensitivity").uniform(low, high, (PROBES, *input_shape))
    records = torch.from_numpy(made_up.astype(np.float32))
    parameters = list(net.parameters())
    total = torch.zeros(parameter_count(net), dtype=torch.float64)
    with one_thread():
        for number, record in enumerate(records):
            chances = log_softmax(net(record[None]), dim=1)[0]
            slopes = torch.autograd.grad(
                chances[number % classes], parameters, materialize_grads=True
            )
            total += torch.cat([slope.flatten() for slope in slopes]).abs()
    found: NDArray[np.float64] = (total / PROBES).numpy()
    return found
