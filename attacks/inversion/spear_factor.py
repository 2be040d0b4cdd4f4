"""Factor a linear layer's gradient into as many rank-one parts as there are records.

Notation of SPEAR (Dimitrov et al., NeurIPS 2024, arXiv 2403.03945, section 3): for
`Z = W X + b` the gradient is `dW = dZ X^T`, of rank b for b records in general
position, so that `dW = L R` from a singular value decomposition and `dZ = L Q`,
`X^T = Q^-1 R` for one unknown invertible Q. Here `db = dZ 1` joins dW as one more
column: the scale of every record then comes with it, a record of zeros still counts,
and records need to be affinely, not linearly, independent.

Not here: the search for Q (`spear_directions`), the check (`spear_match`).
"""

from dataclasses import dataclass

import torch
from torch import Tensor

_GAP = 10.0
"""Least ratio of neighbouring singular values that counts as the end of the records:
between those of real records it is mostly below 3, above rounding it is 1e3 or more."""

_SAFETY = 10.0  # entries of dZ below this many times the noise count as zero
_ZERO_AT_LEAST = 1e-9  # of the root mean square; rounding of the search in float64
_ZERO_AT_MOST = 2e-2


@dataclass(frozen=True, slots=True, eq=False)
class Factors:
    """A gradient as left @ right, with the rows that carry information.

    Attributes:
        left: (m, b); a column of dZ is `left @ u` for a direction u, up to scale.
        right: (b, n + 1); `inverse(directions)^T @ right` are records and their scale.
        rows: (k, b), the rows of `left` that are not zero, each scaled to about one
            and together whitened: `rows^T rows = k`.
        live: bool (m,), which rows those are; a unit that no record moved is dead.
        bias_scale: what db was multiplied with to be of the size of dW's columns.
        zero: entries of `rows @ u` below this are zero, for unit vectors u.
    """

    left: Tensor
    right: Tensor
    rows: Tensor
    live: Tensor
    bias_scale: float
    zero: float

    @property
    def rank(self) -> int:
        """Number of records that the gradient shows, b."""
        return self.left.shape[1]


def factor(
    dW: Tensor, db: Tensor, *, records: int | None, rounding: float
) -> tuple[Factors | None, str]:
    """Factor [dW, db] at its numerical rank.

    Args:
        dW: float64 (m, n), finite, not all zero.
        db: float64 (m,).
        records: how many records are inside, if known: noise may then hide the rank.
        rounding: singular values below this fraction of the largest are zero.

    Returns:
        The factors and "", or None and the reason why the rank cannot be told.
    """
    width = dW.shape[1]
    norm = db.norm()
    if not bool(norm > 0):
        return None, "The layer's bias gradient is zero."
    bias_scale = float(dW.norm() / (norm * width**0.5)) or 1.0
    joint = torch.cat([dW, bias_scale * db[:, None]], dim=1)
    left, values, right = torch.linalg.svd(joint, full_matrices=False)
    rank, why_not = _rank(values, records, rounding)
    if rank == 0:
        return None, why_not
    below = float(values[rank]) if rank < len(values) else 0.0
    noise = below / float(values[rank - 1])
    zero = min(max(_SAFETY * noise, _ZERO_AT_LEAST), _ZERO_AT_MOST)
    left, right = left[:, :rank], values[:rank, None] * right[:rank]
    lengths = left.norm(dim=1)
    live = lengths > _SAFETY * zero * lengths.square().mean().sqrt()
    if int(live.sum()) <= rank:
        return None, f"Only {int(live.sum())} units moved for {rank} records."
    # A row says where columns are zero whatever its length, so all count the same.
    white, change = torch.linalg.qr(left[live] / lengths[live, None])
    smallest = change.diagonal().abs().min()
    if not bool(smallest > _ZERO_AT_LEAST * change.diagonal().abs().max()):
        return None, f"The units that moved do not tell {rank} records apart."
    found = Factors(
        left=torch.linalg.solve_triangular(change, left, upper=True, left=False),
        right=change @ right,
        rows=white * len(white) ** 0.5,
        live=live,
        bias_scale=bias_scale,
        zero=zero,
    )
    return found, ""


def _rank(values: Tensor, records: int | None, rounding: float) -> tuple[int, str]:
    """Return the numerical rank, or 0 and the reason why there is none."""
    positive = values[values > rounding * values[0]]
    ratios = positive[:-1] / positive[1:]
    if records is not None and records < len(positive):
        if float(ratios[records - 1]) >= _GAP:
            return records, ""
        return 0, (
            f"The gradient's rank does not end at the {records} records of a step: "
            "noise, several local steps or masks hide it."
        )
    if len(positive) < len(values):
        return len(positive), ""
    if len(ratios) == 0 or float(ratios.max()) < _GAP:
        return 0, (
            f"The gradient has full rank {len(values)}: there are more records than "
            "the layer can tell apart, or noise."
        )
    return int(ratios.argmax()) + 1, ""
