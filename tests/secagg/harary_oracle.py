"""The bounds of Bell et al. (CCS 2020) for the Harary graph, in exact fractions.

Slow and obvious, with nothing imported from the package: every probability is a ratio
of sums of binomial coefficients, and every degree is tried.
"""

from fractions import Fraction
from math import comb


def exactly(population: int, marked: int, draws: int, x: int) -> Fraction:
    """Pr[X = x] of the hypergeometric distribution."""
    ways = comb(marked, x) * comb(population - marked, draws - x)
    return Fraction(ways, comb(population, draws))


def more_than(population: int, marked: int, draws: int, t: int) -> Fraction:
    """Pr[X > t]."""
    return sum(
        (
            exactly(population, marked, draws, x)
            for x in range(max(t + 1, 0), draws + 1)
        ),
        Fraction(0),
    )


def less_than(population: int, marked: int, draws: int, t: int) -> Fraction:
    """Pr[X < t]."""
    return sum(
        (exactly(population, marked, draws, x) for x in range(min(t, draws + 1))),
        Fraction(0),
    )


def disconnected(clients: int, bad: int, k: int) -> Fraction:
    """Bound on the chance that two runs of k/2 places, apart on both sides, are bad."""
    if bad < k:
        return Fraction(0)
    pairs = Fraction(clients * (clients - k - 1), 2)
    return pairs * Fraction(comb(clients - k, bad - k), comb(clients, bad))


def passes(
    k: int,
    t: int,
    *,
    clients: int,
    corrupt: int,
    drop: int,
    server_lies: bool,
    sigma: int,
    eta: int,
    slack: Fraction = Fraction(0),
) -> bool:
    """Tell whether k and t keep all bad events within budget.

    With ``slack`` every probability counts as larger by that part of itself.
    """
    if t < 2 or t > k:
        return False
    privacy = Fraction(1, 2 ** (sigma + 1)) / (1 + slack)
    # The server needs x >= t colluding neighbours, or 2 t <= k + x if it lies.
    enough = 2 * t - k - 1 if server_lies else t - 1
    return (
        clients * more_than(clients, corrupt, k, enough) <= privacy
        and disconnected(clients, corrupt + drop, k) < privacy
        and clients * less_than(clients, clients - drop, k, t)
        <= Fraction(1, 2**eta) / (1 + slack)
    )


def smallest(*, clients: int, **demand) -> tuple[int, int] | None:
    """Try every even degree and every threshold, smallest first."""
    for k in range(2, clients - 1, 2):
        for t in range(2, k + 1):
            if passes(k, t, clients=clients, **demand):
                return k, t
    return None
