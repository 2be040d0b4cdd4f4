"""Sums of discrete Gaussians stand behind a real Gaussian: two lemmas, with constants.

A chance of integers z is put beside another by the largest |log ratio| over all z, its
*gap*. Write N_Z(c, w) for P[z] in proportion to exp(-(z - c)^2 / (2 w)), and

    T(c, w) = sum over integers z of exp(-(z - c)^2 / (2 w))
            = sqrt(2 pi w) sum over integers k of exp(-2 pi^2 w k^2) cos(2 pi k c)

by Poisson's summation formula, so that T lies within sqrt(2 pi w) (1 -+ eta(w)), where
eta(w) = 2 sum over k >= 1 of exp(-2 pi^2 w k^2), whatever the centre c.

**Lemma 1.** The sum of h independent N_Z(0, v) has a gap of at most
2 sum over k < h of artanh eta(v k / (k + 1)) from N_Z(0, h v). *Proof.* The sum of
N_Z(0, a) and N_Z(0, b) takes z with a chance in proportion to the sum over x of
exp(-x^2 / (2 a) - (z - x)^2 / (2 b)), which is exp(-z^2 / (2 (a + b)))
T(z a / (a + b), w) for w = a b / (a + b). Of the two factors the second is within
1 -+ eta(w) of a constant, and so is its mean, by which chances are divided; the log
ratio is at most log((1 + eta) / (1 - eta)) = 2 artanh eta. Now a = k v and b = v, one
share after the other: adding the same share to two variables does not widen their gap.

**Lemma 2.** Let s^2 > r^2 > 0. A real y from N(0, s^2 - r^2), rounded to a z from
N_Z(y, r^2), has a gap of at most 2 artanh eta(r^2) from N_Z(0, s^2). *Proof.* With f
for the density of N(0, w), the rounding takes z with the chance f(z - y; r^2)
sqrt(2 pi r^2) / T(y, r^2), which is within 1 / (1 -+ eta(r^2)) of f(z - y; r^2).
Over y that integrates to f(z; s^2), and N_Z(0, s^2) has f(z; s^2) / (1 + eta(s^2)),
with 0 <= eta(s^2) <= eta(r^2).

**What follows.** T does not change when c moves by an integer, so adding an integer x
and rounding may change places: integers plus N_Z(0, s^2) are, up to the gap, the same
integers plus N(0, s^2 - r^2), *rounded afterwards*. Rounding is post-processing. So
each release of d coordinates has, whatever the integers and the coins, chances within
e^(+-d gap) of a function of a Gaussian release of the same integers; releases chosen
adaptively within e^(+-G), G the sum over all of them. If those Gaussian releases keep
(epsilon, delta) then

    P[M in S] <= e^G (e^epsilon P[twin' in S] + delta)
              <= e^(epsilon + 2 G) P[M' in S] + e^G delta.

Sources: the first proof is that of Kairouz, Liu, Steinke, arXiv:2102.06387, section 4,
kept as a ratio of chances; the second is the convolution theorem of Peikert, "An
Efficient and Parallel Gaussian Sampler for Lattices", CRYPTO 2010, Theorem 3.1, for the
lattice of integers. `tests/dp/test_smoothing.py` adds both up chance by chance.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

from dp.renyi import SET_ASIDE

ROUNDING_VARIANCE: Final = 3.0
"""r^2: what rounding takes from the variance of a sum; its gap is below 1e-25."""
GAP_MAX: Final = 1e-9
"""Gap of all releases together, beyond which no twin stands in for them."""
# Beyond this epsilon its exponential says nothing, and soon overflows.
_EPSILON_MAX: Final = 700.0


def ripple(variance: float) -> float:
    """Bound eta(w) from above, by k^2 >= k; infinity where the bound says nothing."""
    first = math.exp(-2 * math.pi**2 * variance)
    return 2 * first / (1 - first) if first < 1 else math.inf


def gap(variance: int, honest: int, length: int) -> float:
    """Bound how far a noised vector of integers is from one of real noise, rounded.

    By both lemmas, with v k / (k + 1) >= v / 2 in the first, and a hundredth more for
    the floats of this very bound.

    Args:
        variance: v, of one share.
        honest: h, how many shares.
        length: d, coordinates.

    Returns:
        The largest |log ratio| of chances; infinity where none is known.
    """
    shares, rounding = ripple(variance / 2), ripple(ROUNDING_VARIANCE)
    if shares >= 1:
        return math.inf if honest > 1 else 2.02 * length * math.atanh(rounding)
    each = (honest - 1) * math.atanh(shares) + math.atanh(rounding)
    return 2.02 * length * each


def twin_multiplier(variance: int, honest: int, sensitivity: float) -> float:
    """Return the noise multiplier of the real Gaussian, rounded down; 0 if none is."""
    left = honest * variance - ROUNDING_VARIANCE
    return math.sqrt(max(left, 0.0)) / sensitivity * (1 - 2.0**-40)


def transfer(
    twin: Callable[[float], float], delta: float, *, gap: float, distance: float
) -> float:
    """Turn a bound on the twins into one on what is released.

    Args:
        twin: epsilon of the twins at a delta.
        delta: in (0, 1), of what is released.
        gap: G, summed over all releases.
        distance: how far all releases are, in total variation, from those that the gap
            is about; (1 + e^epsilon) times that is taken from a part of delta.

    Returns:
        Epsilon >= 0; infinity where no bound is known.
    """
    found = twin(delta * (1 - SET_ASIDE) * math.exp(-gap)) + 2 * gap
    if found > _EPSILON_MAX or (1 + math.exp(found)) * distance > delta * SET_ASIDE:
        return math.inf
    return found
