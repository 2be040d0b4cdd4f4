"""Irrational weights between integers: powers of exp and ratios of Bessel functions.

Each function returns bounds, as multiples of 2^-scale, of numbers that no integer is,
in integer arithmetic that rounds down below and up above.  They are what
`inversion.Inversion` needs to draw exactly.  No float is in here.
"""

from __future__ import annotations


def quadratic_powers(factor: int, count: int, scale: int, *, up: bool) -> list[int]:
    """Return factor^(j^2) for j < count, all as multiples of 2^-scale."""
    extra = (1 << scale) - 1 if up else 0
    square = (factor * factor + extra) >> scale
    powers, power, step = [], 1 << scale, factor
    for _ in range(count):
        powers.append(power)
        power = (power * step + extra) >> scale  # factor^(j^2 + 2 j + 1)
        step = (step * square + extra) >> scale
    return powers


def exp_minus(num: int, den: int, scale: int) -> tuple[int, int]:
    """Bound 2^scale exp(-num / den) for num <= den / 2, from the series of exp."""
    low = high = term_low = term_high = 1 << scale
    n = 1
    while term_low:
        term_low = term_low * num // (den * n)
        term_high = -(-term_high * num // (den * n))
        low, high, n = low + term_low, high + term_high, n + 1
    high += 2 * term_high + 1  # the terms left out at least halve each time
    one = 1 << 2 * scale
    return one // high, -(-one // low)


def bessel_ratios(variance: int, count: int, scale: int) -> list[tuple[int, int]]:
    """Bound 2^scale I_k(v) / I_(k-1)(v) for k = 1 .. count - 1, v = variance.

    I_(k-1) = I_(k+1) + (2 k / v) I_k, so r_k = 1 / (2 k / v + r_(k+1)); backwards, an
    interval that starts as 0 <= r <= 1 shrinks by r^2 at each step.
    """
    one, square = 1 << scale, 1 << 2 * scale
    ratios: list[tuple[int, int]] = []
    low, high = 0, one
    for k in range(count + count // 2 + scale, 0, -1):
        num = 2 * k * one
        low, high = (
            square // (-(-num // variance) + high),
            min(one, -(-square // (num // variance + low))),
        )
        if k < count:
            ratios.append((low, high))
    return ratios[::-1]
