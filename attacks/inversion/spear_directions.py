"""Propose directions in which a layer's gradient is sparse.

A column of dZ is zero where the record left its ReLU off, so the true directions are
those u for which many rows vanish. Three ways to find them:

* `from_rows`: the null vector of b - 1 rows, the search of SPEAR (arXiv 2403.03945,
  section 3.2). All rows drawn must be zero in the column: about 2^(b-1) draws each.
* `from_descents`: minimise a sparsity-inducing norm of `rows @ u` by reweighted least
  squares, in the spirit of SPEAR++ (arXiv 2510.24200), which reads the problem as
  dictionary learning. It finds directions where the draws are hopeless.
* `from_mixture`: take a find apart that vanishes where several columns do.

Not here: which candidates to keep (`spear_pool`), which b are right (`spear_match`).
"""

import torch
from torch import Tensor

# Tuned on digits, MNIST and CIFAR-10 at b = 12 and 20: fewer steps or a faster descent
# lose most hits, a power of 1 loses the columns that are hard to find.
_ITERATIONS = 60
_SMOOTHING = (0.5, 1e-6)  # first and last
_POWER, _POWER_BESIDE = 0.8, 0.6  # of the norm that is minimised
_SAME_ROW = 1e-9  # 1 - |cosine| of rows that say the same
_RANK = 1e-6  # singular values and leverages this close to 0 or 1 are


def from_rows(rows: Tensor, draws: int, generator: torch.Generator) -> Tensor:
    """Return the null vectors of `draws` random choices of b - 1 rows, (draws, b).

    Choices that do not determine one direction come back with entries that are not
    finite, or as a direction that is not sparse.
    """
    count, rank = rows.shape
    if rank == 1:
        return torch.ones((1, 1), dtype=rows.dtype, device=rows.device)
    keys = torch.rand((draws, count), generator=generator, dtype=torch.float32)
    chosen = rows[keys.to(rows.device).topk(rank - 1, dim=1).indices]
    last = torch.randn((draws, 1, rank), generator=generator, dtype=torch.float64)
    systems = torch.cat([chosen, last.to(rows)], dim=1)
    unit = torch.zeros((draws, rank, 1)).to(rows)
    unit[:, -1] = 1
    solved = torch.linalg.solve_ex(systems, unit)[0][..., 0]
    return _unit(solved)


def distinct_rows(rows: Tensor) -> Tensor:
    """Return the rows that differ by more than a factor, (d, b), the first of each.

    Two that agree would leave a draw open, and the answer sparse by their number.
    """
    units = rows / rows.norm(dim=1, keepdim=True)
    alike = (units @ units.T).abs() > 1 - _SAME_ROW
    first = alike.int().argmax(dim=1)
    found: Tensor = rows[first == torch.arange(len(rows), device=rows.device)]
    return found


def from_descents(rows: Tensor, starts: int, generator: torch.Generator) -> Tensor:
    """Return where `starts` random directions descend to on the sphere, (starts, b).

    Each step is the smallest eigenvector of `sum_r w_r rows_r rows_r^T` with weights
    `w_r = (|rows_r u|^2 + s^2)^(p/2 - 1)`, which minimises the lp norm as s shrinks.
    """
    units = _random_units(rows, starts, generator)
    for smoothing in _smoothings():
        squares = _weighted_squares(rows, units, smoothing, _POWER)
        units = torch.linalg.eigh(squares)[1][:, :, 0]
    return units


def from_descents_beside(
    known: Tensor, rows: Tensor, starts: int, generator: torch.Generator
) -> Tensor:
    """Descend as before, but under `c^T u = 1` with c orthogonal to what is known.

    No mixture of known directions satisfies that, so a missing one must take part:
    where few are missing, nearly every start ends at one of them. The constraint is
    that of ER-SpUD (Spielman, Wang and Wright, COLT 2012), with c drawn beside the
    columns found already.

    Args:
        known: unit vectors, (f, b), f < b, independent.
        rows: (k, b).
        starts: how many c to draw.
        generator: of the draws.
    """
    normals = _random_units(rows, starts, generator)
    units = _random_units(rows, starts, generator)
    basis = torch.linalg.qr(known.T)[0]
    normals = normals - normals @ basis @ basis.T
    for smoothing in _smoothings():
        squares = _weighted_squares(rows, units, smoothing, _POWER_BESIDE)
        units = torch.linalg.solve_ex(squares, normals[:, :, None])[0][..., 0]
        units = _unit(units)
    return units


def from_mixture(
    zeros: Tensor, rows: Tensor, draws: int, generator: torch.Generator
) -> Tensor:
    """Search again in the span of the columns that a mixture is made of.

    A mixture vanishes where all its parts do. Those rows, less the indispensable ones
    in which it vanishes by its own choice, have that span as their null space: a
    problem of the same kind with far fewer columns, so far fewer draws.

    Args:
        zeros: bool (k,), where a candidate that is not pinned vanishes.
        rows: (k, b).
        draws: as in `from_rows`.
        generator: of the draws.

    Returns:
        Proposals, (draws, b), or none (0, b) if the rows tell no span of parts.
    """
    common = rows[zeros]
    while len(common):
        left, values, right = torch.linalg.svd(common, full_matrices=True)
        rank = int((values > _RANK * values[0]).sum())
        own = left[:, :rank].square().sum(dim=1) > 1 - _RANK
        if not bool(own.any()):
            parts = right[rank:]
            inner = rows[~zeros] @ parts.T
            if not 2 <= len(parts) <= len(inner):
                break
            inner = inner / inner.norm(dim=1, keepdim=True).clamp_min(1e-300)
            proposals: Tensor = from_rows(inner, draws, generator) @ parts
            return proposals
        common = common[~own]
    return rows[:0]


def _random_units(rows: Tensor, count: int, generator: torch.Generator) -> Tensor:
    shape = (count, rows.shape[1])
    units = torch.randn(shape, generator=generator, dtype=torch.float64).to(rows)
    return _unit(units)


def _smoothings() -> list[float]:
    first, last = _SMOOTHING
    ratio = last / first
    return [first * ratio ** (i / (_ITERATIONS - 1)) for i in range(_ITERATIONS)]


def _weighted_squares(
    rows: Tensor, units: Tensor, smoothing: float, power: float
) -> Tensor:
    """Return the weighted Gram matrix of the rows for each unit, (starts, b, b)."""
    rank = rows.shape[1]
    products = (rows[:, :, None] * rows[:, None, :]).flatten(1)  # (k, b * b)
    weights = ((units @ rows.T).square() + smoothing**2) ** (power / 2 - 1)
    weights = weights / weights.amax(dim=1, keepdim=True)
    return (weights @ products).reshape(-1, rank, rank)


def _unit(vectors: Tensor) -> Tensor:
    scaled: Tensor = vectors / vectors.norm(dim=1, keepdim=True)
    return scaled
