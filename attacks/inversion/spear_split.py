"""Take the gradient of one linear layer apart into the inputs it was made of.

The loop of SPEAR (arXiv 2403.03945, algorithm 1): factor, propose, keep the sparse
ones, choose, check, until the sparsity matching coefficient is one or the budget is
spent. Works on any linear layer followed by a ReLU; what comes back are the inputs of
that layer.

Not here: whether the layer is followed by a ReLU, and the certificate (`spear`).
"""

import time
from dataclasses import dataclass

import torch
from torch import Tensor

from attacks.inversion import spear_match
from attacks.inversion.spear_directions import (
    distinct_rows,
    from_descents,
    from_descents_beside,
    from_mixture,
    from_rows,
)
from attacks.inversion.spear_factor import Factors, factor
from attacks.inversion.spear_match import Choice, Layer
from attacks.inversion.spear_pool import Pool, empty_pool, independent, is_pinned

_FIRST_DRAWS, _MOST_DRAWS = 1024, 16384  # per round; doubled from one to the next
_DRAWS_PER_DESCENT = 32
_DRAWS_PER_MIXTURE = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """How long to search.

    Args:
        draws: choices of b - 1 rows at most; about 2^(b-1) ln b are needed if half of
            the units are on, many more if most are.
        descents: also descend, once per 32 draws.
        seconds: stop after the round in which they have passed; the answer then
            depends on the machine, so there is no limit by default.
    """

    draws: int
    descents: bool = True
    seconds: float | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Split:
    """What a layer's gradient was taken apart into.

    Attributes:
        inputs: (b, n), inputs of the layer.
        deltas: (m, b), gradients with respect to its outputs, `deltas @ inputs = dW`.
        coefficient: the sparsity matching coefficient, 1 if the split explains itself.
        pinned: the zeros of each column determine it without any one of them.
        draws: how many choices of rows were drawn.
    """

    inputs: Tensor
    deltas: Tensor
    coefficient: float
    pinned: bool
    draws: int


def split(
    dW: Tensor,
    db: Tensor,
    layer: Layer,
    *,
    records: int | None,
    rounding: float,
    most_records: int,
    budget: Budget,
    seed: int,
) -> tuple[Split | None, str]:
    """Split a gradient; the same seed gives the same answer.

    Args:
        dW: float64 (m, n), finite, not all zero.
        db: float64 (m,).
        layer: weight and bias at which the gradient was taken.
        records: how many there are, if known; otherwise the rank says it.
        rounding: relative size below which singular values are zero.
        most_records: refuse beyond.
        budget: of the search.
        seed: of the search.

    Returns:
        The split and "", or None and the reason why there is none.
    """
    factors, why_not = factor(dW, db, records=records, rounding=rounding)
    if factors is None:
        return None, why_not
    if factors.rank > most_records:
        return None, (
            f"The gradient has rank {factors.rank}; a search for more than "
            f"{most_records} records is out of reach."
        )
    pool, choice, draws = _search(factors, layer, budget, seed)
    if choice is None:
        found = len(independent(pool))
        return None, (
            f"Only {found} of {factors.rank} directions were found in {draws} draws."
        )
    inputs, deltas = spear_match.records_of(factors, pool.directions[choice.indices])
    if not bool(inputs.isfinite().all()):
        return None, "The directions found have no finite scale."
    chosen = pool.zeros[choice.indices]
    found_split = Split(
        inputs=inputs,
        deltas=deltas,
        coefficient=choice.coefficient,
        pinned=all(is_pinned(zeros, factors.rows) for zeros in chosen),
        draws=draws,
    )
    return found_split, ""


def _search(
    factors: Factors, layer: Layer, budget: Budget, seed: int
) -> tuple[Pool, Choice | None, int]:
    generator = torch.Generator().manual_seed(seed)
    start = time.perf_counter()
    pool = empty_pool(factors.rows)
    chosen: list[int] = []
    best: Choice | None = None
    draws, size = 0, _FIRST_DRAWS
    while draws < budget.draws:
        if budget.seconds is not None and time.perf_counter() - start > budget.seconds:
            break
        size = min(size, budget.draws - draws)
        proposals = _proposals(factors, pool, chosen, size, budget, generator)
        pool = pool.added(proposals, factors.rows, factors.zero)
        draws, size = draws + size, min(2 * size, _MOST_DRAWS)
        chosen = independent(pool)
        if len(chosen) == factors.rank:
            best = _matched(factors, layer, pool, chosen)
            if best.coefficient == 1:
                break
    if best is not None and best.coefficient < 1:
        best = spear_match.repaired(factors, layer, pool, best)
    return pool, best, draws


def _proposals(
    factors: Factors,
    pool: Pool,
    chosen: list[int],
    size: int,
    budget: Budget,
    generator: torch.Generator,
) -> Tensor:
    """Draw rows and, if the budget says so, descend and take mixtures apart."""
    rows = factors.rows
    drawn = distinct_rows(rows)
    if len(drawn) < factors.rank:
        drawn = rows
    proposals = [from_rows(drawn, size, generator)]
    if budget.descents and factors.rank > 1:
        starts = -(-size // _DRAWS_PER_DESCENT)
        proposals.append(from_descents(rows, starts, generator))
        sure = [i for i in chosen if is_pinned(pool.zeros[i], rows)]
        if 0 < len(sure) < factors.rank:
            known = pool.directions[sure]
            proposals.append(from_descents_beside(known, rows, starts, generator))
        for index in [i for i in chosen if i not in sure]:
            few = _DRAWS_PER_MIXTURE
            proposals.append(from_mixture(pool.zeros[index], rows, few, generator))
    return torch.cat(proposals)


def _matched(factors: Factors, layer: Layer, pool: Pool, chosen: list[int]) -> Choice:
    return Choice(chosen, spear_match.coefficient(factors, layer, pool, chosen))
