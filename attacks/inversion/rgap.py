"""Peel a network layer by layer: closed-form recursion from the output to the record.

R-GAP (Zhu and Blaschko, ICLR 2021, arXiv 2010.07733): for one record the gradient of
the last layer gives its delta and its input; each input fixes the output of the layer
before, whose own input then solves a linear system (`attacks.inversion.chain`). It has
one solution exactly if the system's rank is the number of unknowns at every layer.
`rank_analysis` tests that on a made-up record, before and without any attack: a layer
that falls short hides the record from this attack, and it is refused.

Differences from the paper: softmax cross-entropy over any number of classes instead of
the logistic loss; biases are allowed; both kinds of constraints are brought to one
scale; fully connected layers need the gradient constraints only.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from attacks.inversion.agreement import (
    is_one_record,
    out_of_range,
    replayed_sine,
    rounding_of,
    tolerance_of,
)
from attacks.inversion.attack import Certificate, Reconstruction, refused
from attacks.inversion.chain import Stage, chain_of
from attacks.inversion.deltas import output_deltas
from attacks.inversion.ranks import RankAnalysis, rank_analysis
from attacks.observation import Observation, require

_ERROR_AT_MOST = 1e-4  # relative error of the record that a certificate allows
_MARGIN = 10.0  # one try is not the worst case
_REFINEMENTS = 5
_MAGNIFIED = 1e3  # put-in errors over rounding errors


@dataclass(frozen=True, slots=True, kw_only=True)
class RGAP:
    """Invert a chain of invertible layers; certified for a single record.

    Guarantee: refuses before looking at the gradient where the architecture does not
    determine the record. A certified record has the observed gradient up to rounding,
    and rounding errors put into the gradient on purpose move it by less than 1e-4,
    given that the observation's `batch_size`, `steps` and `clients_summed` are true.
    """

    name: ClassVar[str] = "R-GAP"
    needs: ClassVar[frozenset[str]] = frozenset({"gradient"})
    uses: ClassVar[frozenset[str]] = frozenset(
        {"batch_size", "steps", "labels", "value_range"}
    )

    def run(self, observation: Observation, *, seed: int) -> Reconstruction:
        """Recover the record of one step; `seed` draws the made-up record.

        `objective` is how far rounding of the gradient may move the record, relative.

        Raises:
            MissingKnowledge: there is no gradient.
        """
        start = time.perf_counter()
        seen = require(observation, self.needs, uses=self.uses, attack=self.name)
        risk = rank_analysis(seen.model, seen.input_shape, seed=seed)
        why_not = risk.reason or _shortage(risk)
        record = None
        if not why_not:
            record, unique, why_not = _peel(seen, seen.gradient or {})
        if record is None:
            return refused(seen, why_not, time.perf_counter() - start)
        moved = _sensitivity(seen, record, seed)
        label, why_not = _certify(seen, record, moved, unique)
        if seen.value_range is not None:
            record = record.clamp(*seen.value_range)
        anchor = next(seen.model.parameters())
        return Reconstruction(
            inputs=record.to(anchor.device, anchor.dtype)[None],
            labels=None if label is None else torch.tensor([label]),
            certificate=(Certificate.UNCERTIFIED if why_not else Certificate.CERTIFIED),
            reason=why_not or "One record, one step, full rank at every layer.",
            objective=moved,
            seconds=time.perf_counter() - start,
        )


def _shortage(risk: RankAnalysis) -> str:
    short = [layer for layer in risk.layers if layer.shortfall]
    if not short:
        return ""
    first = short[0]
    return (
        f"Rank deficient before any attack: layer {first.name!r} leaves "
        f"{first.shortfall} of {first.unknowns} entries of its input free."
    )


def _peel(
    seen: Observation, given: Mapping[str, Tensor]
) -> tuple[Tensor | None, bool, str]:
    """Return the record (or None and why not) and whether it is the only one."""
    stages, why_not = chain_of(seen.model, seen.input_shape)
    gradient = {n: g.double().cpu() for n, g in given.items()}
    missing = [s.name for s in stages if f"{s.name}.weight" not in gradient]
    if missing or why_not:
        why_not = why_not or f"The update lacks the weight of layer {missing[0]!r}."
        return None, False, why_not
    if not all(bool(g.isfinite().all()) for g in gradient.values()):
        return None, False, "The gradient is not finite."
    last = stages[-1]
    deltas = output_deltas(
        last.layer.weight.detach(),
        gradient[f"{last.name}.weight"],
        gradient.get(f"{last.name}.bias"),
    )
    if not deltas:
        return None, False, "No class probabilities fit the output layer's gradient."
    delta = deltas[0]
    inputs = _from_rank_one(gradient[f"{last.name}.weight"], delta)
    for before, after in zip(stages[-2::-1], stages[:0:-1], strict=True):
        output = inputs.reshape(_output_shape(before))
        delta = after.pull_back(delta).reshape(output.shape) * before.bend.slope(output)
        target = gradient[f"{before.name}.weight"].flatten()
        if not bool(delta.isfinite().all()) or not bool(delta.any()):
            return None, False, f"No delta reaches layer {before.name!r}."
        if isinstance(before.layer, nn.Linear):
            inputs = _from_rank_one(target.reshape(len(delta), -1), delta)
        else:
            linear = before.bend.back(output) - before.offset()
            known = torch.cat([linear.flatten(), target * before.balance(delta)])
            inputs = _least_squares(before.system(delta), known)
        if not bool(inputs.isfinite().all()):
            why_not = f"The recursion left the range of layer {before.name!r}."
            return None, False, why_not
    return inputs.reshape(seen.input_shape), len(deltas) == 1, ""


def _sensitivity(seen: Observation, record: Tensor, seed: int) -> float:
    """Return how far rounding moves the record, relative, by trying it out.

    The gradient is peeled once more with errors a thousand times the rounding error;
    what moves less than that is still linear, so a thousandth is what rounding does.
    """
    generator = torch.Generator().manual_seed(seed)
    size = _MAGNIFIED * rounding_of(seen)
    shaken = {}
    for name, g in (seen.gradient or {}).items():
        noise = torch.randn(g.shape, generator=generator, dtype=torch.float64)
        g = g.double().cpu()
        shaken[name] = g + size * noise * g.square().mean().sqrt()
    other, _, _ = _peel(seen, shaken)
    if other is None:
        return float("inf")
    moved = (other - record).norm() / record.norm().clamp_min(1e-300)
    return float(moved) / _MAGNIFIED


def _output_shape(stage: Stage) -> tuple[int, ...]:
    return tuple(stage.offset().shape)


def _from_rank_one(weight_gradient: Tensor, delta: Tensor) -> Tensor:
    """Return x from G = delta x^T by least squares."""
    return weight_gradient.T @ delta / (delta @ delta)


def _least_squares(matrix: Tensor, known: Tensor) -> Tensor:
    """Solve by normal equations and refinement; by QR where those break down."""
    factor, info = torch.linalg.cholesky_ex(matrix.T @ matrix)
    if int(info) != 0:
        q, r = torch.linalg.qr(matrix)
        right = (q.T @ known)[:, None]
        exact: Tensor = torch.linalg.solve_triangular(r, right, upper=True)
        return exact[:, 0]
    solution = torch.zeros(matrix.shape[1], dtype=torch.float64)
    for _ in range(_REFINEMENTS):
        rest = matrix.T @ (known - matrix @ solution)
        solution = solution + torch.cholesky_solve(rest[:, None], factor)[:, 0]
    return solution


def _certify(
    seen: Observation, record: Tensor, moved: float, unique: bool
) -> tuple[int | None, str]:
    """Return the label found and why there is no certificate ("" if there is)."""
    if not is_one_record(seen):
        return None, "Only one record of one client in one step can be proven."
    if not unique:
        return None, "Several class probabilities fit the output layer's gradient."
    if not _MARGIN * moved <= _ERROR_AT_MOST:
        return None, (
            f"Rounding moves the record by about {moved:.1e} of its size, too much "
            "for a certificate."
        )
    tolerance = tolerance_of(seen)
    if out_of_range(seen, record, tolerance):
        return None, "The record found lies outside the range of the inputs."
    label, sine = replayed_sine(seen, record)
    if not sine <= tolerance.replay:
        return None, (
            "The layers' systems agree, but no such record has the observed gradient "
            f"under any label: residual {sine:.1e}."
        )
    return label, ""
