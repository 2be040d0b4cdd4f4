"""A malicious server's layer that sorts a batch into bins, and what comes out of it.

"Robbing the Fed" (Fowl, Geiping, Czaja, Goldblum and Goldstein, ICLR 2022, sections 3.1
and 3.2): the server puts a layer in front whose units all measure the same `v . x` and
differ in their cuts alone; behind the ReLU they are added up, so that all that are
active receive the same gradient. What two neighbouring units' gradients differ by comes
from the records between their cuts; of a record that is alone there the quotient of
weight and bias is the record itself, whatever the size of the batch, and whether the
update was one client's or a sum.

With k bins of equal probability, n (1 - 1/k)^(n - 1) of n records are alone on average.
"""

import time
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from attacks.errors import ParameterError
from attacks.inversion.attack import Certificate, Reconstruction, refused
from attacks.observation import Observation, require

_ALONE = 1e-9  # of the largest difference: below it a bin is taken to be empty
_WITHIN = 1e-6  # of the spread of the cuts: how far a measure may lie outside its bin


class Imprinted(nn.Module):
    """A model behind a layer that the server chose.

    Args:
        inner: the model; it gets records that differ by `scale` times their sum of
            active units, in the direction of the first entry.
        measure: v, (entries of a record,).
        cuts: ascending, (k,); records below the first one leave no trace.
        scale: how loud the layer is; small, and training hardly notices.
    """

    def __init__(
        self, inner: nn.Module, measure: Tensor, cuts: Tensor, *, scale: float = 1e-3
    ) -> None:
        super().__init__()
        if measure.ndim != 1 or cuts.ndim != 1 or len(cuts) < 2:
            raise ParameterError("Give v as a vector and at least two cuts.")
        if not bool((cuts[1:] > cuts[:-1]).all()):
            raise ParameterError("The cuts must ascend.")
        self.imprint = nn.Linear(len(measure), len(cuts), dtype=measure.dtype)
        with torch.no_grad():
            self.imprint.weight.copy_(measure.expand(len(cuts), -1))
            self.imprint.bias.copy_(-cuts)
        self.inner = inner
        self.scale = scale

    def forward(self, x: Tensor) -> Tensor:
        """Return what the inner model says of the records, slightly moved."""
        flat = x.flatten(1)
        loud = torch.relu(self.imprint(flat)).sum(dim=1)
        mark = torch.zeros_like(flat)
        mark[:, 0] = 1.0
        moved = flat + self.scale * loud[:, None] * mark
        out: Tensor = self.inner(moved.reshape(x.shape))
        return out


def equal_cuts(measured: Tensor, bins: int) -> Tensor:
    """Return cuts between which records like these are equally likely, (bins,).

    Args:
        measured: v . x of records that the server has of its own, (N,).
        bins: k; the first bin reaches far down and the last one up.

    Raises:
        ParameterError: fewer records than bins, or fewer than two bins.
    """
    if not 2 <= bins <= len(measured):
        raise ParameterError(f"bins={bins} must be 2 to the {len(measured)} records.")
    share = torch.arange(bins, dtype=measured.dtype) / bins
    cuts = torch.quantile(measured, share)
    spread = measured.max() - measured.min()
    cuts[0] -= spread
    return cuts


@dataclass(frozen=True, slots=True, kw_only=True)
class ImprintInversion:
    """Read every record that is alone in its bin; certified if all of them are.

    Guarantee: if the observation's number of records is true and as many bins hold
    something as there are records, each holds one, and each candidate is a record up to
    the arithmetic of the gradient. Otherwise a candidate may be a mixture of several
    records of one bin: nothing in the bin itself tells.
    """

    name: ClassVar[str] = "imprint"
    needs: ClassVar[frozenset[str]] = frozenset({"gradient"})
    uses: ClassVar[frozenset[str]] = frozenset({"batch_size", "steps"})

    def run(self, observation: Observation, *, seed: int) -> Reconstruction:
        """Recover records from one observation; `seed` changes nothing.

        Raises:
            MissingKnowledge: there is no gradient.
        """
        start = time.perf_counter()
        seen = require(observation, self.needs, uses=self.uses, attack=self.name)
        model = seen.model
        if not isinstance(model, Imprinted):
            why = "The model has no imprint layer: an honest server sent it."
            return refused(seen, why, time.perf_counter() - start)
        assert seen.gradient is not None
        dW = seen.gradient["imprint.weight"].double()
        db = seen.gradient["imprint.bias"].double()
        candidates, fits = _bins(model, dW, db)
        if not len(candidates):
            why = "No record left a trace in the imprint layer."
            return refused(seen, why, time.perf_counter() - start)
        certificate, reason = _verdict(seen, len(db), len(candidates), fits)
        dtype = next(model.parameters()).dtype
        return Reconstruction(
            inputs=candidates.to(dtype).reshape(-1, *seen.input_shape),
            labels=None,
            certificate=certificate,
            reason=reason,
            objective=None,
            seconds=time.perf_counter() - start,
        )


def _bins(model: Imprinted, dW: Tensor, db: Tensor) -> tuple[Tensor, bool]:
    """Return a candidate for each bin that holds something, the loudest first.

    The second value says whether each lies between the cuts that it came from.
    """
    cuts = -model.imprint.bias.detach().double()
    v = model.imprint.weight[0].detach().double()
    weight = torch.cat([dW[:-1] - dW[1:], dW[-1:]])
    bias = torch.cat([db[:-1] - db[1:], db[-1:]])
    largest = bias.abs().max()
    if not (bool(weight.isfinite().all()) and bool(largest > 0)):
        return dW.new_zeros((0, dW.shape[1])), False
    full = torch.nonzero(bias.abs() > _ALONE * largest).flatten()
    full = full[torch.argsort(bias[full].abs(), descending=True, stable=True)]
    found = weight[full] / bias[full, None]
    finite = found.isfinite().all(dim=1)
    found, full = found[finite], full[finite]
    measured, slack = found @ v, _WITHIN * float(cuts[-1] - cuts[0])
    upper = torch.cat([cuts[1:], cuts.new_full((1,), torch.inf)])
    inside = (measured > cuts[full] - slack) & (measured < upper[full] + slack)
    return found, bool(inside.all())


def _verdict(
    seen: Observation, bins: int, found: int, fits: bool
) -> tuple[Certificate, str]:
    """Return whether every candidate is proven to be a record, and why."""
    if seen.records is None or seen.steps != 1:
        why = "How many records took one step is not known, so a bin may hold several."
    elif not fits:
        why = "A candidate lies outside its bin: the gradient is not this layer's own."
    elif not found == seen.records < bins:
        why = f"{found} of {bins} bins hold {seen.records} records; some may be mixed."
    else:
        return (
            Certificate.CERTIFIED,
            "As many bins hold something as there are records.",
        )
    return Certificate.UNCERTIFIED, why
