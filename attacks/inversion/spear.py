"""SPEAR: recover whole batches exactly from a linear layer that feeds a ReLU.

Dimitrov, Baader, Müller and Vechev, "SPEAR: Exact Gradient Inversion of Batches in
Federated Learning", NeurIPS 2024, arXiv 2403.03945. The gradient of the layer is a sum
of b outer products; ReLU makes their left factors sparse, which tells them apart
(`spear_split`). The search is exponential in b, and a sum over N clients of B records
is a batch of N * B.

Unlike every attack that optimises, it knows whether it succeeded. A certificate needs
four things: the observation says one step of b records and the gradient has rank b; the
sparsity matching coefficient is one; the zeros of each column determine it; the whole
gradient, replayed on the recovered records with the recovered labels, points the same
way. Without the known b, records whose units agree may have merged into one that
passes all the rest.

Known weakness: with two classes behind a single hidden layer every column of dZ is one
and the same vector, masked, and differences of columns are sparser than columns; the
swaps untangle two to five records at best, and more are not certified.
"""

import time
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from attacks.errors import ParameterError
from attacks.inversion.attack import Certificate, Reconstruction, refused
from attacks.inversion.layers import LinearSite, first_linear
from attacks.inversion.spear_match import Layer
from attacks.inversion.spear_replay import feeds_relu, labels_of, replayed_sine
from attacks.inversion.spear_split import Budget, Split, split
from attacks.observation import Observation, require


@dataclass(frozen=True, slots=True)
class _Tolerance:
    """What rounding in one dtype can explain.

    `rank` is a singular value relative to the largest, `replay` the sine of the angle
    to the replayed gradient (wider: softmax loses digits on well fitted records).
    """

    rank: float
    replay: float


_TOLERANCES = {
    torch.float64: _Tolerance(1e-11, 1e-6),
    torch.float32: _Tolerance(3e-6, 1e-2),
}
_COARSE = _Tolerance(1e-2, 0.0)  # half precision: candidates, never certificates


@dataclass(frozen=True, slots=True, kw_only=True)
class Spear:
    """Disaggregate the first linear layer; certified where everything fits.

    Guarantee: certified records equal the true ones up to rounding if the
    observation's `batch_size`, `steps` and `clients_summed` are true and the
    pre-activations are in general position (which random weights are, up to the
    failure probability of section 5 of the paper). Anything else comes back
    uncertified or refused.

    Args:
        draws: budget of the search, in choices of b - 1 rows.
        descents: also search by descents, as SPEAR++ (arXiv 2510.24200) suggests;
            False is the search of the paper.
        max_records: refuse larger batches.
        seconds: stop the search after so many, or None; with a limit, the answer
            depends on the machine.
    """

    name: ClassVar[str] = "spear"
    needs: ClassVar[frozenset[str]] = frozenset({"gradient"})
    uses: ClassVar[frozenset[str]] = frozenset({"batch_size", "steps", "value_range"})
    draws: int = 2**18
    descents: bool = True
    max_records: int = 32
    seconds: float | None = None

    def __post_init__(self) -> None:
        for name in ("draws", "max_records"):
            if getattr(self, name) < 1:
                raise ParameterError(f"{name}={getattr(self, name)} must be positive.")
        if self.seconds is not None and not self.seconds > 0:
            raise ParameterError(f"seconds={self.seconds} must be positive or None.")

    def run(self, observation: Observation, *, seed: int) -> Reconstruction:
        """Recover the records of one observation.

        Returns:
            As many records as the gradient has rank, with their labels where they
            are certified; `objective` is one minus the matching coefficient.

        Raises:
            MissingKnowledge: there is no gradient.
        """
        start = time.perf_counter()
        seen = require(observation, self.needs, uses=self.uses, attack=self.name)
        site, found, why_not = self._split(seen, seed)
        if site is None or found is None:
            return refused(seen, why_not, time.perf_counter() - start)
        inputs = found.inputs.reshape(-1, *seen.input_shape)
        labels, why_not = _certify(seen, site, found, inputs)
        if seen.value_range is not None:
            inputs = inputs.clamp(*seen.value_range)
        return Reconstruction(
            inputs=inputs.to(next(seen.model.parameters()).dtype),
            labels=None if why_not else labels,
            certificate=(Certificate.UNCERTIFIED if why_not else Certificate.CERTIFIED),
            reason=why_not
            or f"Coefficient 1 on all {len(inputs)} records, confirmed by replay.",
            objective=1 - found.coefficient,
            seconds=time.perf_counter() - start,
        )

    def _split(
        self, seen: Observation, seed: int
    ) -> tuple[LinearSite | None, Split | None, str]:
        site, why_not = first_linear(seen.model, seen.input_shape)
        if site is None or site.bias is None:
            return None, None, why_not
        gradient, state = seen.gradient or {}, dict(seen.model.named_parameters())
        if site.weight not in gradient or site.bias not in gradient:
            return None, None, "The update lacks the first layer's weight or bias."
        dW, db = gradient[site.weight].double(), gradient[site.bias].double()
        if not (bool(dW.isfinite().all()) and bool(db.isfinite().all())):
            return None, None, "The first layer's gradient is not finite."
        if not bool((dW != 0).any()):
            return None, None, "The gradient of the first layer's weight is zero."
        if not feeds_relu(seen, site):
            return None, None, "The first linear layer does not feed a ReLU alone."
        layer = Layer(
            state[site.weight].detach().double(), state[site.bias].detach().double()
        )
        found, why_not = split(
            dW,
            db,
            layer,
            records=seen.records if seen.steps == 1 else None,
            rounding=_tolerance(seen).rank,
            most_records=self.max_records,
            budget=Budget(
                draws=self.draws, descents=self.descents, seconds=self.seconds
            ),
            seed=seed,
        )
        return site, found, why_not


def _certify(
    seen: Observation, site: LinearSite, found: Split, inputs: Tensor
) -> tuple[Tensor | None, str]:
    """Return the labels found and why there is no certificate ("" if there is)."""
    if found.coefficient < 1:
        return None, (
            f"The sparsity matching coefficient is {found.coefficient:.4f}, not 1, "
            f"after {found.draws} draws."
        )
    if not found.pinned:
        return None, "A record's active units include all of another's: ambiguous."
    if seen.steps != 1:
        return None, "Not known to be one step: the layer may have moved in between."
    if seen.records != len(inputs):
        told = "unknown" if seen.records is None else str(seen.records)
        return None, (
            f"The gradient has rank {len(inputs)} and the number of records is "
            f"{told}; records may have merged."
        )
    if seen.value_range is not None:
        low, high = seen.value_range
        slack = 1e-3 * (high - low)
        if float(inputs.min()) < low - slack or float(inputs.max()) > high + slack:
            return None, "A record lies outside the range of the inputs."
    labels = labels_of(seen, site, inputs, found.deltas)
    sine = replayed_sine(seen, inputs, labels)
    if not sine <= _tolerance(seen).replay:
        return None, (
            "The layer's gradient is explained, but the rest of the gradient is not: "
            f"residual {sine:.1e}."
        )
    return labels, ""


def _tolerance(seen: Observation) -> _Tolerance:
    """Return the tolerance of the coarsest dtype that took part."""
    dtypes = {next(seen.model.parameters()).dtype}
    dtypes |= {g.dtype for g in (seen.gradient or {}).values()}
    coarsest = max(dtypes, key=lambda dtype: torch.finfo(dtype).eps)
    return _TOLERANCES.get(coarsest, _COARSE)
