"""Variances from a handful of values each, shrunk towards what most of them are.

Smyth, "Linear models and empirical Bayes methods for assessing differential
expression", Statistical Applications in Genetics and Molecular Biology 2004, section
6.2: each record's variance is drawn around a common one, and how closely is read from
the spread of the log variances themselves. Variances that are alike are pooled nearly
in full; variances that differ are left nearly as they are. Nothing is tuned.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, special

from attacks.errors import ParameterError

Floats = NDArray[np.float64]
# As many degrees of freedom pool in full; more change no digit that counts.
MOST = 1e4
_LEAST = 1e-3


def moderated_variance(squares: Floats, freedom: Floats) -> Floats:
    """Return each record's variance, shrunk towards the common one.

    `(f0 v0 + squares) / (f0 + freedom)`, with f0 and v0 from all records.

    Args:
        squares: (records,) sums of squared deviations, not negative.
        freedom: (records,) their degrees of freedom, at least 1.

    Returns:
        (records,) float64. All 0 if all squares are.

    Raises:
        ParameterError: shapes do not fit, or a number is out of range.

    Source: Smyth 2004, section 6.2 (f0, v0 there d0, s0^2).
    """
    if squares.shape != freedom.shape or squares.ndim != 1 or not len(squares):
        raise ParameterError("squares and freedom must be vectors of one length.")
    if not (np.isfinite(squares).all() and (squares >= 0).all() and freedom.min() >= 1):
        raise ParameterError("squares must be >= 0 and freedom >= 1.")
    seen = squares > 0  # a logarithm says nothing of equal values
    if not seen.any():
        return np.zeros_like(squares)
    half = freedom[seen] / 2
    logs = np.log(squares[seen] / freedom[seen]) - special.digamma(half) + np.log(half)
    spread = 0.0
    if len(logs) > 1:
        spread = float(logs.var(ddof=1) - special.polygamma(1, half).mean())
    prior = _inverse_trigamma(spread)
    common = np.exp(logs.mean() + special.digamma(prior / 2) - np.log(prior / 2))
    shrunk = (prior * common + squares) / (prior + freedom)
    return np.asarray(shrunk, dtype=np.float64)


def _inverse_trigamma(spread: float) -> float:
    """Return the f0 at which `trigamma(f0 / 2)` is the spread, at most `MOST`."""

    def over(freedom: float) -> float:
        return float(special.polygamma(1, freedom / 2)) - spread

    if over(MOST) >= 0:  # no more spread than chance makes
        return MOST
    if over(_LEAST) <= 0:
        return _LEAST
    return float(optimize.brentq(over, _LEAST, MOST))
