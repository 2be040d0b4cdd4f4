"""Choose the directions that explain which units were on, and say how well they do.

SPEAR's sparsity matching coefficient (arXiv 2403.03945, section 3.3) is the fraction
of the m * b entries in which a reconstruction agrees with itself: dZ is zero exactly
where `W x + b` of the recovered record is not positive. It needs no truth. The first
choice is greedy, the sparsest independent directions; then single directions are
swapped for others of the pool for as long as the coefficient grows.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from attacks.inversion.spear_factor import Factors
from attacks.inversion.spear_pool import Pool

_SWAPS_PER_RECORD = 4
_TRIED = 128  # candidates tried in each place, the sparsest first


@dataclass(frozen=True, slots=True, eq=False)
class Layer:
    """What the attacker knows of a linear layer: float64 weight (m, n), bias (m,)."""

    weight: Tensor
    bias: Tensor

    def outputs(self, factors: Factors) -> Tensor:
        """Return `[W, b] right^T`, (m, b): pre-activations before disaggregation."""
        joint = torch.cat([self.weight, self.bias[:, None] / factors.bias_scale], dim=1)
        return joint @ factors.right.T


@dataclass(frozen=True, slots=True, eq=False)
class Choice:
    """b directions and how well they match.

    Attributes:
        indices: of the pool, in the order of the records.
        coefficient: 1 if and only if every entry agrees.
    """

    indices: list[int]
    coefficient: float


def coefficient(factors: Factors, layer: Layer, pool: Pool, chosen: list[int]) -> float:
    """Return the sparsity matching coefficient of b directions of the pool."""
    inverse, info = torch.linalg.inv_ex(pool.directions[chosen])
    if int(info) != 0:
        return 0.0
    outputs = layer.outputs(factors) @ inverse
    scale = factors.right[:, -1] @ inverse / factors.bias_scale
    zeros = _all_zeros(factors, pool)[chosen]
    return float(_agreement(outputs / scale, zeros.T, factors.zero))


def repaired(factors: Factors, layer: Layer, pool: Pool, start: Choice) -> Choice:
    """Swap single directions for others while the coefficient grows."""
    best = start
    everywhere = layer.outputs(factors)
    zeros = _all_zeros(factors, pool)
    for _ in range(_SWAPS_PER_RECORD * factors.rank):
        if best.coefficient == 1.0:
            break
        swap = _best_swap(factors, everywhere, pool.directions, zeros, best.indices)
        if swap is None or swap.coefficient <= best.coefficient:
            break
        exact = coefficient(factors, layer, pool, swap.indices)
        if exact <= best.coefficient:
            break
        best = Choice(swap.indices, exact)
    return best


def records_of(factors: Factors, directions: Tensor) -> tuple[Tensor, Tensor]:
    """Return the records (b, n) and their gradients dZ (m, b) for b directions."""
    joint = torch.linalg.solve(directions.T, factors.right)
    scale = joint[:, -1] / factors.bias_scale
    return joint[:, :-1] / scale[:, None], factors.left @ directions.T * scale


def _all_zeros(factors: Factors, pool: Pool) -> Tensor:
    """Return the zeros over all m units: dead units are zero for every record."""
    shape = (len(pool.zeros), len(factors.live))
    zeros = torch.ones(shape, dtype=torch.bool, device=pool.zeros.device)
    zeros[:, factors.live] = pool.zeros
    return zeros


def _agreement(outputs: Tensor, zeros: Tensor, zero: float) -> Tensor:
    """Return the fraction of agreeing entries of (..., m, b) outputs and zeros.

    Outputs within rounding of zero agree with either.
    """
    size = outputs.square().mean(dim=-2, keepdim=True).sqrt()
    on, off = outputs > zero * size, outputs < -zero * size
    wrong = (zeros & on) | (~zeros & off) | ~outputs.isfinite()
    return 1 - wrong.double().mean(dim=(-2, -1))


def _best_swap(
    factors: Factors, everywhere: Tensor, units: Tensor, zeros: Tensor, now: list[int]
) -> Choice | None:
    """Try every candidate in every place by rank-one updates of the inverse."""
    inverse, info = torch.linalg.inv_ex(units[now])
    if int(info) != 0:
        return None
    tried = torch.tensor([i for i in range(min(len(units), _TRIED)) if i not in now])
    if len(tried) == 0:
        return None
    outputs = everywhere @ inverse  # (m, b)
    scale = factors.right[:, -1] @ inverse / factors.bias_scale  # (b,)
    shares = units[tried] @ inverse  # (p, b)
    best: Choice | None = None
    for place in range(len(now)):
        # Row `place` of the directions becomes a candidate: the column of the inverse
        # is divided by its share, and leaves the others in proportion to theirs.
        ratio = shares / shares[:, place : place + 1]
        ratio[:, place] = 1 - 1 / shares[:, place]
        moved = outputs - outputs[:, place, None] * ratio[:, None, :]
        scales = scale - scale[place] * ratio
        pattern = zeros[now].T.repeat(len(tried), 1, 1)
        pattern[:, :, place] = zeros[tried]
        found = _agreement(moved / scales[:, None, :], pattern, factors.zero)
        winner = int(found.argmax())
        if best is None or float(found[winner]) > best.coefficient:
            indices = list(now)
            indices[place] = int(tried[winner])
            best = Choice(indices, float(found[winner]))
    return best
