"""How often a record can be told among candidates, whatever the attack: an upper bound.

Reconstruction robustness (Balle, Cherubin and Hayes, S&P 2022) of a private mechanism
(Hayes, Mahloujifar and Balle, NeurIPS 2023, theorem 2): an attack that succeeds with
probability `chance` on an output that has nothing to do with the record succeeds on the
real one with at most `1 - f(chance)`, f the trade-off curve between the two outputs.
It stands beside what an attack achieves, as epsilon stands beside a lower bound.
"""

from attacks.errors import ParameterError
from attacks.tradeoff import Curve


def reconstruction_limit(chance: float, curve: Curve) -> float:
    """Return the largest probability of success under a trade-off curve.

    Guarantee: no attack whose success is `chance` where the record is left out succeeds
    more often where it is in, if the mechanism keeps to the curve between the two.

    Args:
        chance: of success without the record: 1 / N for one of N candidates that are
            equally likely beforehand.
        curve: f(1 - y), as `attacks.tradeoff` has its curves, between leaving the
            record out and having it in; `attacks.tradeoff.gaussian_curve(mu)` for
            Gaussian noise of sensitivity over deviation mu.

    Raises:
        ParameterError: (caller) `chance` is no probability between 0 and 1.
    """
    if not 0 < chance < 1:
        raise ParameterError(f"chance={chance} must lie between 0 and 1.")
    return min(1.0, 1 - curve(1 - chance))
