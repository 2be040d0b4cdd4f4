"""Source inference: a record is known to be in the training; whose is it?

Hu et al., "Source inference attacks in federated learning" (ICDM 2021, arXiv
2109.05659): the client whose model has the least loss on the record. Chance is one in
the number of clients.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from attacks.bounds import DEFAULT_CONFIDENCE, Estimate, clopper_pearson
from attacks.errors import ParameterError

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
SOURCE = "source inference"


def sources(measured: Floats) -> Ints:
    """Name the client that each record is most likely from.

    Args:
        measured: (rounds, clients, records), higher for an owner; a client that missed
            a round has NaN there. Each client is in some round. Over the rounds that a
            client was in, its mean excess over the round's mean client is compared.

    Returns:
        (records,) places of clients; the first among equals.

    Raises:
        ParameterError: not such an array, or a client was in no round.

    Source: arXiv 2109.05659, section 4 (one round; several are averaged here).
    """
    if measured.ndim != 3 or 0 in measured.shape or measured.shape[1] < 2:
        raise ParameterError(
            f"measured has shape {measured.shape}; want (rounds, clients, records), "
            "of two clients or more."
        )
    there = ~np.isnan(measured)
    if not there.any(axis=0).all():
        raise ParameterError("A client was in no round; leave it out.")
    in_round = np.where(there, measured, 0.0)
    typical = in_round.sum(axis=1) / np.maximum(there.sum(axis=1), 1)
    excess = np.where(there, measured - typical[:, None], 0.0)
    mean = excess.sum(axis=0) / there.sum(axis=0)
    return np.asarray(mean.argmax(axis=0), dtype=np.int64)


def source_accuracy(
    named: Ints, truth: Ints, confidence: float = DEFAULT_CONFIDENCE
) -> Estimate:
    """Estimate how often the source was named rightly; chance is one in the clients.

    The interval is Clopper-Pearson and takes records for independent; records of one
    client share its update, so a claim about other runs needs several (`fl` has them).

    Raises:
        ParameterError: different lengths, or no record.
    """
    if named.shape != truth.shape or named.ndim != 1 or not len(named):
        raise ParameterError("named and truth must be vectors of one length.")
    return clopper_pearson(int((named == truth).sum()), len(named), confidence)
