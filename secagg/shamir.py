"""Shamir's t-of-n secret sharing of 32-byte secrets over a prime field.

Shamir, "How to Share a Secret", CACM 1979.  The field has p = 2^256 + 297 elements,
the smallest prime above 2^256, so that every 32-byte string is one field element and
a share is one element of 33 bytes.  A share is the value at x = holder index + 1 of a
polynomial with uniform coefficients and the secret at x = 0.

What it does not do: a share proves nothing about its dealer (no Feldman commitments);
callers check the reconstructed secret against a public digest.  Python integers do not
compute in constant time; only the dealer and the final receiver compute here.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final

from secagg.errors import DecodeError, ParameterError
from secagg.keys import SECRET_BYTES, Secret
from secagg.prg import Rng, draw

PRIME: Final = (1 << 256) + 297
SHARE_BYTES: Final = 33
_COEFFICIENT_BYTES: Final = 48  # reduced modulo p: distance from uniform < 2^-127


@dataclass(frozen=True, slots=True)
class Share:
    """The value of a sharing polynomial at ``x``; never prints its value.

    Raises:
        DecodeError: ``value`` is not a canonical field element (peer).
    """

    x: int
    value: bytes = field(repr=False)

    def __post_init__(self) -> None:
        if self.x < 1:
            raise DecodeError(f"a share has x={self.x}, expected at least 1.")
        if len(self.value) != SHARE_BYTES:
            raise DecodeError(
                f"a share has {len(self.value)} bytes, expected {SHARE_BYTES}."
            )
        if int.from_bytes(self.value, "little") >= PRIME:
            raise DecodeError("a share is not a canonical field element.")


def deal(
    secret: Secret, *, threshold: int, holders: Sequence[int], rng: Rng = os.urandom
) -> tuple[Share, ...]:
    """Share a secret so that any ``threshold`` shares give it and fewer give nothing.

    Args:
        secret: 32 bytes.
        threshold: t, from 1 to the number of holders.
        holders: Distinct x coordinates, each at least 1.
        rng: Source of the t - 1 uniform coefficients.

    Returns:
        One share per holder, in the order given.

    Raises:
        ParameterError: Any argument is outside its range (caller).
    """
    if len(secret) != SECRET_BYTES:
        raise ParameterError(
            f"a shared secret has {SECRET_BYTES} bytes, got {len(secret)}.",
            argument="secret",
        )
    if len(set(holders)) != len(holders) or min(holders, default=0) < 1:
        raise ParameterError(
            "holders must be distinct and at least 1.", argument="holders"
        )
    if not 1 <= threshold <= len(holders):
        raise ParameterError(
            f"threshold={threshold} must lie in 1..{len(holders)}, the number of "
            "holders.",
            argument="threshold",
        )
    drawn = draw(rng, _COEFFICIENT_BYTES * (threshold - 1))
    coefficients = [
        int.from_bytes(drawn[i : i + _COEFFICIENT_BYTES], "little") % PRIME
        for i in range(0, len(drawn), _COEFFICIENT_BYTES)
    ]
    constant = int.from_bytes(secret.expose(), "little")
    shares = []
    for x in holders:
        value = 0
        for coefficient in coefficients:  # Horner, highest power first
            value = (value + coefficient) * x % PRIME
        value = (value + constant) % PRIME
        shares.append(Share(x, value.to_bytes(SHARE_BYTES, "little")))
    return tuple(shares)


def reconstruct(shares: Sequence[Share]) -> Secret:
    """Interpolate at zero through all the shares given.

    The result is the dealt secret when at least ``threshold`` shares are genuine; pass
    exactly that many.  Wrong shares give a wrong secret or an error: check the result.

    Raises:
        DecodeError: Two shares have one x, or the value at zero is not a 32-byte
            secret (peer).
    """
    xs = tuple(share.x for share in shares)
    if not xs or len(set(xs)) != len(xs):
        raise DecodeError("shares must have distinct x and number at least one.")
    total = sum(
        weight * int.from_bytes(share.value, "little")
        for weight, share in zip(lagrange_at_zero(xs), shares, strict=True)
    )
    value = total % PRIME
    if value >> 256:
        raise DecodeError("the shares do not encode a 32-byte secret.")
    return Secret(value.to_bytes(SECRET_BYTES, "little"))


@lru_cache(maxsize=1024)
def lagrange_at_zero(xs: tuple[int, ...]) -> tuple[int, ...]:
    """Return the weights w_i with f(0) = sum of w_i f(x_i) for degree < len(xs)."""
    weights = []
    for i, x in enumerate(xs):
        numerator = denominator = 1
        for j, other in enumerate(xs):
            if j != i:
                numerator = numerator * other % PRIME
                denominator = denominator * (other - x) % PRIME
        weights.append(numerator * pow(denominator, -1, PRIME) % PRIME)
    return tuple(weights)
