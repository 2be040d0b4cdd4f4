"""How many records of each class an update holds: with a proof where there is one.

Softmax cross-entropy gives `n db_j = sum_i p_ij - count_j` for the bias of the output
layer, over all n records that were processed. Hence `count_j >= -n db_j` whatever the
probabilities: if the rounded-up bounds already sum to n, they are the counts. That is
the certificate here. It survives clipping, sums over clients and several steps (per
epoch the counts repeat, which sharpens the bounds); noise breaks it, and is noticed
since over all classes the gradients of an output layer cancel exactly.

Where the bounds leave records over, the probabilities are estimated: `ILRG` for one
step, `attacks.inversion.localcounts` for several. Such answers are uncertified. Not
here: output layers without bias, Adam, label smoothing.
"""

import time
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from attacks.inversion.attack import Certificate
from attacks.inversion.labels import whole_counts
from attacks.inversion.layers import last_linear
from attacks.observation import Observation, require

_ROUNDING = 1e-4  # rounding of updates, relative to the largest entry, raises no count


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LabelCounts:
    """Records of each class inside one step, or inside one epoch of several steps.

    Args:
        counts: int64 (classes,); all zero if refused.
        certificate: certified counts follow from the gradient alone; no truth is met.
        reason: the theorem used, or why there is none.
        expected: the counts before rounding, float64 (classes,).
        seconds: wall-clock time.
    """

    counts: Tensor = field(repr=False)
    certificate: Certificate
    reason: str
    expected: Tensor = field(repr=False)
    seconds: float


@dataclass(frozen=True, slots=True)
class Head:
    """Output layer and its gradients, float64: (classes, width) and (classes,)."""

    weight: Tensor
    bias: Tensor
    grad: Tensor
    slope: Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class ILRG:
    """Count labels inside one step from class-wise embeddings.

    `dW_j / db_j` stands for the embedding of class j, its softmax for the
    probabilities of that class's records; the counts solve the linear equations of the
    bias gradient with the known total, by the pseudoinverse.

    Source: Ma et al., ICLR 2023 ("Instance-wise batch label restoration via gradients
    in federated learning", openreview FIrQfNSOoTr), section 4. Rounding to the known
    total and the certificate are ours.
    """

    name: ClassVar[str] = "iLRG"
    needs: ClassVar[frozenset[str]] = frozenset({"gradient", "batch_size"})
    uses: ClassVar[frozenset[str]] = frozenset({"steps"})

    def run(self, observation: Observation, *, seed: int) -> LabelCounts:
        """Count the labels of one step; `seed` changes nothing.

        Raises:
            MissingKnowledge: no gradient or no batch size.
        """
        start = time.perf_counter()
        seen = require(observation, self.needs, uses=self.uses, attack=self.name)
        head, why_not = head_of(seen)
        if head is None:
            return refused(seen, why_not, start)
        if seen.steps is not None and seen.steps > 1:
            return refused(seen, "Several local steps; use LocalCounts.", start)
        total = seen.records or 1
        chances = _softmax_of(head, _class_embeddings(head))  # (classes, classes)
        classes = len(head.slope)
        system = torch.cat(
            [torch.ones((1, classes)).to(chances), chances.T - torch.eye(classes)]
        )
        known = torch.cat([torch.ones(1).to(chances), head.slope]) * total
        expected = torch.linalg.pinv(system) @ known
        certain = certain_counts(head.slope, total)
        why_not = why_no_proof(head, seen.steps == 1)
        return answer(expected, certain, total, why_not, "", start)


def certain_counts(db: Tensor, total: int) -> Tensor:
    """Return how many records of each class must be there, int64 (classes,).

    Guarantee: for the gradient of a mean over `total` records, or any multiple of it
    below one, no count is above the truth.

    Args:
        db: gradient of the output layer's bias, (classes,).
        total: records in a step or an epoch.
    """
    slack = _ROUNDING * float((total * db).abs().max().clamp_max(1.0))
    return torch.ceil(-total * db - slack).clamp_min(0).long()


def head_of(seen: Observation) -> tuple[Head | None, str]:
    """Find the output layer and its gradients, or say why not."""
    site = last_linear(seen.model, seen.input_shape, seen.classes)
    gradient = seen.gradient or {}
    if site is None or site.bias is None:
        return None, "The model does not end in a linear layer with a bias."
    if site.weight not in gradient or site.bias not in gradient:
        return None, "The update lacks the output layer's weight or bias."
    named = dict(seen.model.named_parameters())
    tensors = (
        named[site.weight].detach(),
        named[site.bias].detach(),
        gradient[site.weight],
        gradient[site.bias],
    )
    weight, bias, grad, slope = (each.double().cpu() for each in tensors)
    if not bool(grad.isfinite().all() and slope.isfinite().all()):
        return None, "The output layer's gradient is not finite."
    if not bool(slope.any()):
        return None, "The output layer's bias gradient is zero."
    return Head(weight, bias, grad, slope), ""


def _class_embeddings(head: Head) -> Tensor:
    """Return `dW_j / db_j` for each class, (classes, width); 0 / 0 counts as the mean.

    A class whose bias gradient vanishes would blow rounding up to an embedding.
    """
    weak = head.slope.abs() <= 1e-9 * head.slope.abs().max()
    rows = head.grad / torch.where(weak, 1.0, head.slope)[:, None]
    mean = rows[~weak].mean(dim=0)
    return torch.where(weak[:, None], mean, rows)


def _softmax_of(head: Head, embeddings: Tensor) -> Tensor:
    return (embeddings @ head.weight.T + head.bias).softmax(dim=1)


def why_no_proof(head: Head, premises: bool) -> str:
    """Say what forbids a proof from the bounds: unknown premises, or noise."""
    if not premises:
        return "The number of steps or their momentum is unknown."
    balance = float(head.slope.sum().abs() / head.slope.abs().sum())
    balance = max(balance, float(head.grad.sum(dim=0).norm() / head.grad.norm()))
    if not balance <= _ROUNDING:
        return f"The classes' gradients do not cancel ({balance:.1e}): noise or masks."
    return ""


def answer(
    expected: Tensor,
    certain: Tensor,
    total: int,
    why_not: str,
    fits: str,
    start: float,
) -> LabelCounts:
    """Round expected counts above the certain ones; certify if those suffice."""
    counts = whole_counts(expected, certain, total)
    proven = not why_not and int(certain.sum()) == total
    gap = float((expected - counts).abs().max())
    estimate = f"Estimated; rounding moved a count by up to {gap:.2f}.{fits}"
    return LabelCounts(
        counts=counts,
        certificate=Certificate.CERTIFIED if proven else Certificate.UNCERTIFIED,
        reason=(
            "No probability is negative, and the bounds that follow add up."
            if proven
            else f"{why_not} {estimate}".strip()
        ),
        expected=expected,
        seconds=time.perf_counter() - start,
    )


def refused(seen: Observation, reason: str, start: float) -> LabelCounts:
    """Build the empty answer where no counts can be read."""
    return LabelCounts(
        counts=torch.zeros(seen.classes, dtype=torch.int64),
        certificate=Certificate.REFUSED,
        reason=reason,
        expected=torch.zeros(seen.classes, dtype=torch.float64),
        seconds=time.perf_counter() - start,
    )
