"""Read one record off a vision transformer with a learnable position embedding.

The position embedding is added to the sequence z, so its gradient A is dL/dz (Lu et
al., CVPR 2022, arXiv 2112.14087). Two linear systems follow for one record:

* *attention* (their theorem): if the projections W_q, W_k, W_v alone read z, then
  `A^T z = W_q^T G_q + W_k^T G_k + W_v^T G_v` with the gradients G; solve for z and
  undo the patch layer.
* *patches* (the same argument, one layer down): the patch layer maps patches P to
  `P W^T`, so `A^T P = G` with G its weight gradient. It needs no bare attention,
  so residual paths and layer norms do no harm.

Both have one solution only if A has as many independent rows as there are rows to
find; that is tested on a made-up record before the attack and on the observed one
after. Not here: several records (the rows of A are then sums), the search variant.
"""

import time
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from attacks.errors import ParameterError
from attacks.inversion.agreement import (
    Tolerance,
    is_one_record,
    out_of_range,
    replayed_sine,
    rounding_of,
    tolerance_of,
)
from attacks.inversion.attack import Certificate, Reconstruction, refused
from attacks.inversion.patches import (
    PatchSite,
    ReaderSite,
    patch_site,
    probe,
    reader_site,
)
from attacks.observation import Observation, require

_ROUTES = ("either", "attention", "patches")
_INDEPENDENT = 1e-12  # of the largest singular value, on a made-up record
_SOLVED = (
    "One record, one step: the position embedding's gradient has full rank and gives "
    "each patch, confirmed by replay."
)


@dataclass(frozen=True, slots=True)
class _Solution:
    """`spread` is the smallest over the largest singular value, 0 if not unique."""

    record: Tensor
    residual: float
    spread: float


@dataclass(frozen=True, slots=True, kw_only=True)
class APRIL:
    """Invert the patch sequence of a vision transformer; certified for one record.

    Guarantee: a certified record equals the true one up to a relative error of the
    order of the dtype's tolerance, given that the observation's `batch_size`, `steps`
    and `clients_summed` are true.

    Args:
        route: "attention" (the paper's theorem), "patches" (through the patch layer's
            own gradient) or "either" (the second where it holds, else the first).
    """

    name: ClassVar[str] = "APRIL"
    needs: ClassVar[frozenset[str]] = frozenset({"gradient"})
    uses: ClassVar[frozenset[str]] = frozenset(
        {"batch_size", "steps", "labels", "value_range"}
    )
    route: str = "either"

    def __post_init__(self) -> None:
        if self.route not in _ROUTES:
            raise ParameterError(f"route={self.route!r} must be one of {_ROUTES}.")

    def run(self, observation: Observation, *, seed: int) -> Reconstruction:
        """Recover the record of one step; `seed` draws the made-up record.

        Raises:
            MissingKnowledge: there is no gradient.
        """
        start = time.perf_counter()
        seen = require(observation, self.needs, uses=self.uses, attack=self.name)
        solution, why_not = self._solve(seen, seed)
        if solution is None:
            return refused(seen, why_not, time.perf_counter() - start)
        label, why_not = _certify(seen, solution, tolerance_of(seen))
        record = solution.record
        if seen.value_range is not None:
            record = record.clamp(*seen.value_range)
        anchor = next(seen.model.parameters())
        return Reconstruction(
            inputs=record.to(anchor.device, anchor.dtype).reshape(1, *seen.input_shape),
            labels=None if label is None else torch.tensor([label]),
            certificate=(Certificate.UNCERTIFIED if why_not else Certificate.CERTIFIED),
            reason=why_not or _SOLVED,
            objective=solution.residual,
            seconds=time.perf_counter() - start,
        )

    def _solve(self, seen: Observation, seed: int) -> tuple[_Solution | None, str]:
        try:
            trip = probe(seen.model, seen.input_shape, seen.classes, seed)
        except (RuntimeError, TypeError, ValueError) as error:
            return None, f"The model does not take one record of numbers: {error}"
        site, why_not = patch_site(trip)
        if site is None:
            return None, why_not
        gradient = {n: g.double().cpu() for n, g in (seen.gradient or {}).items()}
        if not all(bool(g.isfinite().all()) for g in gradient.values()):
            return None, "The gradient is not finite."
        if site.position not in gradient or not bool(gradient[site.position].any()):
            return None, "The update lacks the position embedding's gradient."
        weights = {n: p.detach() for n, p in trip.module.named_parameters()}
        reasons = []
        if self.route != "attention":
            generic = _by_patches(site, trip.gradient)
            found = _by_patches(site, gradient)
            if generic is not None and generic.spread > 0 and found is not None:
                return found, ""
            reasons.append(_why(generic, found, "patch layer"))
        if self.route != "patches":
            readers, why_not = reader_site(trip, site)
            if readers is None:
                reasons.append(why_not)
            else:
                generic = _by_attention(site, readers, weights, trip.gradient)
                found = _by_attention(site, readers, weights, gradient)
                if generic is not None and generic.spread > 0 and found is not None:
                    return found, ""
                reasons.append(_why(generic, found, "attention"))
        return None, " ".join(reasons)


def _by_patches(site: PatchSite, gradient: dict[str, Tensor]) -> _Solution | None:
    """Solve A^T P = G for the patches P (patches, width)."""
    if site.weight not in gradient:
        return None
    upstream = gradient[site.position].reshape(site.count, -1)[site.rows]
    target = gradient[site.weight].flatten(1)  # (d, width)
    patches, residual, spread = _least_squares(upstream.T, target)
    return _Solution(_place(site, patches), residual, spread)


def _by_attention(
    site: PatchSite,
    readers: ReaderSite,
    weights: dict[str, Tensor],
    gradient: dict[str, Tensor],
) -> _Solution | None:
    """Solve A^T z = sum W^T G for the sequence z, then W_e p = z - E - b."""
    if any(name not in gradient for name in readers.weights):
        return None
    upstream = gradient[site.position].reshape(site.count, -1)
    target = torch.stack(
        [weights[name].T @ gradient[name] for name in readers.weights]
    ).sum(dim=0)
    sequence, residual, spread = _least_squares(upstream.T, target)
    rows = (sequence - weights[site.position].reshape(site.count, -1))[site.rows]
    if site.bias is not None:
        rows = rows - weights[site.bias]
    patches, misfit, steep = _least_squares(weights[site.weight].flatten(1), rows.T)
    return _Solution(_place(site, patches.T), max(residual, misfit), min(spread, steep))


def _least_squares(matrix: Tensor, target: Tensor) -> tuple[Tensor, float, float]:
    """Return the solution, its relative residual and the spread of the matrix."""
    left, values, right = torch.linalg.svd(matrix, full_matrices=False)
    kept = values > _INDEPENDENT * values[0]
    unique = bool(kept.all()) and matrix.shape[0] >= matrix.shape[1]
    inverse = torch.where(kept, 1 / values.clamp_min(1e-300), 0.0)
    solution = right.T @ (inverse[:, None] * (left.T @ target))
    gap = (matrix @ solution - target).norm() / target.norm().clamp_min(1e-300)
    spread = float(values[-1] / values[0]) if unique else 0.0
    return solution, float(gap), spread


def _place(site: PatchSite, patches: Tensor) -> Tensor:
    record = torch.empty(patches.numel(), dtype=torch.float64)
    record[site.order.flatten()] = patches.flatten()
    return record


def _why(generic: _Solution | None, found: _Solution | None, part: str) -> str:
    if found is None or generic is None:
        return f"The update lacks the gradient of the {part}."
    return (
        f"The system of the {part} is rank deficient for every record: the position "
        "embedding's gradient has too few independent rows."
    )


def _certify(
    seen: Observation, found: _Solution, tolerance: Tolerance
) -> tuple[int | None, str]:
    """Return the label found and why there is no certificate ("" if there is)."""
    if not bool(found.record.isfinite().all()):
        return None, "The solution overflows; the gradient is not that of a record."
    if not is_one_record(seen):
        return None, "Only one record of one client in one step can be proven."
    # Rounding of the gradient comes back multiplied by 1 / spread.
    if not found.spread * tolerance.agree >= rounding_of(seen):
        return None, (
            "The observed position gradient is too near to rank deficiency for its "
            f"precision: its singular values span a factor of {found.spread:.1e}."
        )
    if not found.residual <= tolerance.fit:
        return None, (
            f"No patches solve the linear system: residual {found.residual:.1e} "
            f"exceeds {tolerance.fit:.0e}."
        )
    if out_of_range(seen, found.record, tolerance):
        return None, "The solution lies outside the range of the inputs."
    label, sine = replayed_sine(seen, found.record)
    if not sine <= tolerance.replay:
        return None, (
            "The patches solve the linear system, but no such record has the rest of "
            f"the gradient under any label: residual {sine:.1e}."
        )
    return label, ""
