"""Read records off the gradient of a fully connected first layer.

For `z = W x + b` the gradients are `dW = sum_i d_i x_i^T` and `db = sum_i d_i`, so a
row j that one record alone has moved gives that record as `dW_j / db_j` (Phong et al.
2018, IEEE TIFS, section 3; the starting point of R-GAP, Zhu and Blaschko 2021).

With one record the whole of `dW` is `db x^T`: rank one, and the record follows by
least squares. Rank one alone proves nothing: two classes, or one repeated record, give
rank one for every batch, and the quotient is then a mixture. A certificate is therefore
issued only if the observation *says* one record, one step, one client, and the gradient
of the recovered record, replayed through the whole model, points the same way.

Not here: disentangling mixed rows (`spear`), layers of a malicious server (`imprint`),
convolutions (`rgap`).
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
    tolerance_of,
)
from attacks.inversion.attack import Certificate, Reconstruction, refused
from attacks.inversion.layers import LinearSite, first_linear
from attacks.inversion.partial import SeenLayer
from attacks.observation import Observation, require

_IN_PART = "Only a part of the layer's gradient was seen; nothing is proven."
_ROWS_AT_MOST = 2048  # rows compared pairwise: the strongest ones


@dataclass(frozen=True, slots=True, kw_only=True)
class LinearInversion:
    """Invert the first linear layer; certified for a single record.

    Guarantee: a certified record equals the true one up to a relative error of the
    order of the dtype's tolerance, given that the observation's `batch_size`, `steps`
    and `clients_summed` are true. Anything else comes back uncertified or refused.

    Args:
        max_candidates: how many candidates to return when the number of records is
            not known.
    """

    name: ClassVar[str] = "linear"
    needs: ClassVar[frozenset[str]] = frozenset({"gradient"})
    uses: ClassVar[frozenset[str]] = frozenset(
        {"batch_size", "steps", "labels", "value_range", "known"}
    )
    max_candidates: int = 64

    def __post_init__(self) -> None:
        if self.max_candidates < 1:
            raise ParameterError(
                f"max_candidates={self.max_candidates} must be at least 1."
            )

    def run(self, observation: Observation, *, seed: int) -> Reconstruction:
        """Recover records from one observation; `seed` changes nothing.

        Returns:
            One certified record, or up to `records * steps` candidates, best first.

        Raises:
            MissingKnowledge: there is no gradient.
        """
        start = time.perf_counter()
        seen = require(observation, self.needs, uses=self.uses, attack=self.name)
        site, why_not = first_linear(seen.model, seen.input_shape)
        if site is None:
            return refused(seen, why_not, time.perf_counter() - start)
        layer, why_not = _gradients_of(site, seen)
        if layer is None:
            return refused(seen, why_not, time.perf_counter() - start)
        inputs, labels, certificate, reason = self._recover(seen, layer)
        dtype = next(seen.model.parameters()).dtype
        if seen.value_range is not None:
            inputs = inputs.clamp(*seen.value_range)
        return Reconstruction(
            inputs=inputs.to(dtype).reshape(-1, *seen.input_shape),
            labels=labels,
            certificate=certificate,
            reason=reason,
            objective=None,
            seconds=time.perf_counter() - start,
        )

    def _recover(
        self, seen: Observation, layer: SeenLayer
    ) -> tuple[Tensor, Tensor | None, Certificate, str]:
        single = is_one_record(seen)
        dW, db = layer.weight, layer.slopes(seen.value_range)
        tolerance = tolerance_of(seen)
        if single:
            record = layer.record(seen.value_range)
            if not layer.whole:
                # Without a bias entry the sign is open: the rest of the gradient says.
                signs = (record, -record)
                record = min(signs, key=lambda x: replayed_sine(seen, x)[1])
                return record[None], None, Certificate.UNCERTIFIED, _IN_PART
            labels, why_not = _certify(seen, dW, db, record, tolerance)
            if not why_not:
                reason = "One record, one step: dW = db x^T, confirmed by replay."
                return record[None], labels, Certificate.CERTIFIED, reason
            return record[None], labels, Certificate.UNCERTIFIED, why_not
        limit = self.max_candidates
        if seen.records is not None:
            limit = seen.records * (seen.steps or 1)
        rows = _ranked_rows(dW, db, tolerance.agree, seen.value_range)[:limit]
        reason = "More than one record may be mixed in each row; nothing is proven."
        if not layer.whole:
            reason = _IN_PART
        return rows, None, Certificate.UNCERTIFIED, reason


def _gradients_of(site: LinearSite, seen: Observation) -> tuple[SeenLayer | None, str]:
    gradient = seen.gradient
    if gradient is None or site.bias is None:
        return None, "There is no gradient of a biased first layer."
    if site.weight not in gradient or site.bias not in gradient:
        return None, "The update lacks the first layer's weight or bias."
    dW, db = gradient[site.weight].double(), gradient[site.bias].double()
    if not (bool(dW.isfinite().all()) and bool(db.isfinite().all())):
        return None, "The first layer's gradient is not finite."
    layer = SeenLayer(dW, db)
    if seen.known is not None:
        layer = SeenLayer(dW, db, seen.known[site.weight], seen.known[site.bias])
    if not bool((layer.slopes(seen.value_range) != 0).any()):
        return None, "No unit of the first layer was active: its gradient is zero."
    return layer, ""


def _certify(
    seen: Observation, dW: Tensor, db: Tensor, record: Tensor, tolerance: Tolerance
) -> tuple[Tensor | None, str]:
    """Return the label found and why there is no certificate ("" if there is)."""
    if not bool(record.isfinite().all()):
        return None, "The quotient overflows; the gradient is not that of a record."
    residual = float(
        (dW - torch.outer(db, record)).norm() / dW.norm().clamp_min(1e-300)
    )
    if not residual <= tolerance.fit:
        return None, (
            f"The layer's gradient is not rank one: residual {residual:.1e} exceeds "
            f"{tolerance.fit:.0e}."
        )
    if out_of_range(seen, record, tolerance):
        return None, "The rank-one factor lies outside the range of the inputs."
    label, sine = replayed_sine(seen, record)
    if not sine <= tolerance.replay:
        return None, (
            "The layer's gradient is rank one, but no record there has the rest of "
            f"the gradient under any label: residual {sine:.1e}."
        )
    return torch.tensor([label]), ""


def _ranked_rows(
    dW: Tensor, db: Tensor, agree: float, value_range: tuple[float, float] | None
) -> Tensor:
    """Return one candidate per group of agreeing rows, the likeliest first.

    Rows that one record alone moved show the same record, so groups rank by size,
    then by how much of the candidate lies inside the value range, then by strength.
    """
    floor = torch.finfo(torch.float32).eps * db.abs().max()
    strong = torch.argsort(db.abs(), descending=True)[:_ROWS_AT_MOST]
    strong = strong[db.abs()[strong] > floor]
    rows = dW[strong] / db[strong, None]
    finite = rows.isfinite().all(dim=1)
    rows = rows[finite]
    near = torch.cdist(rows, rows) <= agree * (rows.norm(dim=1)[:, None] + 1e-12)
    if value_range is None:
        inside = torch.ones(len(rows), dtype=torch.float64, device=rows.device)
    else:
        slack = agree * (value_range[1] - value_range[0])
        low, high = value_range[0] - slack, value_range[1] + slack
        inside = ((rows >= low) & (rows <= high)).double().mean(dim=1)
    # `inside` is below 2, so it breaks ties between counts and never overrules them;
    # a stable sort keeps the stronger row first among equals.
    order = torch.argsort(
        -(near.sum(dim=1).double() * 2 + inside), stable=True
    ).tolist()
    free = torch.ones(len(rows), dtype=torch.bool, device=rows.device)
    chosen: list[int] = []
    for index in order:
        if bool(free[index]):
            chosen.append(index)
            free &= ~near[index]
    return rows[chosen]
