"""What sums over overlapping cohorts add up to: the row space of a 0/1 matrix, exactly.

One row per released sum, one column per client, 1 where the client is in the sum.  If a
client's vector is the same in all of them, every linear combination of the sums is a
row of rational numbers, and a single input is known exactly when its unit vector is
such a row.  Clients that were in the same sums are told apart by no combination; they
share a column here, an *atom*.

``single_columns`` is exact for any matrix that fits into memory.  ``lightest_below`` is
a search for a light codeword, which is hard in general; it is exact or says that it
gave up.  This module knows no names, no contexts and no rules.

Sources: So et al., "Securing Secure Aggregation", arXiv 2106.03328, section III, for
the row space; Hadamard's bound on the minors of 0/1 matrices.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from fractions import Fraction
from functools import lru_cache
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.bool_]  # (sums, clients)
_BELOW = 1 << 31  # primes below it, so that a product of two residues fits into int64
MAX_SEARCH = 200_000
"""Entries that the exact part of ``lightest_below`` may work on before it gives up."""


class GaveUp(Exception):  # noqa: N818  (not an error: an answer)
    """The matrix has too many overlapping rows for an exact answer."""


def single_columns(matrix: Matrix) -> frozenset[int]:
    """Return the columns i whose unit vector e_i is in the rational row space.

    Let r be the rank.  e_i is outside exactly if some r x r minor that avoids column i
    is not zero.  A minor of a 0/1 matrix is at most (r + 1)^((r + 1) / 2) / 2^r, so one
    that vanishes modulo primes with a larger product is zero.  A column is therefore
    returned exactly if it is found modulo each of these primes that keeps the rank.

    Args:
        matrix: shape (sums, clients), bool.
    """
    atoms, owner, sizes = _atoms(matrix)
    alone = frozenset(np.flatnonzero(sizes == 1).tolist())
    full = min(atoms.shape)
    best, found = -1, alone
    for prime in _primes(_minor_bits(full)):
        rank, units = _units(atoms, prime)
        if rank > best:
            best, found = rank, alone & units
        elif rank == best:
            found &= units
        if best == full and (not found or full == atoms.shape[1]):
            break  # this prime keeps the rank for sure, and finds all that there is
    return frozenset(np.flatnonzero(np.isin(owner, list(found))).tolist())


def lightest_below(matrix: Matrix, limit: int) -> int | None:
    """Return on how few clients a combination of the sums rests, if below ``limit``.

    The weight of a combination is the number of clients with a coefficient that is not
    zero.  With the inputs of A clients known, a combination of weight w says something
    about w - A others alone.

    Args:
        matrix: shape (sums, clients), bool.
        limit: Only combinations of fewer clients matter.

    Returns:
        The least weight of a combination that is not zero, or None if it is at least
        ``limit``.

    Raises:
        GaveUp: The answer takes too long.
    """
    atoms, _, sizes = _atoms(matrix)
    large = atoms[:, sizes >= limit]
    small, weights = atoms[:, sizes < limit], sizes[sizes < limit]
    # A combination of weight below the limit is zero on every large atom.
    if not small.shape[1] or _units(large, _BELOW - 1)[0] == len(atoms):
        return None
    if atoms.size * len(atoms) > MAX_SEARCH:
        raise GaveUp
    rows = _zero_on_first(np.hstack([large, small]), large.shape[1])
    if not rows:
        return None
    least = min(_support_weights(rows, weights.tolist()), default=limit)
    return least if least < limit else None


def _atoms(matrix: Matrix) -> tuple[Matrix, NDArray[np.int64], NDArray[np.int64]]:
    """Return distinct rows over atoms, the atom of each client, and atom sizes.

    A client that is in no sum has an atom like the others: a column of zeros, which no
    combination touches and which therefore changes nothing.
    """
    rows = np.unique(matrix, axis=0)
    atoms, owner, sizes = np.unique(
        rows, axis=1, return_inverse=True, return_counts=True
    )
    return atoms, owner.reshape(-1), sizes


def _units(matrix: Matrix, prime: int) -> tuple[int, frozenset[int]]:
    """Return rank and unit vectors of the row space modulo a prime.

    The unit vectors in a row space are rows of its reduced echelon form.
    """
    left = matrix.astype(np.int64)  # (rows, columns), 0 <= entry < prime
    rank = 0
    for column in range(left.shape[1]):
        if rank == len(left):
            break
        pivots = np.flatnonzero(left[rank:, column])
        if not pivots.size:
            continue
        left[[rank, rank + pivots[0]]] = left[[rank + pivots[0], rank]]
        left[rank] = left[rank] * pow(int(left[rank, column]), -1, prime) % prime
        factors = left[:, column].copy()
        factors[rank] = 0
        touched = np.flatnonzero(factors)
        left[touched] -= factors[touched, None] * left[rank]
        left[touched] %= prime
        rank += 1
    basis = left[:rank]
    single = basis[np.count_nonzero(basis, axis=1) == 1]
    return rank, frozenset(np.argmax(single, axis=1).tolist() if single.size else ())


def _minor_bits(order: int) -> float:
    """Return log2 of a bound on the minors, of any order up to this, of 0/1 matrices.

    Hadamard's bound for entries 0 and 1: (r + 1)^((r + 1) / 2) / 2^r, which grows.
    """
    return (order + 1) / 2 * math.log2(order + 1) - order


def _primes(bits: float) -> Iterator[int]:
    """Yield primes below 2^31, largest first, with a product above 2^bits."""
    product = 1
    candidate = _BELOW - 1  # a Mersenne prime
    while product.bit_length() <= bits + 1:
        if _is_prime(candidate):
            product *= candidate
            yield candidate
        candidate -= 2


@lru_cache(maxsize=4096)
def _is_prime(odd: int) -> bool:
    return bool(np.all(odd % np.arange(3, math.isqrt(odd) + 1, 2)))


def _zero_on_first(matrix: Matrix, first: int) -> list[list[Fraction]]:
    """Return a basis of the row space's vectors that are zero on the first columns.

    They are the rows of the reduced echelon form that have their pivot behind them.
    The part behind the first columns is returned.
    """
    left = [[Fraction(int(entry)) for entry in row] for row in matrix]
    rank = 0
    started = 0
    for column in range(matrix.shape[1]):
        if column == first:
            started = rank
        pivot = next((i for i in range(rank, len(left)) if left[i][column]), None)
        if pivot is None:
            continue
        left[rank], left[pivot] = left[pivot], left[rank]
        _clear(left, rank, column)
        rank += 1
    return [row[first:] for row in left[started:rank]]


def _clear(rows: list[list[Fraction]], pivot: int, column: int) -> None:
    """Make one column a unit vector, by exact row operations."""
    scale = rows[pivot][column]
    rows[pivot] = [entry / scale for entry in rows[pivot]]
    for i, row in enumerate(rows):
        factor = row[column]
        if i != pivot and factor:
            rows[i] = [a - factor * b for a, b in zip(row, rows[pivot], strict=True)]


def _support_weights(rows: list[list[Fraction]], weights: list[int]) -> Iterator[int]:
    """Yield the weight of each vector of minimal support in a space, given by a basis.

    Such a vector is fixed up to scale by d - 1 independent columns on which it is zero,
    d being the dimension.

    Raises:
        GaveUp: There are too many choices of columns.
    """
    columns = [j for j in range(len(weights)) if any(row[j] for row in rows)]
    tries = math.comb(len(columns), len(rows) - 1)
    if tries * len(rows) * len(columns) > MAX_SEARCH:
        raise GaveUp
    for zeros in combinations(columns, len(rows) - 1):
        vector = _vanishing_on(rows, zeros)
        if vector is not None:
            yield sum(w for w, entry in zip(weights, vector, strict=True) if entry)


def _vanishing_on(
    rows: list[list[Fraction]], zeros: tuple[int, ...]
) -> list[Fraction] | None:
    """Return the one vector of a space that is zero on d - 1 columns, if it is one."""
    left = [list(row) for row in rows]
    for rank, column in enumerate(zeros):
        pivot = next((i for i in range(rank, len(left)) if left[i][column]), None)
        if pivot is None:
            return None
        left[rank], left[pivot] = left[pivot], left[rank]
        _clear(left, rank, column)
    return left[-1]
