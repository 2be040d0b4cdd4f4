"""Gradient matching: search for records whose gradient looks like the observed one.

`DLG` (Zhu et al., NeurIPS 2019, arXiv 1906.08935): squared distance, L-BFGS, labels
optimised jointly. `CosineTV` (Geiping et al., NeurIPS 2020, arXiv 2003.14053): cosine
distance and total variation, Adam on the sign of the gradient, in a box.

Both choose among restarts by their own objective only, score a candidate by the
objective at that candidate (not one step earlier), and return a failed search as
refused. Nothing here is ever certified. One step is replayed: updates of several
local steps are matched as if they were one; generative priors are not here.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from attacks.errors import LabelsUnavailable, ParameterError
from attacks.inversion.attack import Certificate, Reconstruction, refused
from attacks.inversion.distance import (
    as_target,
    cosine_distance,
    is_matchable,
    squared_distance,
)
from attacks.inversion.labels import estimate_labels
from attacks.inversion.prior import boxed, draw_guesses, is_image, total_variation
from attacks.inversion.replay import Replay, replay_of
from attacks.observation import Observation, require

_NEEDS = frozenset({"gradient", "batch_size"})
_USES = frozenset({"labels", "value_range"})
_DECAYS_AT = (3 / 8, 5 / 8, 7 / 8)  # Geiping et al., section 5: steps of 1/10
_DID_NOT_FINISH = "The search met no finite objective; counted as a failure."
_NOT_FINITE = "The observed gradient is zero or not finite; there is nothing to match."


@dataclass(frozen=True, slots=True, kw_only=True)
class DLG:
    """Match gradients by L-BFGS, the labels together with the inputs.

    Guarantee: deterministic for a seed; the labels returned are the optimised ones.

    Args:
        iterations: L-BFGS iterations per restart.
        restarts: independent starting points.
    """

    name: ClassVar[str] = "DLG"
    needs: ClassVar[frozenset[str]] = _NEEDS
    uses: ClassVar[frozenset[str]] = _USES
    iterations: int = 100
    restarts: int = 2

    def __post_init__(self) -> None:
        _check_positive(iterations=self.iterations, restarts=self.restarts)

    def run(self, observation: Observation, *, seed: int) -> Reconstruction:
        """Search for the records of one step.

        Returns:
            All records of the step, uncertified; refused if no restart stayed finite.
            `objective` is ||g' - g||^2 / ||g||^2.

        Raises:
            MissingKnowledge: no gradient or no batch size.
        """
        start = time.perf_counter()
        seen = require(observation, self.needs, uses=self.uses, attack=self.name)
        target = as_target(seen)
        if not is_matchable(target):
            return refused(seen, _NOT_FINITE, time.perf_counter() - start)
        replay = replay_of(seen.model, target)
        generator = torch.Generator().manual_seed(seed)
        best: tuple[Tensor, Tensor] | None = None
        lowest = math.inf
        for _ in range(self.restarts):
            inputs, soft, objective = self._search(seen, replay, target, generator)
            if objective < lowest:
                best, lowest = (inputs, soft.argmax(dim=1)), objective
        if best is None:
            return refused(seen, _DID_NOT_FINISH, time.perf_counter() - start)
        return _answer(seen, *best, lowest, start)

    def _search(
        self,
        seen: Observation,
        replay: Replay,
        target: dict[str, Tensor],
        generator: torch.Generator,
    ) -> tuple[Tensor, Tensor, float]:
        anchor = next(seen.model.parameters())
        count = seen.records or 1
        inputs = draw_guesses(count, seen.input_shape, seen.value_range, generator)
        inputs = inputs.to(anchor.device, anchor.dtype).requires_grad_(True)
        mix = torch.randn((count, seen.classes), generator=generator)
        mix = mix.to(anchor.device, anchor.dtype).requires_grad_(True)
        free = [inputs, mix]
        if seen.labels is not None:
            # A known label needs no search: then DLG is iDLG.
            known = functional.one_hot(seen.labels.to(anchor.device), seen.classes)
            free = [inputs]

        def soft_labels() -> Tensor:
            return known.to(anchor.dtype) if len(free) == 1 else mix.softmax(dim=1)

        best = (inputs.detach().clone(), soft_labels().detach(), math.inf)

        def closure() -> Tensor:
            nonlocal best
            value = squared_distance(replay, target, inputs, soft_labels(), seen.known)
            # Scored where it was computed, so candidate and objective belong together.
            reached = float(value.detach())
            if reached < best[2]:
                best = (
                    inputs.detach().clone(),
                    soft_labels().detach().clone(),
                    reached,
                )
            for leaf, grad in zip(free, torch.autograd.grad(value, free), strict=True):
                leaf.grad = grad
            return value.detach()

        solver = torch.optim.LBFGS(
            free,
            max_iter=self.iterations,
            tolerance_grad=0.0,
            tolerance_change=0.0,
            history_size=50,
            line_search_fn="strong_wolfe",
        )
        solver.step(closure)  # type: ignore[no-untyped-call]
        return best


@dataclass(frozen=True, slots=True, kw_only=True)
class CosineTV:
    """Match gradient directions by signed Adam in a box.

    Guarantee: deterministic for a seed; a positive factor on the gradient changes
    nothing, so clipping alone does not stop it.

    Args:
        iterations: steps per restart.
        restarts: starting points, searched side by side.
        step: step size in units of the value range (of 1 if that is unknown).
        smoothness: weight of the total variation; images only.
    """

    name: ClassVar[str] = "cosine+TV"
    needs: ClassVar[frozenset[str]] = _NEEDS
    uses: ClassVar[frozenset[str]] = _USES
    iterations: int = 300
    restarts: int = 4
    step: float = 0.1
    smoothness: float = 1e-3

    def __post_init__(self) -> None:
        _check_positive(iterations=self.iterations, restarts=self.restarts)
        if not (self.step > 0 and self.smoothness >= 0):
            raise ParameterError("step must be positive and smoothness not negative.")

    def run(self, observation: Observation, *, seed: int) -> Reconstruction:
        """Search for the records of one step.

        Returns:
            All records of the step, uncertified; refused if no restart stayed finite
            or no labels can be had. `objective` is the distance plus the penalty.

        Raises:
            MissingKnowledge: no gradient or no batch size.
        """
        start = time.perf_counter()
        seen = require(observation, self.needs, uses=self.uses, attack=self.name)
        target = as_target(seen)
        if not is_matchable(target):
            return refused(seen, _NOT_FINITE, time.perf_counter() - start)
        labels = seen.labels
        if labels is None:
            try:
                labels = estimate_labels(seen, seed=seed)
            except LabelsUnavailable as error:
                return refused(seen, str(error), time.perf_counter() - start)
        anchor = next(seen.model.parameters())
        labels = labels.to(anchor.device)
        targets = functional.one_hot(labels, seen.classes).to(anchor.dtype)
        replay = replay_of(seen.model, target)
        distance = cosine_distance(replay, target, targets, seen.known)
        inputs, objective = self._search(seen, distance, seed)
        if not math.isfinite(objective):
            return refused(seen, _DID_NOT_FINISH, time.perf_counter() - start)
        return _answer(seen, inputs, labels, objective, start)

    def _search(
        self, seen: Observation, distance: Callable[[Tensor], Tensor], seed: int
    ) -> tuple[Tensor, float]:
        anchor = next(seen.model.parameters())
        generator = torch.Generator().manual_seed(seed)
        shape = (seen.records or 1, *seen.input_shape)
        guesses = draw_guesses(self.restarts, shape, seen.value_range, generator)
        guesses = guesses.to(anchor.device, anchor.dtype).requires_grad_(True)
        low, high = seen.value_range or (0.0, 1.0)
        solver = torch.optim.Adam([guesses], lr=self.step * (high - low))
        milestones = [int(part * self.iterations) for part in _DECAYS_AT]
        schedule = torch.optim.lr_scheduler.MultiStepLR(solver, milestones, gamma=0.1)
        smooth = is_image(seen.input_shape) and self.smoothness > 0
        best = guesses.detach().clone()
        lowest = torch.full((self.restarts,), math.inf, device=anchor.device)
        lowest = lowest.to(anchor.dtype)
        for iteration in range(self.iterations + 1):
            value = distance(guesses)
            if smooth:
                variation = total_variation(guesses, batch_axes=1) / (high - low)
                value = value + self.smoothness * variation
            better = value.detach() < lowest  # false for nan, which is thus skipped
            lowest = torch.where(better, value.detach(), lowest)
            place = better.reshape(-1, *[1] * len(shape))
            best = torch.where(place, guesses.detach(), best)
            if iteration == self.iterations:
                break
            (slope,) = torch.autograd.grad(value.sum(), guesses)
            guesses.grad = slope.nan_to_num().sign()
            solver.step()
            schedule.step()
            with torch.no_grad():
                guesses.copy_(boxed(guesses, seen.value_range))
        winner = int(lowest.argmin())
        return best[winner], float(lowest[winner])


def _answer(
    seen: Observation, inputs: Tensor, labels: Tensor, objective: float, start: float
) -> Reconstruction:
    return Reconstruction(
        inputs=boxed(inputs, seen.value_range),
        labels=labels,
        certificate=Certificate.UNCERTIFIED,
        reason="Gradient matching proves nothing; only scoring can tell.",
        objective=objective,
        seconds=time.perf_counter() - start,
    )


def _check_positive(**settings: int) -> None:
    for name, value in settings.items():
        if value < 1:
            raise ParameterError(f"{name}={value} must be at least 1.")
