"""White-box attacks that learn what a member looks like, or that ask actively.

Nasr, Shokri and Houmansadr, "Comprehensive privacy analysis of deep learning" (S&P
2019, arXiv 1812.00910).

*Passive*: the attacker observes losses, gradients and updates over rounds
and trains a classifier on records whose membership it knows: a colluding client's own,
and records that are in nobody's training. Theirs is a network over layers' gradients;
here it is a ridge logistic regression over a few numbers a round, which the attacker's
few hundred records can fit.

*Active* (gradient ascent): a malicious server raises the loss of the records that it
asks for before it sends the model. A client that has one trains on it and pulls its
loss back down; a record that nobody has stays up.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import special

from attacks.errors import ParameterError
from attacks.membership.federated.series import LARGEST

Floats = NDArray[np.float64]
Bits = NDArray[np.bool_]
PASSIVE, ACTIVE = "Nasr passive", "Nasr active"
KNOWN_NEEDED = 10  # on each side
# Weight of the penalty on a coefficient against one training record.
_RIDGE = 1.0
_STEPS = 50
# Losses below are alike: float32 makes little of them.
SMALLEST = 1e-6


def nasr_passive(known: Floats, members: Bits, asked: Floats) -> Floats:
    """Learn membership from records that are known, and score others.

    Args:
        known: (known, features) of records whose membership the attacker knows.
        members: (known,) bool, ten or more of each kind. None of these records may be
            among those that the attack is judged on.
        asked: (records, features), measured alike.

    Returns:
        (records,) log odds, higher for members.

    Raises:
        ParameterError: shapes do not fit, a number is not finite, or too few records
            are known.
    """
    if known.ndim != 2 or asked.ndim != 2 or known.shape[1] != asked.shape[1]:
        raise ParameterError(
            f"known {known.shape} and asked {asked.shape} must be (records, features) "
            "of the same features."
        )
    if members.shape != known.shape[:1]:
        raise ParameterError("members must hold one bit per known record.")
    if not (np.isfinite(known).all() and np.isfinite(asked).all()):
        raise ParameterError("Features must be finite.")
    least = min(int(members.sum()), int((~members).sum()))
    if least < KNOWN_NEEDED:
        raise ParameterError(
            f"Of one kind {least} records are known; give {KNOWN_NEEDED} or more."
        )
    centre, scale = known.mean(axis=0), known.std(axis=0)
    scale = np.where(scale > 0, scale, 1.0)
    weights = _logistic(_with_one((known - centre) / scale), members)
    return np.asarray(_with_one((asked - centre) / scale) @ weights)


def nasr_active(sent: Floats, returned: Floats) -> Floats:
    """Score records by how far a round pulled their raised loss back.

    By its logarithm: a record that the model did well on before has less to fall.

    Args:
        sent: (rounds, records) losses under the model that was sent out.
        returned: (rounds, records) losses under what came back.

    Returns:
        (records,) mean over rounds of the log of sent over returned; higher for
        members.

    Raises:
        ParameterError: shapes do not fit.
    """
    if sent.ndim != 2 or sent.shape != returned.shape or 0 in sent.shape:
        raise ParameterError(
            f"sent {sent.shape} and returned {returned.shape} must both be (rounds, "
            "records)."
        )
    falls = np.log(_bounded(sent)) - np.log(_bounded(returned))
    return np.asarray(falls.mean(axis=0))


def _bounded(losses: Floats) -> Floats:
    found = np.nan_to_num(losses.astype(np.float64), nan=LARGEST, posinf=LARGEST)
    return np.clip(found, SMALLEST, LARGEST)


def _with_one(features: Floats) -> Floats:
    return np.hstack([features, np.ones((len(features), 1))])


def _logistic(features: Floats, members: Bits) -> Floats:
    """Fit a ridge logistic regression by Newton's method; the last column is free.

    Both kinds weigh the same, however many of each are known.
    """
    weights = np.zeros(features.shape[1])
    count = len(members)
    each = np.where(members, count / members.sum(), count / (~members).sum()) / 2
    penalty = np.full(features.shape[1], _RIDGE)
    penalty[-1] = 1e-9
    for _ in range(_STEPS):
        p = special.expit(features @ weights)
        slope = features.T @ (each * (members - p)) - penalty * weights
        curve = (features * (each * p * (1 - p))[:, None]).T @ features
        step = np.linalg.solve(curve + np.diag(penalty), slope)
        weights = weights + step
        if float(np.abs(step).max()) < 1e-10:
            break
    return weights
