"""Shamir's t-of-n secret sharing of 32-byte secrets, as matrix products over a prime.

Shamir, "How to Share a Secret", CACM 1979.  A secret is 16 limbs of 16 bits, and each
limb is shared by a polynomial of its own over the field of p = 2^16 + 1 elements, the
smallest prime that has room for a limb.  A share is the 16 values at x = holder index
+ 1, of 17 bits each: 34 bytes.

Dealing is a matrix (x^j) times a matrix of limbs and uniform coefficients, combining a
matrix of Lagrange weights times one of shares.  All entries are whole numbers below
2^17 and sums stay below 2^53, so float64 products are exact and run in BLAS.  Time does
not depend on the values: there is no division and no branch on them.

What it does not do: a share proves nothing about its dealer (no Feldman commitments);
callers check the reconstructed secret against a public digest.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from secagg.errors import DecodeError, ParameterError
from secagg.keys import SECRET_BYTES, Secret
from secagg.prg import Rng, draw
from secagg.ring import Ring

PRIME: Final = (1 << 16) + 1
LIMBS: Final = SECRET_BYTES // 2
SHARE_BYTES: Final = LIMBS * 17 // 8
MAX_HOLDERS: Final = PRIME - 1  # every x but 0

_RING: Final = Ring(17)
_TOP_BITS: Final = sum(1 << (17 * limb + 16) for limb in range(LIMBS))
_TILE: Final = 1 << 20  # entries of a matrix that is built at once
_REDRAWS: Final = 8  # a sound source needs more with a probability below 2^-200


@dataclass(frozen=True, slots=True)
class Share:
    """The values of the 16 polynomials at ``x``; never prints them.

    Raises:
        DecodeError: ``value`` is not 16 canonical field elements (peer).
    """

    x: int
    value: bytes = field(repr=False)

    def __post_init__(self) -> None:
        if not 1 <= self.x <= MAX_HOLDERS:
            raise DecodeError(f"a share has x={self.x}, expected 1..{MAX_HOLDERS}.")
        if len(self.value) != SHARE_BYTES:
            raise DecodeError(
                f"a share has {len(self.value)} bytes, expected {SHARE_BYTES}."
            )
        number = int.from_bytes(self.value, "little")
        tops = number & _TOP_BITS
        if number & (tops - (tops >> 16)):  # a limb of 2^16 has no other bit set
            raise DecodeError("a share is not made of canonical field elements.")


def deal(
    secrets: Sequence[Secret],
    *,
    threshold: int,
    holders: Sequence[int],
    rng: Rng = os.urandom,
) -> Iterator[tuple[Share, ...]]:
    """Share secrets so that ``threshold`` shares give each and fewer give nothing.

    Args:
        secrets: Of 32 bytes each.
        threshold: t, from 1 to the number of holders.
        holders: Distinct x coordinates in 1..65536.
        rng: Source of the t - 1 uniform coefficients of each polynomial.

    Returns:
        For each holder, in the order given, its share of each secret.

    Raises:
        ParameterError: Any argument is outside its range (caller).
    """
    for secret in secrets:
        if len(secret) != SECRET_BYTES:
            raise ParameterError(
                f"a shared secret has {SECRET_BYTES} bytes, got {len(secret)}.",
                argument="secrets",
            )
    points = tuple(holders)
    if len(set(points)) != len(points) or not all(
        1 <= x <= MAX_HOLDERS for x in points
    ):
        raise ParameterError(
            f"holders must be distinct and in 1..{MAX_HOLDERS}.", argument="holders"
        )
    if not 1 <= threshold <= len(points):
        raise ParameterError(
            f"threshold={threshold} must lie in 1..{len(points)}, the number of "
            "holders.",
            argument="threshold",
        )
    columns = len(secrets) * LIMBS
    polynomials = np.empty((threshold, columns))
    polynomials[0] = np.concatenate(
        [np.frombuffer(secret.expose(), dtype="<u2") for secret in secrets]
    )
    polynomials[1:] = _uniform(rng, (threshold - 1) * columns).reshape(-1, columns)
    return _shares(points, polynomials, len(secrets))


def _shares(
    points: tuple[int, ...], polynomials: NDArray[np.float64], secrets: int
) -> Iterator[tuple[Share, ...]]:
    """Evaluate all polynomials at some points at a time."""
    threshold = len(polynomials)
    rows = max(1, _TILE // threshold)
    for start in range(0, len(points), rows):
        some = points[start : start + rows]
        values = _reduce(_powers(some, threshold) @ polynomials)
        packed = _RING.pack(values.reshape(-1).astype(np.uint32))
        size = secrets * SHARE_BYTES
        for at, x in enumerate(some):
            own = packed[at * size : (at + 1) * size]
            yield tuple(
                Share(x, own[i : i + SHARE_BYTES]) for i in range(0, size, SHARE_BYTES)
            )


def interpolate(shares: Sequence[Sequence[Share]]) -> NDArray[np.int64]:
    """Return the values at zero of many sets of polynomials.

    Args:
        shares: For each owner its shares, as many for each.  ``threshold`` genuine ones
            give the dealt limbs; a wrong one gives wrong limbs, so check the result.

    Returns:
        shape (owners, 16), in 0..65536; ``limbs_to_secret`` reads a row.

    Raises:
        DecodeError: Two shares of one owner have one x, or there are none (peer).
    """
    points = [tuple(share.x for share in row) for row in shares]
    if not points:
        return np.empty((0, LIMBS), dtype=np.int64)
    for xs in points:
        if not xs or len(xs) != len(points[0]) or len(set(xs)) != len(xs):
            raise DecodeError(
                "shares must have distinct x, number at least one, and as many for "
                "each owner."
            )
    distinct = {xs: row for row, xs in enumerate(dict.fromkeys(points))}
    weights = _lagrange_at_zero(tuple(distinct))
    result = np.empty((len(shares), LIMBS), dtype=np.int64)
    tile = max(1, _TILE // (LIMBS * len(points[0])))
    for start in range(0, len(shares), tile):
        some = slice(start, start + tile)
        rows = weights[[distinct[xs] for xs in points[some]]]
        packed = b"".join(share.value for row in shares[some] for share in row)
        values = _RING.unpack(packed, rows.size * LIMBS).astype(np.float64)
        sums = rows[:, None, :] @ values.reshape(*rows.shape, LIMBS)
        result[some] = _reduce(sums[:, 0])
    return result


def limbs_to_secret(limbs: NDArray[np.int64]) -> Secret:
    """Read one row of ``interpolate``.

    Raises:
        DecodeError: Some value is no limb, so the shares were of no secret (peer).
    """
    if bool((limbs >> 16).any()):
        raise DecodeError("the shares do not encode a 32-byte secret.")
    return Secret(limbs.astype("<u2").tobytes())


def reconstruct(shares: Sequence[Share]) -> Secret:
    """Return the secret of one owner from exactly ``threshold`` of its shares.

    Raises:
        DecodeError: As ``interpolate`` and ``limbs_to_secret`` (peer).
    """
    return limbs_to_secret(interpolate([shares])[0])


@lru_cache(maxsize=4)  # where nobody drops, the same holders answer in every round
def _lagrange_at_zero(points: tuple[tuple[int, ...], ...]) -> NDArray[np.float64]:
    """Return the Lagrange weights of each row of x, shape as ``points``."""
    xs = np.array(points, dtype=np.int64)
    above, below = np.ones_like(xs), np.ones_like(xs)
    for j in range(xs.shape[1]):
        other = xs[:, j : j + 1]
        itself = np.arange(xs.shape[1]) == j
        above = above * np.where(itself, 1, other) % PRIME
        below = below * np.where(itself, 1, other - xs) % PRIME
    inverse = below
    for _ in range(15):  # below^(p - 2), by Fermat, with p - 2 = 2^16 - 1
        inverse = inverse * inverse % PRIME * below % PRIME
    weights = (above * inverse % PRIME).astype(np.float64)
    weights.setflags(write=False)
    return weights


@lru_cache(maxsize=8)  # the same clients invite the same neighbours, round by round
def _powers(points: tuple[int, ...], count: int) -> NDArray[np.float64]:
    """Return x^j modulo p, shape (points, count)."""
    xs = np.array(points, dtype=np.int64)
    columns = np.ones((count, len(points)), dtype=np.int64)
    for j in range(1, count):
        columns[j] = columns[j - 1] * xs % PRIME
    table = np.ascontiguousarray(columns.T, dtype=np.float64)
    table.setflags(write=False)
    return table


def _reduce(sums: NDArray[np.float64]) -> NDArray[np.int64]:
    """Reduce whole numbers in 0..2^53 modulo p, in the same time for all values."""
    whole = sums.astype(np.int64)
    low = (1 << 16) - 1
    # 2^16 = -1 modulo p, so the four 16-bit digits add up with alternating signs.
    folded = (whole & low) - (whole >> 16 & low) + (whole >> 32 & low) - (whole >> 48)
    folded += PRIME & (folded >> 63)  # twice, because it may be as low as -65535 - 32
    folded += PRIME & (folded >> 63)
    over = folded - PRIME
    reduced: NDArray[np.int64] = over + (PRIME & (over >> 63))
    return reduced


def _uniform(rng: Rng, count: int) -> NDArray[np.float64]:
    """Draw exactly uniform field elements.

    2^32 - 1 is a multiple of p: of the 2^32 words only the last is drawn again.

    Raises:
        ParameterError: ``rng`` gives that word again and again (caller).
    """
    words = np.frombuffer(draw(rng, 4 * count), dtype="<u4").astype(np.int64)
    top = (1 << 32) - 1
    for _ in range(_REDRAWS):
        again = np.flatnonzero(words == top)
        if not len(again):
            return _reduce(words.astype(np.float64)).astype(np.float64)
        words[again] = np.frombuffer(draw(rng, 4 * len(again)), dtype="<u4")
    raise ParameterError(
        "rng returns the same bytes again and again; pass os.urandom.", argument="rng"
    )
