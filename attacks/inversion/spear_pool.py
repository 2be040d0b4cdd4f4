"""Keep the distinct directions in which a layer's gradient is sparse, in order.

A column of dZ is zero where the record left its ReLU off; a mixture of columns is zero
where all of them are, so it is never sparser than its parts (but for the few rows in
which it was made to vanish). The sparsest independent directions are therefore the
true ones as soon as all of those have been proposed (`spear_directions`).
"""

from dataclasses import dataclass

import torch
from torch import Tensor

_EXCESS = 3  # zeros beyond the b - 1 that any null vector has, to be a candidate
_LOOSE, _LOOSER = 1e-4, 3.0  # zeros before polishing: of the rms, or of the noise
_CLOSER = 10.0  # per round of polishing
_SAME = 1e-6  # 1 - |cosine| of two finds of one direction
_POLISHED = 64  # proposals looked at closely per round: the sparsest
_INDEPENDENT = 1e-5  # least distance of a unit vector from the span of the others
_POOL = 256  # candidates kept: the sparsest


@dataclass(frozen=True, slots=True, eq=False)
class Pool:
    """Distinct candidates, the sparsest first.

    Attributes:
        directions: unit vectors, (p, b).
        zeros: bool (p, k), which rows each makes zero.
    """

    directions: Tensor
    zeros: Tensor

    def added(self, proposals: Tensor, rows: Tensor, zero: float) -> "Pool":
        """Return the pool with those proposals that are sparse and new.

        The paper asks for about half the entries to be zero. Inputs that are not
        centred are far from that, so any excess over chance is enough here, and the
        order does the rest: a mixture of columns is never sparser than they are.
        """
        rank = rows.shape[1]
        fewest = rank - 1 + _EXCESS if rank > 1 else 0
        loose = max(_LOOSE, _LOOSER * zero)
        finite = proposals.isfinite().all(dim=1)
        proposals = proposals[finite]
        counts = ((proposals @ rows.T).abs() <= loose).sum(dim=1)
        order = counts.argsort(descending=True, stable=True)
        order = order[counts[order] >= fewest]
        known = self.directions
        fresh: list[Tensor] = []
        for unit in _distinct(proposals[order], known):
            better = _polished(unit, rows, zero)
            vanish = (rows @ better).abs() <= zero
            if int(vanish.sum()) >= fewest and _is_new(better, known):
                known = torch.cat([known, better[None]])
                fresh.append(vanish)
        if not fresh:
            return self
        zeros = torch.cat([self.zeros, torch.stack(fresh)])
        order = zeros.sum(dim=1).argsort(descending=True, stable=True)
        sorted_pool = Pool(known[order], zeros[order])
        # Many mixtures of a few columns must not crowd out the only find of another.
        needed = [i for i in independent(sorted_pool) if i >= _POOL]
        kept = [*range(min(_POOL, len(order))), *needed]
        return Pool(sorted_pool.directions[kept], sorted_pool.zeros[kept])


def empty_pool(rows: Tensor) -> Pool:
    """Return a pool without candidates for `rows` (k, b)."""
    return Pool(rows[:0], torch.zeros((0, len(rows)), dtype=torch.bool).to(rows.device))


def independent(pool: Pool) -> list[int]:
    """Return the sparsest independent directions: at most b of them."""
    rank = pool.directions.shape[1]
    chosen: list[int] = []
    basis = pool.directions[:0]
    for index, unit in enumerate(pool.directions):
        rest = unit - basis.T @ (basis @ unit)
        rest = rest - basis.T @ (basis @ rest)
        if float(rest.norm()) > _INDEPENDENT:
            basis = torch.cat([basis, rest[None] / rest.norm()])
            chosen.append(index)
            if len(chosen) == rank:
                break
    return chosen


def is_pinned(zeros: Tensor, rows: Tensor) -> bool:
    """Tell whether the zeros of a direction determine it without any one of them.

    If the entries of dZ that are not zero are in general position, this holds for a
    column of dZ and for no mixture of columns: a mixture vanishes where all its parts
    do, which leaves it open, and elsewhere only in rows it was made to vanish in,
    each of which is then indispensable (leverage one).
    """
    rank = rows.shape[1]
    if rank == 1:
        return True
    left, values, _ = torch.linalg.svd(rows[zeros], full_matrices=False)
    if len(values) < rank or float(values[rank - 2]) <= _SAME * float(values[0]):
        return False
    leverage = left[:, : rank - 1].square().sum(dim=1)
    return float(leverage.max()) < 1 - _SAME


def _distinct(units: Tensor, known: Tensor) -> list[Tensor]:
    """Drop repeats and what is known; earlier ones stay."""
    if len(known):
        units = units[((units @ known.T).abs() < 1 - _SAME).all(dim=1)]
    kept: list[Tensor] = []
    while len(units) and len(kept) < _POLISHED:
        kept.append(units[0])
        units = units[(units @ units[0]).abs() < 1 - _SAME]
    return kept


def _is_new(unit: Tensor, known: Tensor) -> bool:
    return not bool(((known @ unit).abs() >= 1 - _SAME).any())


def _polished(unit: Tensor, rows: Tensor, zero: float) -> Tensor:
    """Return the direction that the rows nearly zero in `unit` determine together.

    The circle of such rows is drawn ever closer: a row that is small by chance would
    pull the direction away from all others.
    """
    rank = rows.shape[1]
    near = max(_LOOSE, _LOOSER * zero)
    while rank > 1:
        few = rows[(rows @ unit).abs() <= near]
        if len(few) < rank - 1:
            break
        # With b - 1 rows, only the complete decomposition has the null vector.
        complete = len(few) < rank
        unit = torch.linalg.svd(few, full_matrices=complete)[2][-1]
        if near <= zero:
            break
        near = max(near / _CLOSER, zero)
    return unit
